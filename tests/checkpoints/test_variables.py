"""The exact state of a model, out of its variables and back."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from mrcnn.checkpoints import state_file, variables
from mrcnn.checkpoints.state_file import State, StateError


def network(units: int = 2, optimizer: str = "sgd") -> keras.Model:
    """With weights, batch statistics, a random state, an optimizer with slots, and metrics."""
    keras.utils.set_random_seed(0)
    image = keras.Input((3,))
    x = keras.layers.Dense(4, name="first")(image)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Dropout(0.5, seed=1, name="dropout")(x)
    model = keras.Model(image, keras.layers.Dense(units, name="second")(x))
    model.compile(keras.optimizers.get(optimizer), "mse", metrics=["mae"])
    model.optimizer.build(model.trainable_variables)
    return model


def train(model: keras.Model, steps: int = 2) -> keras.Model:
    random = np.random.default_rng(0)
    for _ in range(steps):
        x = random.normal(size=(4, 3)).astype(np.float32)
        model.train_on_batch(x, np.ones((4, model.output.shape[-1])))
    return model


def state_of(model: keras.Model) -> State:
    groups = {
        name: [(path, np.array(value)) for path, value in pairs]
        for name, pairs in variables.values_of(model).items()
    }
    return State("a.state", {}, groups)


def assert_same(model: keras.Model, state: State) -> None:
    for name, pairs in state_of(model).groups.items():
        for (path, value), (_, expected) in zip(pairs, state.groups[name], strict=True):
            np.testing.assert_array_equal(value, expected, err_msg=path)


def test_all_of_a_training_is_put_back():
    state = state_of(train(network(optimizer="adam")))
    assert all(state.groups[name] for name in variables.GROUPS)
    other = train(network(optimizer="adam"), steps=1)
    variables.restore(other, state)
    assert_same(other, state)
    # And both continue alike.
    one = train(network(optimizer="adam"))
    for model in (one, other):
        train(model)
    assert_same(other, state_of(one))


def test_a_group_is_put_back_by_itself():
    state = state_of(train(network()))
    other = train(network(), steps=1)
    fresh = state_of(other)
    variables.restore(other, state, ("metrics",))
    found = state_of(other)
    for name, expected in (("metrics", state), ("model", fresh), ("optimizer", fresh)):
        assert found.groups[name]
        for (_, value), (_, same) in zip(found.groups[name], expected.groups[name], strict=True):
            np.testing.assert_array_equal(value, same)


def test_weights_are_put_back_without_an_optimizer():
    state = state_of(train(network()))
    image = keras.Input((3,))
    x = keras.layers.BatchNormalization(name="norm")(keras.layers.Dense(4, name="first")(image))
    x = keras.layers.Dropout(0.5, seed=1, name="dropout")(x)
    plain = keras.Model(image, keras.layers.Dense(2, name="second")(x))
    variables.restore(plain, state, ("model",))
    for variable, (_, value) in zip(plain.variables, state.groups["model"], strict=True):
        np.testing.assert_array_equal(variable, value)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: network(units=3), r"expected second/kernel.*\(4, 3\).*received.*\(4, 2\)"),
        (lambda: network(optimizer="adam"), "variables of the optimizer; received"),
    ],
    ids=["shape", "count"],
)
def test_another_network_is_refused_before_anything_is_assigned(other, message):
    state = state_of(train(network()))
    model = other()
    before = state_of(model)
    with pytest.raises(StateError, match=f"a.state: .*{message}"):
        variables.restore(model, state)
    assert_same(model, before)


def test_another_name_is_refused():
    state = state_of(network())
    state.groups["model"][0] = ("first/weight", state.groups["model"][0][1])
    with pytest.raises(StateError, match="received first/weight"):
        variables.restore(network(), state)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_named(value):
    model = network()
    variables.check_finite(model)
    model.metrics[0].variables[0].assign(np.nan)  # of no effect
    variables.check_finite(model)
    model.get_layer("second").bias.assign([0.0, value])
    with pytest.raises(variables.NonFiniteWeightsError, match="second/bias"):
        variables.check_finite(model)


def test_overrides_take_the_place_of_values():
    """A state that is written during a validation holds what was before it."""
    model = train(network())
    before = variables.values_changed_by_validation(model)
    paths = {v.path for v in model.variables if id(v) in before}
    assert paths and all("seed" in path for path in paths)  # no weight, no statistics
    expected = state_of(model)
    model.evaluate(np.ones((4, 3)), np.zeros((4, 2)), verbose=0)
    model.get_layer("dropout")(np.ones((1, 4)), training=True)
    found = variables.values_of(model, before)
    for name, pairs in expected.groups.items():
        for (path, value), (_, stored) in zip(pairs, found[name], strict=True):
            np.testing.assert_array_equal(stored, value, err_msg=path)


def test_low_precision_comes_back_from_its_bits(tmp_path):
    def low(value: float) -> keras.Model:
        image = keras.Input((2,))
        model = keras.Model(image, keras.layers.Dense(2, name="d", dtype="bfloat16")(image))
        for weight in model.weights:
            weight.assign(np.full(weight.shape, value))
        model.compile("sgd", "mse")
        return model

    path = tmp_path / "a.state"
    state_file.write_state(path, {}, {"model": variables.values_of(low(1.5))["model"]})
    model = low(0.0)
    variables.restore(model, state_file.read_state(path), ("model",))
    for weight in model.weights:
        np.testing.assert_array_equal(np.asarray(weight, np.float32), 1.5)
