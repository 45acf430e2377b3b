"""Grouped convolutions: the ways to write them agree with loops over groups, gradients included."""

from __future__ import annotations

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from mrcnn.ops.grouped_conv import block_diagonal, grouped_conv
from mrcnn.tensorflow_backend import grouped_conv as tf_kernels
from tests.support import compiled, gradient

GROUPS, INSIDE, FILTERS = 3, 2, 6
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(2, 6, 5, GROUPS * INSIDE)).astype(np.float32)
KERNEL = RANDOM.normal(size=(3, 3, INSIDE, FILTERS)).astype(np.float32)


def by_groups(x: np.ndarray, kernel: np.ndarray, *options) -> np.ndarray:
    """An ordinary convolution for each group."""
    return np.concatenate(
        [
            ops.convert_to_numpy(ops.conv(inputs, filters, *options, data_format="channels_last"))
            for inputs, filters in zip(
                np.split(x, GROUPS, axis=-1), np.split(kernel, GROUPS, axis=-1), strict=True
            )
        ],
        axis=-1,
    )


@pytest.mark.parametrize(("strides", "padding"), [((1, 1), "same"), ((2, 2), "valid")])
def test_like_one_convolution_for_each_group(strides, padding):
    expected = by_groups(X, KERNEL, strides, padding)
    for name, run in compiled(lambda x, kernel: grouped_conv(x, kernel, strides, padding)):
        np.testing.assert_allclose(run(X, KERNEL), expected, rtol=1e-4, atol=1e-5, err_msg=name)


def test_written_out_it_is_an_ordinary_convolution():
    kernel = ops.convert_to_numpy(block_diagonal(ops.convert_to_tensor(KERNEL), GROUPS))
    assert kernel.shape == (3, 3, GROUPS * INSIDE, FILTERS)
    for channel, number in np.ndindex(kernel.shape[2:]):
        group = channel // INSIDE
        own = group == number // (FILTERS // GROUPS)
        expected = KERNEL[:, :, channel - group * INSIDE, number] if own else 0
        np.testing.assert_array_equal(kernel[:, :, channel, number], np.zeros((3, 3)) + expected)
    written_out = ops.conv(X, kernel, 1, "same", data_format="channels_last")
    np.testing.assert_allclose(
        written_out, by_groups(X, KERNEL, (1, 1), "same"), rtol=1e-4, atol=1e-5
    )


def test_gradients_of_inputs_and_kernel():
    """The kernel's gradient is what TensorFlow lacks on some CPUs. Compared: zeros in between."""
    factors = RANDOM.normal(size=(2, 6, 5, FILTERS)).astype(np.float32)

    def total(x, kernel):
        return ops.sum(ops.multiply(factors, grouped_conv(x, kernel, (1, 1), "same")))

    def written_out(x, kernel):
        kernel = block_diagonal(kernel, GROUPS)
        outputs = ops.conv(x, kernel, 1, "same", data_format="channels_last")
        return ops.sum(ops.multiply(factors, outputs))

    x, kernel = ops.convert_to_tensor(X), ops.convert_to_tensor(KERNEL)
    for one, other in (
        (lambda k: total(x, k), lambda k: written_out(x, k)),
        (lambda v: total(v, kernel), lambda v: written_out(v, kernel)),
    ):
        at = KERNEL if one.__code__.co_varnames[0] == "k" else X
        slope = gradient(one, at)
        assert slope.any()
        np.testing.assert_allclose(slope, gradient(other, at), rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="oneDNN is TensorFlow's")
def test_without_onednn_it_trains_all_the_same():
    program = """
import numpy as np
from keras import ops
from mrcnn.ops.grouped_conv import grouped_conv
from mrcnn.tensorflow_backend.grouped_conv import available
from tests.ops.test_grouped_conv import KERNEL, X
from tests.support import gradient
slope = gradient(lambda k: ops.sum(ops.square(grouped_conv(X, k))), KERNEL)
print(available(), slope.shape == KERNEL.shape and bool(np.isfinite(slope).all()))
"""
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert done.stdout.split() == ["False", "True"], done.stderr


def test_the_kernels_are_asked_for_once():
    assert tf_kernels.available() is tf_kernels.available()
    # On TensorFlow it depends on the processor: oneDNN is off on some.
    assert keras.backend.backend() == "tensorflow" or not tf_kernels.available()
