"""Convolutions of one image as those of a volume of one slice."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcnn.tensorflow_backend.one_image import Slice, convolve, traced

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="TensorFlow's convolutions"
)


def by_loops(x: np.ndarray, kernel: np.ndarray, stride: int, padding: str) -> np.ndarray:
    """A convolution as in a textbook, with TensorFlow's padding."""
    rows, columns = kernel.shape[:2]
    if padding == "same":
        pads = []
        for side, length in zip(x.shape[1:3], (rows, columns), strict=True):
            missing = max((-(-side // stride) - 1) * stride + length - side, 0)
            pads.append((missing // 2, missing - missing // 2))
        x = np.pad(x, ((0, 0), *pads, (0, 0)))
    height = (x.shape[1] - rows) // stride + 1
    width = (x.shape[2] - columns) // stride + 1
    out = np.zeros((len(x), height, width, kernel.shape[3]))
    for i in range(height):
        for j in range(width):
            patch = x[:, i * stride : i * stride + rows, j * stride : j * stride + columns]
            out[:, i, j] = np.tensordot(patch, kernel, 3)
    return out


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(3, 9),
    width=st.integers(3, 9),
    side=st.sampled_from([1, 2, 3]),
    stride=st.sampled_from([1, 2]),
    padding=st.sampled_from(["same", "valid"]),
    bias=st.booleans(),
    batch=st.sampled_from([1, 2]),
)
def test_convolutions_are_those_of_a_textbook(height, width, side, stride, padding, bias, batch):
    random = np.random.default_rng(height * 10 + width)
    x = random.standard_normal((batch, height, width, 2)).astype(np.float32)
    kernel = random.standard_normal((side, side, 2, 3)).astype(np.float32)
    offset = random.standard_normal(3).astype(np.float32) if bias else None
    expected = by_loops(x, kernel, stride, padding) + (0 if offset is None else offset)
    found = convolve(keras.ops.array(x), keras.ops.array(kernel), offset, (stride, stride), padding)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    if batch == 1:
        one = Slice.of(keras.ops.array(x))
        assert one.volume.shape == (1, *x.shape) and Slice.of(one) is one
        found = convolve(one, keras.ops.array(kernel), offset, (stride, stride), padding)
        assert isinstance(found, Slice)
        np.testing.assert_allclose(found.image, expected, atol=1e-5)


def test_a_traced_function_takes_every_shape_and_is_traced_once():
    calls = []

    def double(inputs):
        calls.append(inputs)
        return [2 * inputs[0], inputs[0][:, 0]]

    run = traced(double, [keras.KerasTensor((1, None, 3), "float32")])
    for rows in (2, 5):
        x = np.arange(rows * 3.0).reshape(1, rows, 3)
        found = run([x])
        np.testing.assert_array_equal(found[0], 2 * x)
        np.testing.assert_array_equal(found[1], x[:, 0])
    assert len(calls) == 1
