"""Values that are computed from variables, and computed again where these were written to."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from mrcnn.tensorflow_backend.derived import Derived, Watch

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="about TensorFlow's variables"
)


def variables(count: int = 3) -> list[keras.Variable]:
    return [keras.Variable(np.full((5, 4), number, np.float32)) for number in range(count)]


def test_a_watch_tells_what_was_written_to():
    a, b, c = variables()
    watch = Watch([[a, b], [c]])
    assert watch.changed() == [0, 1]
    assert watch.changed() == []
    b.assign(b + 1)
    assert watch.changed() == [0]
    assert watch.changed() == []
    c.assign(np.zeros((5, 4)))
    a.assign(np.zeros((5, 4)))
    assert watch.changed() == [0, 1]


def test_a_watch_sees_what_is_written_in_place():
    import tensorflow as tf

    writes = {
        "assign_add": lambda v: v.assign_add(tf.ones((5, 4))),
        "assign_sub": lambda v: v.assign_sub(tf.ones((5, 4))),
        "in a graph": tf.function(lambda v: v.assign_add(tf.ones((5, 4)))),
        "a slice": lambda v: v[1:2].assign(v[1:2] + 1),
    }
    (variable,) = variables(1)
    watch = Watch([[variable]])
    watch.changed()
    for name, write in writes.items():
        for _ in range(3):  # the first write may move the variable, later ones not
            before = np.array(variable)
            write(variable._value)
            assert np.abs(np.array(variable) - before).max() > 0
            assert watch.changed() == [0], name
            # TensorFlow copies a variable that was written to in part whenever it is read.
            assert watch.changed() == ([0] if name == "a slice" else [])


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_a_watch_sees_steps_of_an_optimizer(name):
    from mrcnn.training.optimizers import SGD

    layer = keras.layers.Dense(3)
    layer.build((None, 4))
    model = keras.Sequential([keras.Input((4,)), layer])
    optimizer = SGD(0.1, 0.9) if name == "sgd" else keras.optimizers.Adam(0.1)
    model.compile(optimizer=optimizer, loss="mse")
    watch = Watch([[layer.kernel], [layer.bias]])
    watch.changed()
    for _ in range(3):
        model.train_on_batch(np.ones((2, 4), np.float32), np.zeros((2, 3), np.float32))
        assert watch.changed() == [0, 1]


def test_derived_values_follow_and_stay_where_they_are():
    a, b, c = variables()
    calls = []

    def double(*own: keras.Variable):
        def compute():
            calls.append(own)
            return [2 * keras.ops.convert_to_tensor(v) for v in own]

        return compute

    derived = Derived([[a, b], [c]], [double(a, b), double(c)])
    derived.refresh()
    held = [list(values) for values in derived.values]
    np.testing.assert_array_equal(derived.values[0][1], 2 * np.array(b))
    derived.refresh()
    assert len(calls) == 2
    b.assign(b + 3)
    derived.refresh()
    assert len(calls) == 3 and calls[-1] == (a, b)
    for values, before in zip(derived.values, held, strict=True):
        assert all(x is y for x, y in zip(values, before, strict=True))  # graphs hold them
    np.testing.assert_array_equal(held[0][1], 2 * np.array(b))
    np.testing.assert_array_equal(held[1][0], 2 * np.array(c))
