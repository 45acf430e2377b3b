"""The resizing of detection, as part of a graph: a twin of `mrcnn.data.resize`.

Shape letters: H, W sides of the picture; h, w sides of the network's input; C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from keras import ops

from mrcnn.data.antialiased_resize import UNIT, averaging_taps, order_of_axes
from mrcnn.data.fractional_resize import between_pixels
from mrcnn.data.images import linear_taps
from mrcnn.data.resize import Resize
from mrcnn.ops.tensor import Tensor


class InGraph(NamedTuple):
    """A picture as the network takes it."""

    image: Tensor  # float32 [1, h, w, C]: whole grey levels, or fractions in the mode "pad32"
    window: Tensor  # float32 [4]: y1, x1, y2, x2 of the picture in it, in pixels


class AxisTaps(NamedTuple):
    """How each position of an axis reads the picture: (low + weight · (high − low)) · coverage."""

    low: Tensor  # int32 [n]
    high: Tensor  # int32 [n]
    weight: Tensor  # float32 [n]
    coverage: Tensor  # float32 [n]: the part that lies inside the picture; 0 in the padding


def resize_known(image: Tensor, resize: Resize) -> InGraph:
    """Resize pictures of a size that is known when the graph is made, in any mode.

    Args:
        image: uint8 [1, H, W, C].
        resize: of `Resize.for_detection`.
    """
    size = tuple(image.shape[1:3])
    if resize.mode == "pad32":
        return _resize_between_pixels(image, resize)
    result = resize(np.zeros((*size, 1), np.uint8))
    sides, (top, left, bottom, right) = result.image.shape[:2], result.window
    window = ops.convert_to_tensor(np.array(result.window, np.float32))
    if (bottom - top, right - left) == size:
        padding = ((0, 0), (top, sides[0] - bottom), (left, sides[1] - right), (0, 0))
        return InGraph(ops.pad(ops.cast(image, "float32"), padding), window)
    rows = _known_taps(size[0], top, bottom, sides[0])
    columns = _known_taps(size[1], left, right, sides[1])
    return InGraph(_interpolate(image, rows, columns), window)


def _resize_between_pixels(image: Tensor, resize: Resize) -> InGraph:
    """The mode "pad32": a twin of `mrcnn.data.fractional_resize`, and the padding's value.

    Or of `mrcnn.data.antialiased_resize`.
    """
    size = image.shape[1:3]
    scaled, padded = resize.size_of(size), resize.padded_size(size)
    values = ops.cast(image, "float32")
    order = order_of_axes(size, scaled) if resize.antialiased else (1, 0)
    for axis in (number + 1 for number in order):
        before, after = size[axis - 1], scaled[axis - 1]
        if before == after:
            continue
        if resize.antialiased:
            values = _averaged(values, axis, *averaging_taps(before, after))
            continue
        low, high, weight = between_pixels(before, after)
        shape = [1, 1, 1, 1]
        shape[axis] = -1
        weight = weight.reshape(shape)
        first = ops.take(values, low.astype(np.int32), axis=axis) * (1 - weight)
        values = first + ops.take(values, high.astype(np.int32), axis=axis) * weight
    missing = [(0, whole - part) for whole, part in zip(padded, scaled, strict=True)]
    inside = np.pad(np.ones((1, *scaled, 1), bool), ((0, 0), *missing, (0, 0)))
    outside = np.broadcast_to(np.asarray(resize.padding_value, np.float32), (image.shape[3],))
    values = ops.where(inside, ops.pad(values, ((0, 0), *missing, (0, 0))), outside)
    window = ops.convert_to_tensor(np.array([0, 0, *scaled], np.float32))
    return InGraph(values, window)


def _averaged(values: Tensor, axis: int, pixels: np.ndarray, weights: np.ndarray) -> Tensor:
    """An axis of [1, H, W, C] at places that average pixels, rounded to whole grey levels."""
    shape = [1, 1, 1, 1]
    shape[axis] = -1
    values = ops.cast(values, "int32")
    total = UNIT // 2
    for pixel, weight in zip(pixels.T, weights.T, strict=True):
        total = total + ops.take(values, pixel, axis=axis) * weight.reshape(shape)
    return ops.cast(total // UNIT, "float32")


def resize_any(image: Tensor, resize: Resize) -> InGraph:
    """Resize pictures of any size to the square of the mode "square".

    Args:
        image: uint8 [1, H, W, C].
        resize: of `Resize.for_detection`, in the mode "square" and without shapes to choose from.
    """
    side = resize.max_dim
    height, width = (ops.cast(n, "float64") for n in ops.shape(image)[1:3])
    longer, shorter = ops.maximum(height, width), ops.minimum(height, width)
    scale = ops.maximum(
        ops.cast(resize.min_dim, "float64") / shorter,
        # As an array: a number of Python's would become float32 first, and 25 * 1.7 would be 43.
        ops.convert_to_tensor(np.array(max(1, resize.min_scale), np.float64)),
    )
    most = ops.cast(side, "float64")
    scale = ops.where(ops.round(longer * scale) > most, most / longer, scale)
    axes, corners = [], []
    for n in (height, width):
        scaled = ops.cast(ops.maximum(ops.round(n * scale), 1.0), "int32")
        before = (side - scaled) // 2
        corners.append((before, before + scaled))
        axes.append(_taps(ops.cast(n, "int32"), before, scaled, side))
    window = [corners[0][0], corners[1][0], corners[0][1], corners[1][1]]
    window = ops.stack([ops.cast(edge, "float32") for edge in window])
    return InGraph(_interpolate(image, *axes), window)


def _known_taps(size: int, start: int, stop: int, side: int) -> AxisTaps:
    taps = linear_taps(size, stop - start, np.float32)
    around = (start, side - stop)
    low, high, weight, coverage = (np.pad(values, around) for values in taps)
    return AxisTaps(low.astype(np.int32), high.astype(np.int32), weight, coverage)


def _taps(size: Tensor, start: Tensor, scaled: Tensor, side: int) -> AxisTaps:
    """A twin of `mrcnn.data.images.linear_taps`, with padding around; sizes are int32 scalars.

    In whole numbers, because not every runtime has float64: the position of place p is
    ((2p + 1) · size − scaled) / (2 · scaled), to which 1 is added so that nothing is negative:
    runtimes round negative quotients in different ways.
    """
    place = ops.arange(side, dtype="int32") - start
    inside = (place >= 0) & (place < scaled)
    whole = 2 * scaled
    numerator = (2 * ops.clip(place, 0, side) + 1) * size + scaled
    next_one = numerator // whole
    inner = ops.minimum(ops.minimum(numerator, whole * (size + 1) - numerator), whole)
    coverage = ops.cast(inner, "float32") / ops.cast(whole, "float32")
    return AxisTaps(
        ops.clip(next_one - 1, 0, size - 1),
        ops.clip(next_one, 0, size - 1),
        ops.cast(numerator - next_one * whole, "float32") / ops.cast(whole, "float32"),
        ops.where(inside, coverage, 0.0),
    )


def _interpolate(image: Tensor, rows: AxisTaps, columns: AxisTaps) -> Tensor:
    """Read [1, H, W, C] at rows and columns, cut to whole grey levels."""
    image = ops.cast(image, "float32")
    least = ops.min(image)
    values = _along(_along(image, columns, 2), rows, 1)
    # Outside the picture is zero, but its border is not darker than its darkest pixel.
    inside = (rows.coverage[:, None] > 0) & (columns.coverage[None, :] > 0)
    values = ops.where(inside[None, :, :, None], ops.maximum(values, least), 0.0)
    return ops.floor(values)


def _along(values: Tensor, taps: AxisTaps, axis: int) -> Tensor:
    shape = [1, 1, 1, 1]
    shape[axis] = -1
    low, high = (ops.take(values, index, axis=axis) for index in (taps.low, taps.high))
    weight, coverage = (ops.reshape(x, shape) for x in (taps.weight, taps.coverage))
    return ((high - low) * weight + low) * coverage


def can_take_any(resize: Resize) -> bool:
    """Whether `resize_any` does what a resizing asks for."""
    return resize.mode == "square" and len(resize.shapes) <= 1


def fixed_shape(resize: Resize, image_size: Sequence[int] | None) -> tuple[int, int]:
    """The (height, width) of the network's input for pictures of a size, or of any (None)."""
    if image_size is None:
        return resize.max_dim, resize.max_dim
    if resize.mode == "none":
        return image_size[0], image_size[1]
    return resize.padded_size(image_size)
