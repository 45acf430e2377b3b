"""Convolutions written as products are the backend's own, and so are their gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from keras import ops

from mrcnn.ops import convolution
from mrcnn.ops.convolution import doubling_conv, same_conv
from tests.support import gradient

Convolution = Callable[[Any, Any], Any]
RANDOM = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def assert_same(ours: Convolution, theirs: Convolution, inputs: np.ndarray, kernel: np.ndarray):
    """Equal values, and equal gradients of the inputs and of the kernel."""
    found, expected = (ops.convert_to_numpy(f(inputs, kernel)) for f in (ours, theirs))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    weights = floats(*expected.shape)

    def weighted(outputs: Any) -> Any:
        return ops.sum(ops.multiply(outputs, weights))

    def of_inputs(convolve: Convolution) -> np.ndarray:
        return gradient(lambda x: weighted(convolve(x, kernel)), inputs, jit=True)

    def of_kernel(convolve: Convolution) -> np.ndarray:
        return gradient(lambda k: weighted(convolve(inputs, k)), kernel, jit=True)

    for slope in (of_inputs, of_kernel):
        np.testing.assert_allclose(slope(ours), slope(theirs), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("on_cpu", [True, False])
@pytest.mark.parametrize("sides", [(1, 1), (3, 3), (5, 3)])
def test_a_convolution_with_its_gradient_written_out(
    sides: tuple[int, int], on_cpu: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(convolution, "only_cpus", lambda: on_cpu)
    theirs = lambda x, k: ops.conv(x, ops.convert_to_tensor(k), padding="same")  # noqa: E731
    assert_same(
        lambda x, k: same_conv(ops.convert_to_tensor(x), ops.convert_to_tensor(k)),
        theirs,
        floats(3, 6, 7, 4),
        floats(*sides, 4, 5),
    )


@pytest.mark.parametrize("sides", [(2, 2), (3, 2)])
def test_a_transposed_convolution_without_overlaps_is_a_product(sides: tuple[int, int]):
    assert_same(
        lambda x, k: doubling_conv(ops.convert_to_tensor(x), ops.convert_to_tensor(k)),
        lambda x, k: ops.conv_transpose(x, ops.convert_to_tensor(k), strides=sides),
        floats(3, 4, 5, 6),
        floats(*sides, 7, 6),
    )
