"""Weights in eight bits."""

from __future__ import annotations

import numpy as np
import pytest

from mrcnn.export.quantization import quantize


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_weights_come_back_to_half_a_step(axis):
    random = np.random.default_rng(0)
    weights = (random.normal(size=(4, 5, 3, 3)) * random.uniform(0, 9, (4, 5, 3, 3))).astype("f4")
    found = quantize(weights, axis)
    assert found.values.dtype == np.int8 and found.scales.dtype == np.float32
    assert found.scales.size == weights.shape[axis]
    restored = found.values * found.scales
    assert (np.abs(restored - weights) <= 0.501 * found.scales).all()
    assert np.abs(found.values).max() == 127


def test_a_channel_of_zeros_stays_zero():
    weights = np.zeros((3, 8), np.float32)
    weights[1] = 2
    found = quantize(weights, 0)
    np.testing.assert_array_equal(found.values * found.scales, weights)
