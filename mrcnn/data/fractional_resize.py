"""Bilinear resizing to fractions of grey levels, as PyTorch's `interpolate` does it.

`mrcnn.data.images.resize_bilinear`, Matterport's, cuts bytes to whole numbers and lets an enlarged
image fade at its border; here neither is so. Positions are computed in float32, as there, because a
rounding of theirs shows in the result.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def resize_between_pixels(image: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Resize an image: bilinear, half-pixel centers, no anti-aliasing, the border going on.

    Args:
        image: [H, W, C], of any values that float32 holds.
        size: (height, width) of the result.

    Returns:
        float32 [height, width, C], a new array.

    >>> resize_between_pixels(np.array([[[0], [4]]], np.uint8), (1, 4))[0, :, 0].tolist()
    [0.0, 1.0, 3.0, 4.0]
    """
    values = np.array(image, np.float32)
    for axis in (1, 0):
        if values.shape[axis] == size[axis]:
            continue
        low, high, weight = between_pixels(values.shape[axis], size[axis])
        weight = weight.reshape([-1 if number == axis else 1 for number in range(3)])
        first = values.take(low, axis)
        first *= 1 - weight
        second = values.take(high, axis)
        second *= weight
        first += second
        values = first
    return values


def between_pixels(before: int, after: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two pixels that each of `after` positions lies between, and the weight of the second.

    Args:
        before, after: pixels of an axis.

    Returns:
        int64, int64 and float32 [after].
    """
    scale = np.float32(before) / np.float32(after)
    position = (np.arange(after, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)
    position = np.maximum(position, np.float32(0))
    low = np.minimum(position.astype(np.int64), before - 1)
    return low, np.minimum(low + 1, before - 1), position - low.astype(np.float32)
