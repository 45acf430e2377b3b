"""Matterport's weight decay: the mean square of each weight, and its gradient."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from mrcnn.training.weight_decay import is_decayed, weight_decay, weight_decay_gradient

FACTOR = 0.3


def test_mean_square_without_batch_norm():
    rng = np.random.default_rng(10)
    values = {
        "kernel": rng.normal(size=(3, 3, 2, 4)),
        "bias": rng.normal(size=4),
        "gamma": rng.normal(size=4),
        "beta": rng.normal(size=4),
    }
    variables = [keras.Variable(value, name=name) for name, value in values.items()]
    expected = 0.01 * sum((values[name] ** 2).mean() for name in ("kernel", "bias"))
    assert float(weight_decay(variables, 0.01)) == pytest.approx(expected, rel=1e-5)


def test_no_weights():
    assert float(weight_decay([], 0.01)) == 0


def test_the_gradient_is_that_of_the_loss():
    random = np.random.default_rng(0)
    shapes = {"kernel": (3, 2), "bias": (2,), "gamma": (2,), "log_variances": (4,)}
    variables = [
        keras.Variable(random.normal(size=shape).astype(np.float32), name=name)
        for name, shape in shapes.items()
    ]
    assert [is_decayed(variable) for variable in variables] == [True, True, False, False]
    for variable in variables:
        weight = np.asarray(variable, np.float64)
        found = keras.ops.convert_to_numpy(weight_decay_gradient(variable, FACTOR))
        if not is_decayed(variable):
            assert float(weight_decay([variable], FACTOR)) == 0
            continue
        value = FACTOR * np.mean(np.square(weight))
        assert float(weight_decay([variable], FACTOR)) == pytest.approx(value, rel=1e-5)
        np.testing.assert_allclose(found, 2 * FACTOR * weight / weight.size, rtol=1e-5)
