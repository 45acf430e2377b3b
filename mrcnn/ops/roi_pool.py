"""RoIPool: quantised max pooling over a feature pyramid (Girshick 2015, Fast R-CNN, section 2.1).

What RoIAlign replaced: a RoI is rounded to whole cells of its feature map, and so are the bins that
it is divided into. The rounding is that of Fast R-CNN's published code (`ROIPoolingLayer`), for
each axis:

1. A RoI's first and last pixel are divided by the stride of its level, and rounded to the nearest
   cell, halves away from zero. Both cells belong to it, so that it has n = last - first + 1 cells,
   and at least one.
2. Of k bins, bin i has the cells from first + floor(i n / k) to first + ceil((i + 1) n / k), this
   one not included. Where k does not divide n, neighbours share cells; where n < k, many do.
3. Bins are cut to the map. The value of a bin is the largest of each channel in it; of a bin
   without a cell, 0.

The gradient of a value goes to the cell that it came from, of equal ones to the first, row by row.
No gradient flows to boxes.

Bins have any number of cells, and shapes are static: all bins of all RoIs look at their first cell,
then at their second, and so on up to the largest bin's last. What is kept beside the result is as
large as the result: which cell each value came from. TensorFlow has no kernel of this pooling.

Shape letters: B images, R RoIs of an image, N = B R, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

from keras import ops

from mrcnn.ops import boxes as box_ops
from mrcnn.ops.crops import FIRST_LEVEL, map_starts, of_level, pyramid_level, rounded_product
from mrcnn.ops.tensor import Tensor

# Cells further away than this are as good as outside of every map, and products of them fit int32.
_FARTHEST_CELL = 1e6
_LARGEST_INDEX = 2**31 - 1


def pyramid_roi_pool(
    feature_maps: Sequence[Tensor], rois: Tensor, image_area: Tensor, size: tuple[int, int]
) -> Tensor:
    """RoIPool: the largest values of each RoI's bins, on the level that suits its size.

    Args:
        feature_maps: P2, P3, … as [B, H, W, C], whose strides are 4, 8, …
        rois: [B, R, 4] normalized: of the first and the last pixel, as Fast R-CNN's.
        image_area: pixels of the image.
        size: (height, width), the number of bins.

    Returns:
        [B, R, height, width, C] float32.

    Raises:
        ValueError: the maps have more values than int32 can count.
    """
    rois = ops.stop_gradient(ops.cast(rois, "float32"))
    batch, count = ops.shape(rois)[:2]
    channels = feature_maps[0].shape[-1]
    level = ops.reshape(pyramid_level(rois, image_area, len(feature_maps)), (-1,))
    boxes = ops.reshape(rois, (-1, 4))
    image = ops.arange(batch * count, dtype="int32") // count
    heights, widths = zip(*(ops.shape(features)[1:3] for features in feature_maps), strict=True)
    strides = [2 ** (FIRST_LEVEL + number) for number in range(len(feature_maps))]
    *starts, cells = map_starts(batch, heights, widths)
    if isinstance(cells, int) and cells * channels > _LARGEST_INDEX:
        raise ValueError(
            f"feature_maps: expected at most {_LARGEST_INDEX} values, which int32 can count; "
            f"received {cells * channels}. Use smaller batches or images."
        )
    height, width, stride, start = of_level((heights, widths, strides, starts), level)
    base = start + image * height * width

    y1, x1, y2, x2 = box_ops.split(boxes)
    rows = _bins(y1, y2, height, stride, size[0])
    columns = _bins(x1, x2, width, stride, size[1])
    flat = ops.concatenate(
        [ops.reshape(ops.cast(features, "float32"), (-1, channels)) for features in feature_maps]
    )
    winners, found = _largest_cells(ops.stop_gradient(flat), base, width, rows, columns)
    # One gather, whose gradient puts each value's share where the value came from.
    entries = winners * channels + ops.arange(channels, dtype="int32")
    values = ops.take(ops.reshape(flat, (-1,)), ops.reshape(entries, (-1,)))
    pooled = ops.where(found[:, None], ops.reshape(values, ops.shape(entries)), 0.0)
    return ops.reshape(pooled, (batch, count, *size, channels))


def roi_cells(start: Tensor, end: Tensor, side: Tensor, stride: Tensor) -> tuple[Tensor, Tensor]:
    """The first and the last cell of RoIs along an axis, rounded: int32 [N] both.

    Args:
        start, end: [N] normalized.
        side: int32 [N], cells of the map along the axis.
        stride: int32 [N], pixels of the image that a cell covers.
    """
    pixels = ops.cast(side * stride, "float32") - 1.0
    stride = ops.cast(stride, "float32")
    first, last = (_nearest(rounded_product(place * pixels) / stride) for place in (start, end))
    return first, last


def _nearest(position: Tensor) -> Tensor:
    """The nearest whole number as int32, halves away from zero, as C's `round`."""
    position = ops.clip(position, -_FARTHEST_CELL, _FARTHEST_CELL)
    return ops.cast(ops.sign(position) * ops.floor(ops.abs(position) + 0.5), "int32")


def _bins(
    start: Tensor, end: Tensor, side: Tensor, stride: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """The first cell of each bin and the number of its cells on the map: int32 [N, count] both."""
    first, last = roi_cells(start, end, side, stride)
    cells = ops.maximum(last - first + 1, 1)[:, None]
    number = ops.arange(count, dtype="int32")[None, :]
    # In whole numbers: a float of i n / k may lie just above the whole number that it should be.
    begin = first[:, None] + number * cells // count
    stop = first[:, None] + ((number + 1) * cells + (count - 1)) // count
    begin, stop = (ops.clip(place, 0, side[:, None]) for place in (begin, stop))
    return begin, stop - begin


def _largest_cells(
    flat: Tensor,
    base: Tensor,
    width: Tensor,
    rows: tuple[Tensor, Tensor],
    columns: tuple[Tensor, Tensor],
) -> tuple[Tensor, Tensor]:
    """Which cell of each bin has the largest value of each channel.

    Args:
        flat: [cells, C], all maps row by row.
        base, width: int32 [N], where each RoI's map starts, and its width.
        rows, columns: the bins of each RoI along the two axes, from `_bins`.

    Returns:
        (rows of `flat`, int32 [bins, C], whether there is a cell at all, bool [bins]), for
        bins = N · height · width.
    """
    (top, tall), (left, wide) = rows, columns
    corner = (base[:, None] + top * width[:, None])[:, :, None] + left[:, None, :]
    number = ops.reshape(tall[:, :, None] * wide[:, None, :], (-1,))
    corner = ops.where(number > 0, ops.reshape(corner, (-1,)), 0)
    shape = ops.shape(top[:, :, None] + left[:, None, :])
    wide = ops.reshape(ops.broadcast_to(ops.maximum(wide, 1)[:, None, :], shape), (-1,))
    width = ops.reshape(ops.broadcast_to(width[:, None, None], shape), (-1,))
    final = ops.maximum(number - 1, 0)

    def cell(turn: Tensor) -> Tensor:
        """The bins' cells of a turn; a bin that has no more stays at its last."""
        place = ops.minimum(turn, final)
        row = place // wide
        return corner + row * width + (place - row * wide)

    def look(turn: Tensor, best: Tensor, winners: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        now = cell(turn)
        values = ops.take(flat, now, axis=0)
        better = values > best
        return turn + 1, ops.where(better, values, best), ops.where(better, now[:, None], winners)

    first = cell(ops.zeros((), dtype="int32"))
    best = ops.take(flat, first, axis=0)
    state = (
        ops.ones((), dtype="int32"),
        best,
        first[:, None] + ops.zeros_like(best, dtype="int32"),
    )
    turns = ops.max(number, initial=1)
    winners = ops.while_loop(lambda turn, *_: turn < turns, look, state)[2]
    return winners, number > 0
