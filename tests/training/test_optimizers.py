"""Steps with weight decay and momentum, against the formulas written out."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest

from mrcnn.training import optimizers

RATE, MOMENTUM, DECAY, CLIP = 0.1, 0.9, 0.3, 2.0


def variables() -> list[keras.Variable]:
    random = np.random.default_rng(0)
    shapes = {"kernel": (3, 2), "bias": (2,), "gamma": (2,), "unused": (4,)}
    return [
        keras.Variable(random.normal(size=shape).astype(np.float32), name=name)
        for name, shape in shapes.items()
    ]


def gradients(step: int) -> list[np.ndarray | None]:
    random = np.random.default_rng(step + 1)
    return [*(random.normal(size=s).astype(np.float32) for s in ((3, 2), (2,), (2,))), None]


def expected_weights(steps: int, clip: float | None = None) -> list[np.ndarray]:
    """SGD with momentum on gradients to which 2 · factor / size · w is added before clipping."""
    weights = [np.asarray(v, np.float64) for v in variables()]
    momenta = [np.zeros_like(w) for w in weights]
    for step in range(steps):
        given = [0.0 if g is None else g.astype(np.float64) for g in gradients(step)]
        decayed = (True, True, False, True)
        total = [
            g + (2 * DECAY / w.size * w if decays else 0.0)
            for g, w, decays in zip(given, weights, decayed, strict=True)
        ]
        norm = np.sqrt(sum(np.sum(np.square(g)) for g in total))
        factor = 1.0 if clip is None else min(1.0, clip / norm)
        momenta = [MOMENTUM * m - RATE * factor * g for m, g in zip(momenta, total, strict=True)]
        weights = [w + m for w, m in zip(weights, momenta, strict=True)]
    return weights


@pytest.mark.parametrize("make", [optimizers.SGD, keras.optimizers.SGD], ids=["ours", "Keras's"])
@pytest.mark.parametrize("clip", [None, CLIP])
def test_steps_with_momentum_decay_and_clipping(make: Callable, clip: float | None):
    trained = variables()
    optimizer = make(RATE, MOMENTUM, global_clipnorm=clip)
    optimizer.build(trained)
    optimizers.add_weight_decay(optimizer, 7.0)
    optimizers.add_weight_decay(optimizer, DECAY)  # the last one counts, once
    for step in range(3):
        optimizer.apply(gradients(step), trained)
    for found, expected in zip(trained, expected_weights(3, clip), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [optimizers.SGD, keras.optimizers.SGD], ids=["ours", "Keras's"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_clipping_does_not_hide_a_gradient_that_is_not_finite(make: Callable, value: float):
    trained = variables()
    optimizer = make(RATE, MOMENTUM, global_clipnorm=CLIP)
    optimizer.build(trained)
    broken = gradients(0)
    broken[0][0, 0] = value
    optimizer.apply(broken, trained)
    for variable, gradient in zip(trained, broken, strict=True):
        assert np.isfinite(np.asarray(variable)).all() == (gradient is None)


def test_the_inner_optimizer_of_a_loss_scale_decays():
    trained = variables()[:1]
    inner = keras.optimizers.SGD(RATE)
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=8.0)
    optimizer.build(trained)
    optimizers.add_weight_decay(optimizer, DECAY)
    before = np.asarray(trained[0], np.float64)
    gradient = gradients(0)[0]
    optimizer.apply([8.0 * gradient], trained)
    expected = before - RATE * (gradient + 2 * DECAY * before / before.size)
    np.testing.assert_allclose(trained[0], expected, rtol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="others have no graph of ops")
@pytest.mark.parametrize("nesterov", [False, True], ids=["fused", "Keras's"])
def test_nothing_the_size_of_the_weights_is_computed_before_the_gradients(nesterov: bool):
    """It would be held to the end of the step: a graph computes what it can as soon as it can."""
    import tensorflow as tf

    trained = variables()[:1]
    optimizer = optimizers.SGD(RATE, MOMENTUM, nesterov=nesterov, global_clipnorm=CLIP)
    optimizer.build(trained)
    optimizers.add_weight_decay(optimizer, DECAY)

    @tf.function
    def step(*gradients: tf.Tensor) -> None:
        optimizer.apply(gradients, trained)

    graph = step.get_concrete_function(tf.constant(gradients(0)[0])).graph
    waiting = {tensor.op for tensor in graph.inputs if tensor.dtype == tf.float32}
    early = []
    for operation in (one for one in graph.get_operations() if one not in waiting):
        if {*(tensor.op for tensor in operation.inputs), *operation.control_inputs} & waiting:
            waiting.add(operation)
        elif any(tensor.shape == v.shape for tensor in operation.outputs for v in trained):
            early.append(operation)
    assert {operation.type for operation in early} <= {"ReadVariableOp"}


def test_a_step_of_a_subclass_is_taken():
    class Still(optimizers.SGD):
        def update_step(self, gradient, variable, learning_rate):
            pass

    trained = variables()[:1]
    before = keras.ops.convert_to_numpy(trained[0])
    optimizer = Still(RATE, MOMENTUM, global_clipnorm=CLIP)
    optimizer.build(trained)
    optimizer.apply([keras.ops.convert_to_tensor(gradients(0)[0])], trained)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(trained[0]), before)
