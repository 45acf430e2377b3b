"""Batch statistics of some entries alone."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from mrcnn.layers.batch_norm import BatchNorm

SHAPE = (2, 5, 4, 3, 6)


def layer() -> BatchNorm:
    random = np.random.default_rng(1)
    norm = BatchNorm(momentum=0.9, epsilon=1e-3)
    norm.build(SHAPE)
    norm.set_weights([random.uniform(0.5, 2, SHAPE[-1]) for _ in range(4)])
    return norm


def values() -> np.ndarray:
    return np.random.default_rng(0).normal(3, 2, SHAPE).astype(np.float32)


@pytest.mark.parametrize("counts", [(5, 5), (3, 1), (0, 2)])
def test_the_statistics_are_those_of_the_valid_rois(counts: tuple[int, int]):
    x, norm = values(), layer()
    valid = np.arange(SHAPE[1]) < np.array(counts)[:, None]
    gamma, beta, moving_mean, moving_variance = norm.get_weights()
    found = ops.convert_to_numpy(norm(x, training=True, valid=valid))
    entries = x[valid].reshape(-1, SHAPE[-1]).astype(np.float64)
    mean, variance = entries.mean(0), entries.var(0)
    expected = gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    _, _, new_mean, new_variance = norm.get_weights()
    np.testing.assert_allclose(new_mean, 0.9 * moving_mean + 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(new_variance, 0.9 * moving_variance + 0.1 * variance, rtol=1e-5)


def test_what_is_not_valid_changes_nothing():
    x, valid = values(), np.array([[1, 0, 1, 0, 0], [0, 0, 0, 0, 1]], bool)
    other = np.where(valid[..., None, None, None], x, 1e4)
    first, second = (
        ops.convert_to_numpy(layer()(y, training=True, valid=valid)) for y in (x, other)
    )
    np.testing.assert_array_equal(first[valid], second[valid])


def test_without_a_valid_one_the_stored_statistics_are_used_and_stay():
    norm = layer()
    stored = norm.get_weights()
    valid = np.zeros(SHAPE[:2], bool)
    found = norm(values(), training=True, valid=valid)
    np.testing.assert_allclose(found, layer()(values(), training=False), rtol=1e-4, atol=1e-4)
    for before, after in zip(stored, norm.get_weights(), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-6)


def test_all_valid_is_what_keras_does():
    x = values()
    found = layer()(x, training=True, valid=np.ones(SHAPE[:2], bool))
    keras_own = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-3)
    keras_own.build(SHAPE)
    keras_own.set_weights(layer().get_weights())
    np.testing.assert_allclose(found, keras_own(x, training=True), rtol=1e-4, atol=1e-4)
