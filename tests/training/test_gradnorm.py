"""GradNorm in training: gradients by finite differences, resuming, the network, both compilers."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from mrcnn.checkpoints import state_file, variables
from mrcnn.config import LOSS_NAMES
from mrcnn.layers.gradnorm import GradNormWeighting
from mrcnn.layers.switched_loss import SwitchedLoss
from mrcnn.ops.gradnorm import INITIAL_STEPS, GradNormState
from mrcnn.training import compile
from mrcnn.training import model as training_model
from mrcnn.training.gradnorm import SHARED_LAYERS
from mrcnn.training.model import TrainingModel
from tests.ops.test_gradnorm import naive_step
from tests.tiny import tiny_batch, tiny_config

# Which shared layers each loss of the small model depends on.
USES = {"rpn_class_loss": (0, 1), "rpn_bbox_loss": (1, 2, 3), "mrcnn_mask_loss": (0,)}
ALPHA, MOVE, RATE = 1.5, 0.1, 0.05
GIVEN = {"USE_RPN_ROIS": False, "GRADNORM_ALPHA": ALPHA, "GRADNORM_RATE": MOVE}


class Square(SwitchedLoss):
    """A loss: the mean square of what it is given, times a factor."""

    def __init__(self, factor: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x):
        loss = self.factor * ops.mean(ops.square(x))
        self.add(loss)
        return loss

    def compute_output_spec(self, x):
        return keras.KerasTensor((), dtype="float32")


def small_model(jit: bool = False) -> TrainingModel:
    """Three losses over four layers that stand for the pyramid's, and a layer below them."""
    keras.utils.set_random_seed(4)
    x = keras.Input(batch_shape=(4, 3), name="x")
    below = keras.layers.Dense(3, activation="tanh", name="below")(x)
    shared = [keras.layers.Dense(2, activation="tanh", name=name)(below) for name in SHARED_LAYERS]
    losses = {}
    for k, (name, used) in enumerate(USES.items()):
        head = keras.layers.Dense(2, name=f"head_{k}")(
            keras.layers.Concatenate()([shared[i] for i in used] + [below])
        )
        losses[name] = Square(3.0**k, name=name)(head)
    weights = GradNormWeighting(ALPHA, MOVE, name="mrcnn_loss_weights")(list(losses.values()))
    model = TrainingModel(inputs={"x": x}, outputs={**losses, "loss_weights": weights})
    optimizer = keras.optimizers.SGD(RATE, momentum=0.9)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer, jit_compile=jit)
    return model


def known(model: TrainingModel) -> None:
    """Make every initial loss known, so that the first step moves the weights."""
    state = model.gradnorm.state
    state.initial_sums.assign(INITIAL_STEPS * np.array([1.0, 0.5, 4.0], "float32"))
    state.initial_counts.assign(np.full(3, INITIAL_STEPS, "float32"))
    state.log_weights.assign(np.array([0.3, -0.2, -0.15], "float32"))


def some_batch(seed: int = 0) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(seed).normal(size=(4, 3)).astype(np.float32)}


def state_of(model: TrainingModel) -> list[np.ndarray]:
    return [ops.convert_to_numpy(x) for x in model.gradnorm.state]


def finite_differences(model: TrainingModel, batch, epsilon: float = 3e-3) -> np.ndarray:
    """The gradient of each loss in all shared kernels: [losses, kernels, values of a kernel]."""

    def losses() -> np.ndarray:
        outputs = model(batch, training=False)
        return np.array([float(outputs[name]) for name in USES])

    gradients = np.zeros((len(USES), len(SHARED_LAYERS), 6))
    for k, name in enumerate(SHARED_LAYERS):
        kernel = model.get_layer(name).kernel
        values = ops.convert_to_numpy(kernel).copy()
        for index in range(values.size):
            ends = []
            for sign in (1, -1):
                moved = values.copy()
                moved.flat[index] += sign * epsilon
                kernel.assign(moved)
                ends.append(losses())
            gradients[:, k, index] = (ends[0] - ends[1]) / (2 * epsilon)
        kernel.assign(values)
    return gradients


@pytest.mark.parametrize(("jit", "frozen"), [(False, False), (True, True)])
def test_a_step_is_that_of_finite_differences(jit: bool, frozen: bool):
    model = small_model(jit)
    known(model)
    if frozen:  # what is shared may be at rest: its gradients are compared all the same
        for name in SHARED_LAYERS[:2]:
            model.get_layer(name).trainable = False
        optimizer = keras.optimizers.SGD(RATE)
        optimizer.build(model.trainable_variables)
        model.compile(optimizer, jit_compile=jit)
    batch = some_batch()
    gradients = finite_differences(model, batch)
    norms = np.sqrt(np.sum(gradients**2, axis=(1, 2)))
    assert norms.min() > 0.01
    losses = [float(model(batch)[name]) for name in USES]
    before = state_of(model)
    weights = np.exp(before[0])
    kernels = [ops.convert_to_numpy(model.get_layer(name).kernel) for name in SHARED_LAYERS]

    logs = model.train_on_batch(batch, return_dict=True)

    assert logs["loss"] == pytest.approx(np.dot(weights, losses), rel=1e-5)
    expected = naive_step([x.tolist() for x in before], losses, norms.tolist(), ALPHA, MOVE)
    for actual, value in zip(state_of(model), expected, strict=True):
        np.testing.assert_allclose(actual, value, rtol=1e-3, atol=1e-3)
    assert np.abs(state_of(model)[0] - before[0]).max() > 0.01
    # The step of the network itself is taken with the weights before the move.
    steps = RATE * np.tensordot(weights, gradients, axes=1)
    for name, kernel, move in zip(SHARED_LAYERS, kernels, steps, strict=True):
        resting = frozen and name in SHARED_LAYERS[:2]
        moved = kernel - (0 if resting else move.reshape(kernel.shape))
        after = ops.convert_to_numpy(model.get_layer(name).kernel)
        np.testing.assert_allclose(after, moved, atol=2e-5)


@pytest.mark.parametrize("jit", [False, True])
def test_the_norms_are_those_of_finite_differences(jit: bool, monkeypatch: pytest.MonkeyPatch):
    """The layer writes down what it is given, in place of GradNorm's own numbers."""
    monkeypatch.setattr(
        "mrcnn.layers.gradnorm.gradnorm_step",
        lambda state, losses, norms, alpha, rate: GradNormState(state[0], losses, norms),
    )
    model, batch = small_model(jit), some_batch()
    gradients = finite_differences(model, batch)
    losses = [float(model(batch)[name]) for name in USES]
    model.train_on_batch(batch)
    _, given_losses, given_norms = state_of(model)
    np.testing.assert_allclose(given_losses, losses, rtol=1e-5)
    np.testing.assert_allclose(given_norms, np.sqrt(np.sum(gradients**2, axis=(1, 2))), rtol=2e-3)


def test_a_loss_that_does_not_belong_to_a_stage_takes_no_part():
    """As in alternating training: neither its gradient nor its weight, whatever that is by now."""
    model = small_model()
    known(model)
    assert compile.set_trained_losses(model, "rpn") == list(USES)[:2]
    before, batch = state_of(model), some_batch()
    losses = [float(model(batch)[name]) for name in USES]
    heads = [ops.convert_to_numpy(model.get_layer(f"head_{k}").kernel) for k in range(3)]
    logs = model.train_on_batch(batch, return_dict=True)
    assert logs["loss"] == pytest.approx(np.dot(np.exp(before[0])[:2], losses[:2]), rel=1e-5)
    assert logs["mrcnn_mask_loss"] == pytest.approx(losses[2], rel=1e-5)  # shown all the same
    moved = [
        np.any(ops.convert_to_numpy(model.get_layer(f"head_{k}").kernel) != heads[k])
        for k in range(3)
    ]
    assert moved == [True, True, False]
    after = state_of(model)
    # The two that train move apart; the third changes with the sum alone.
    steps = after[0] - before[0]
    assert sorted(np.round(steps[:2] - steps[2], 4)) == [-MOVE, MOVE]
    compile.set_trained_losses(model, "all")
    assert model.gradnorm.on is None


def test_validation_moves_nothing():
    model = small_model()
    known(model)
    before = state_of(model)
    loss = model.test_on_batch(some_batch(), return_dict=True)["loss"]
    assert np.isfinite(loss)
    for actual, value in zip(state_of(model), before, strict=True):
        np.testing.assert_array_equal(actual, value)


def test_a_restored_state_continues_exactly(tmp_path):
    """Interrupted before the initial losses are known, and after.

    Each model has the names that it has in a process of its own: TensorFlow arranges the many sums
    of this graph by names, and another arrangement changes the last digits. On JAX steps are
    compiled, as by default.
    """
    jit = keras.backend.backend() == "jax"
    steps = INITIAL_STEPS + 6
    for stop in (INITIAL_STEPS - 5, INITIAL_STEPS + 3):
        keras.backend.clear_session()
        model, path = small_model(jit), tmp_path / f"{stop}.state"
        for step in range(steps):
            if step == stop:
                state_file.write_state(path, {}, variables.values_of(model))
            model.train_on_batch(some_batch(step))
        keras.backend.clear_session()
        other = small_model(jit)
        variables.restore(other, state_file.read_state(path))
        for step in range(stop, steps):
            other.train_on_batch(some_batch(step))
        for one, two in zip(model.variables, other.variables, strict=True):
            np.testing.assert_array_equal(ops.convert_to_numpy(one), ops.convert_to_numpy(two))
    weights = np.exp(state_of(model)[0])
    assert weights.sum() == pytest.approx(3, rel=1e-5) and np.ptp(weights) > 0.01


# --- The network --------------------------------------------------------------------------------


# On JAX it takes a minute; the small model's steps are compared there.
whole_network = pytest.param(
    None, marks=[pytest.mark.slow] if keras.backend.backend() == "jax" else []
)


@pytest.mark.parametrize("precision", [whole_network, "bfloat16"])
def test_the_networks_losses_are_balanced(precision: str | None):
    """All six take part, and all that is remembered stays float32."""
    if precision and keras.backend.backend() == "jax":
        pytest.skip("XLA compiles the step once more, for minutes, and nothing here differs")
    edges = {"EDGE_LOSS_FILTERS": ["sobel-x"], "MIXED_PRECISION": precision}
    config = tiny_config(**GIVEN, **edges, WEIGHT_DECAY=0.0)
    keras.utils.set_random_seed(0)
    model = training_model.build(config)
    compile.compile_model(model, config, 1e-3, 0.9)
    layer = model.gradnorm
    assert [variable.trainable for variable in layer.state] == [False] * 3
    layer.state.initial_counts.assign(np.full(len(LOSS_NAMES), INITIAL_STEPS, "float32"))
    layer.state.initial_sums.assign(np.full(len(LOSS_NAMES), INITIAL_STEPS, "float32"))
    batch = tiny_batch(config)
    batch["input_rois"] = np.repeat(batch["input_gt_boxes"][:, :2], 20, axis=1)
    logs = model.train_on_batch(batch, return_dict=True)
    losses = [logs[name] for name in LOSS_NAMES]
    assert min(losses) > 0
    assert logs["loss"] == pytest.approx(sum(losses), rel=1e-4)  # the weights start at 1
    assert {variable.dtype for variable in layer.state} == {"float32"}
    moved = state_of(model)[0]
    assert (np.abs(moved) > 1e-4).all()
    assert np.exp(moved).sum() == pytest.approx(len(LOSS_NAMES), rel=1e-5)
    for _ in range(2):
        model.reset_metrics()
        logs = model.train_on_batch(batch, return_dict=True)
    assert np.isfinite(logs["loss"])
    assert logs["loss"] != pytest.approx(sum(logs[name] for name in LOSS_NAMES), rel=1e-4)


def test_an_unknown_backend_is_an_error(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "numpy")
    with pytest.raises(ValueError, match=r"GRADNORM_ALPHA: expected a backend of .*'numpy'"):
        training_model.build(tiny_config(**GIVEN))
