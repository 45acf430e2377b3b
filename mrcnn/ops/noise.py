"""The noise that draws anchors and RoIs: a hash of (seed, step, image, place), the same everywhere.

Keras's generators give other numbers in a TensorFlow graph than in the same graph compiled by XLA,
and others again on JAX. A hash in whole numbers is equal bit for bit on every backend, compiled or
not, and however the images of a batch are divided over devices.

The mixing is of the kind of Wellons' "lowbias32", a permutation of 32 bits in which every bit of
the input changes each bit of the output with a probability near one half, with the constants that
his program has found since; each of the four numbers is mixed in by itself.
"""

from __future__ import annotations

import numpy as np
from keras import ops

from mrcnn.ops.tensor import Tensor

# As whole numbers with a sign, whose products wrap around on every backend.
_FACTORS = tuple(int(np.uint32(value).astype(np.int32)) for value in (0x21F0AAAD, 0xD35A2D97))
_SHIFTS = (16, 15, 15)
_START = int(np.uint32(0x9E3779B9).astype(np.int32))  # mixing leaves 0 as it is
_BITS = 24  # of a float32's fraction, so that all values are equally far apart


def uniform_noise(
    shape: tuple[int, int], seed: Tensor, step: Tensor, first_image: Tensor | int = 0
) -> Tensor:
    """Numbers in [0, 1), for each place of each image.

    Args:
        shape: [B, N].
        seed: an integer, a scalar; of 32 bits.
        step: how often numbers were drawn before, likewise.
        first_image: which image of the whole batch the first of the B is.

    Returns:
        [B, N] float32, multiples of 2^-24.

    >>> noise = uniform_noise((2, 3), ops.array(7), ops.array(0))
    >>> (100 * ops.convert_to_numpy(noise)).astype(int).tolist()
    [[2, 94, 12], [34, 61, 96]]
    """
    images, places = shape
    start = _mixed(_mixed(_as_int32(seed) + _START) + _as_int32(step))
    rows = _mixed(start + first_image + ops.arange(images, dtype="int32"))
    hashed = _mixed(rows[:, None] + ops.arange(places, dtype="int32")[None, :])
    whole = _shifted(hashed, 32 - _BITS)
    return ops.cast(whole, "float32") * (2.0**-_BITS)


def _mixed(x: Tensor) -> Tensor:
    first, second, third = _SHIFTS
    x = ops.bitwise_xor(x, _shifted(x, first)) * _FACTORS[0]
    x = ops.bitwise_xor(x, _shifted(x, second)) * _FACTORS[1]
    return ops.bitwise_xor(x, _shifted(x, third))


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Shift right and fill up with zeros; a number's sign would do it otherwise."""
    return ops.bitwise_and(ops.right_shift(x, bits), (1 << (32 - bits)) - 1)


def _as_int32(x: Tensor) -> Tensor:
    return ops.cast(ops.convert_to_tensor(x), "int32")
