"""Bilinear resizing that averages where it shrinks, to whole grey levels: Pillow's.

Detectron2 resizes bytes so (`data/transforms/transform.py`, `ResizeTransform`), and images of other
values without averaging, as `mrcnn.data.fractional_resize`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from mrcnn.data.fractional_resize import resize_between_pixels

# Pillow weighs bytes by whole numbers that sum up to this, but for rounding.
UNIT = 1 << 22


def resize_averaging(image: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Resize an image: bilinear, each pixel an average of those that it covers.

    Args:
        image: [H, W, C]; bytes are averaged, other values are interpolated.
        size: (height, width) of the result.

    Returns:
        [height, width, C], a new array: uint8 of bytes, else float32.

    >>> resize_averaging(np.array([[[0], [4], [8], [100]]], np.uint8), (1, 2))[0, :, 0].tolist()
    [3, 47]
    """
    if image.dtype != np.uint8:
        return resize_between_pixels(image, size)
    height, width = size
    if image.shape[2] == 3:
        return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
    result = np.empty((height, width, image.shape[2]), np.uint8)
    for channel in range(image.shape[2]):
        grey = Image.fromarray(np.ascontiguousarray(image[:, :, channel]))
        scaled = grey.resize((width, height), Image.Resampling.BILINEAR)
        result[:, :, channel] = np.asarray(scaled)
    return result


def averaging_taps(before: int, after: int) -> tuple[np.ndarray, np.ndarray]:
    """The pixels that each of `after` positions averages, and their weights.

    As Pillow's `precompute_coeffs` in `libImaging/Resample.c`, whose sums are rounded to whole grey
    levels after each axis.

    Args:
        before, after: pixels of an axis.

    Returns:
        int32 [after, taps] both, weights in parts of `UNIT`; taps beyond the ends have the weight
        0. Sums over bytes fit int32.
    """
    scale = before / after
    reach = max(scale, 1.0)
    center = (np.arange(after) + 0.5) * scale
    first = np.maximum((center - reach + 0.5).astype(np.int64), 0)
    end = np.minimum((center + reach + 0.5).astype(np.int64), before)
    pixel = first[:, None] + np.arange((end - first).max())
    weight = np.maximum(1.0 - np.abs((pixel - center[:, None] + 0.5) / reach), 0.0)
    weight = np.where(pixel < end[:, None], weight, 0.0)
    weight /= weight.sum(axis=1, keepdims=True)
    weight = np.floor(weight * UNIT + 0.5)
    return np.minimum(pixel, before - 1).astype(np.int32), weight.astype(np.int32)


def averaged_by_taps(values: np.ndarray, size: Sequence[int], order: Sequence[int]) -> np.ndarray:
    """What `resize_averaging` does to bytes, by its taps: a twin for a graph to be like.

    Args:
        values: [H, W, C].
        size: (height, width) of the result.
        order: of the axes.
    """
    result = np.asarray(values, np.int32)
    for axis in order:
        if result.shape[axis] != size[axis]:
            pixels, weights = averaging_taps(result.shape[axis], size[axis])
            lines = np.moveaxis(result, axis, 0)
            summed = sum(
                lines[pixel] * weight[:, None, None]
                for pixel, weight in zip(pixels.T, weights.T, strict=True)
            )
            result = np.moveaxis((summed + UNIT // 2) // UNIT, 0, axis)
    return result


def order_of_axes(before: Sequence[int], after: Sequence[int]) -> tuple[int, int]:
    """Which axis Pillow averages first, 0 (y) or 1 (x), and which then.

    It was x always; since Pillow 13 it depends on the sizes. So ask the one that is installed.
    """
    probe = np.random.default_rng(0).integers(0, 256, (*before, 1)).astype(np.uint8)
    found = resize_averaging(probe, after)
    wrong = [(averaged_by_taps(probe, after, order) != found).sum() for order in ((1, 0), (0, 1))]
    return (1, 0) if wrong[0] <= wrong[1] else (0, 1)


def size_within(size: Sequence[int], shorter: int, longer: int) -> tuple[int, int]:
    """The size of an image whose shorter side is to be `shorter`, its longer one at most `longer`.

    In the order of Detectron2's `ResizeShortestEdge.get_output_shape`
    (`data/transforms/augmentation_impl.py`), on which depends where a side is rounded to.

    >>> size_within((480, 640), 800, 1333), size_within((100, 400), 800, 1333)
    ((800, 1067), (333, 1333))
    """
    factor = shorter / min(size)
    sides = [float(shorter), factor * size[1]]
    if size[0] >= size[1]:
        sides = [factor * size[0], float(shorter)]
    if max(sides) > longer:
        factor = longer / max(sides)
        sides = [side * factor for side in sides]
    height, width = (max(1, int(side + 0.5)) for side in sides)
    return height, width
