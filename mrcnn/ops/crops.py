"""Bilinear crops: RoIAlign over a feature pyramid, and crops of masks.

The sampling rule is that of TensorFlow's `crop_and_resize`, on which Matterport's
numbers depend: the sample grid's corners are the box's corners, the grid of a map of
height H spans [0, H - 1], and a sample outside reads 0. No gradient flows to boxes.

Two implementations that a test holds together: a single gather over the flattened
pyramid, which XLA compiles well, and TensorFlow's kernel (`use_tf_kernels`), which is
faster where the graph is not compiled and has no XLA version.

Shape letters: M maps, N boxes, C channels, B images, R RoIs of an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from keras import ops

from mrcnn.ops import boxes as box_ops
from mrcnn.ops.tensor import Tensor
from mrcnn.tensorflow_backend import crops as tf_kernels

# FPN (Lin et al. 2017), eq. 1: a RoI of the ImageNet size, 224 pixels, belongs to P4.
CANONICAL_SIDE = 224.0
CANONICAL_LEVEL = 4
FIRST_LEVEL = 2


def crop_and_resize(
    maps: Tensor,
    boxes: Tensor,
    map_index: Tensor,
    size: tuple[int, int],
    *,
    use_tf_kernels: bool = False,
) -> Tensor:
    """Crop each box from its map and resize it bilinearly.

    Args:
        maps: [M, H, W, C].
        boxes: [N, 4] normalized.
        map_index: [N] int32, the map of each box.
        size: (height, width) of the crops.
        use_tf_kernels: see `mrcnn.tensorflow_backend`; not compilable by XLA.

    Returns:
        [N, height, width, C] float32.
    """
    boxes = ops.stop_gradient(ops.convert_to_tensor(boxes))
    maps = ops.cast(maps, "float32")
    if use_tf_kernels:
        return tf_kernels.crop_and_resize(maps, boxes, map_index, size)
    count, height, width, channels = ops.shape(maps)
    flat = ops.reshape(maps, (count * height * width, channels))
    base = ops.cast(map_index, "int32") * (height * width)
    full = ops.ones_like(base)
    return _sample(flat, boxes, base, full * height, full * width, size)


def pyramid_level(boxes: Tensor, image_area: Tensor, levels: int = 4) -> Tensor:
    """Index of the pyramid level of each RoI: 0 is P2 (FPN, eq. 1).

    Args:
        boxes: [..., 4] normalized.
        image_area: pixels of the image.
        levels: number of levels.

    Returns:
        [...] int32 in [0, levels). Boxes without area belong to P2.
    """
    y1, x1, y2, x2 = box_ops.split(boxes)
    area = (y2 - y1) * (x2 - x1)
    side = ops.sqrt(ops.maximum(area, 1e-30))
    canonical = CANONICAL_SIDE / ops.sqrt(ops.cast(image_area, "float32"))
    level = CANONICAL_LEVEL - FIRST_LEVEL + ops.round(ops.log(side / canonical) / ops.log(2.0))
    level = ops.where(area > 0, ops.clip(level, 0, levels - 1), 0.0)
    return ops.cast(level, "int32")


def pyramid_roi_align(
    feature_maps: Sequence[Tensor],
    rois: Tensor,
    image_area: Tensor,
    size: tuple[int, int],
    *,
    use_tf_kernels: bool = False,
    training: bool = True,
) -> Tensor:
    """RoIAlign: crop each RoI from the level of the pyramid that suits its size.

    Args:
        feature_maps: P2, P3, … as [B, H, W, C].
        rois: [B, R, 4] normalized.
        image_area: pixels of the image.
        size: (height, width) of the crops.
        use_tf_kernels: see `mrcnn.tensorflow_backend`.
        training: False: the gradient may add up in any order. TensorFlow keeps the whole graph
            around a gradient of our own for as long as the process lives, and detection makes a
            graph for each shape of image.

    Returns:
        [B, R, height, width, C] float32.
    """
    rois = ops.stop_gradient(ops.cast(rois, "float32"))
    batch, count = ops.shape(rois)[:2]
    channels = feature_maps[0].shape[-1]
    level = ops.reshape(pyramid_level(rois, image_area, len(feature_maps)), (-1,))
    boxes = ops.reshape(rois, (-1, 4))
    image = ops.arange(batch * count, dtype="int32") // count
    crops = crop_levels(
        feature_maps, boxes, image, level, size, use_tf_kernels=use_tf_kernels, training=training
    )
    return ops.reshape(crops, (batch, count, *size, channels))


def crop_levels(
    feature_maps: Sequence[Tensor],
    boxes: Tensor,
    image: Tensor,
    level: Tensor,
    size: tuple[int, int],
    *,
    use_tf_kernels: bool = False,
    training: bool = True,
) -> Tensor:
    """Crop each box from a map of its own image and level.

    Args:
        feature_maps: one [B, H, W, C] for each level.
        boxes: [N, 4] normalized to the map of their level.
        image, level: [N] int32.
        size: (height, width) of the crops.
        use_tf_kernels, training: see `pyramid_roi_align`.

    Returns:
        [N, height, width, C] float32.
    """
    batch, channels = ops.shape(feature_maps[0])[0], feature_maps[0].shape[-1]
    feature_maps = [ops.cast(features, "float32") for features in feature_maps]
    heights, widths = zip(*(ops.shape(features)[1:3] for features in feature_maps), strict=True)
    *starts, cells = map_starts(batch, heights, widths)
    if use_tf_kernels and not training:
        crops = tf_kernels.pyramid_crop(feature_maps, boxes, image, level, size)
    elif use_tf_kernels:

        @ops.custom_gradient
        def crop(*maps: Tensor) -> tuple[Tensor, Any]:
            def gradient(*args: Tensor, upstream: Tensor | None = None) -> list[Tensor]:
                upstream = args[0] if upstream is None else upstream
                height, width, start = of_level((heights, widths, starts), level)
                base = start + image * height * width
                flat = _scatter(upstream, boxes, base, height, width, size, cells)
                # Copies: rows of the first axis would be views of one buffer. TensorFlow begins the
                # sum of a map's gradients with the first one whose buffer nothing else needs, and
                # whether another map's sum still needs this one depends on the threads.
                flat = flat[None]
                parts = zip(maps, starts, [*starts[1:], cells], strict=True)
                return [ops.reshape(flat[:, first:last], ops.shape(m)) for m, first, last in parts]

            return tf_kernels.pyramid_crop(maps, boxes, image, level, size), gradient

        crops = crop(*feature_maps)
    else:
        flat = ops.concatenate([ops.reshape(f, (-1, channels)) for f in feature_maps])
        # This reshape makes the gradient of the gathers dense. TensorFlow would sort sparse
        # rows out to the levels by a `tf.where` of dynamic size, for which XLA evaluates the
        # whole graph before it, seconds to minutes long, while it compiles.
        flat = ops.reshape(flat, (-1, channels))
        height, width, start = of_level((heights, widths, starts), level)
        base = start + image * height * width
        crops = _sample(flat, boxes, base, height, width, size)
    return crops


def map_starts(batch: Any, heights: Sequence[Any], widths: Sequence[Any]) -> list[Any]:
    """Where each level begins when all maps lie one after the other; at last, how many cells."""
    starts = [0]
    for height, width in zip(heights, widths, strict=True):
        starts.append(starts[-1] + batch * height * width)
    return starts


def of_level(values: Sequence[Sequence[Any]], level: Tensor) -> list[Tensor]:
    """Numbers of each RoI's level: for each sequence, one number a level, int32 [N] as `level`."""
    table = ops.stack([ops.cast(value, "int32") for row in values for value in row])
    table = ops.reshape(table, (len(values), -1))
    return ops.unstack(ops.take(table, level, axis=1), len(values), axis=0)


def _sample(
    flat: Tensor,
    boxes: Tensor,
    base: Tensor,
    height: Tensor,
    width: Tensor,
    size: tuple[int, int],
) -> Tensor:
    """Sample boxes from maps that lie one after the other in `flat`.

    Args:
        flat: [cells, C], all maps row by row.
        boxes: [N, 4] normalized.
        base, height, width: [N] int32, where each box's map starts, and its shape.
        size: (rows, columns) of samples.
    """
    rows, columns = _rows_and_columns(boxes, base, height, width, size)

    def read(row: Tensor, column: Tensor) -> Tensor:
        cells = ops.take(flat, ops.reshape(row + column, (-1,)), axis=0)
        return ops.reshape(cells, (-1, *size, flat.shape[-1]))

    down, along = rows.weight[..., None], columns.weight[..., None]
    above = read(rows.low, columns.low) * (1.0 - along) + read(rows.low, columns.high) * along
    below = read(rows.high, columns.low) * (1.0 - along) + read(rows.high, columns.high) * along
    inside = (rows.inside & columns.inside)[..., None]
    return ops.where(inside, above * (1.0 - down) + below * down, 0.0)


def _scatter(
    upstream: Tensor,
    boxes: Tensor,
    base: Tensor,
    height: Tensor,
    width: Tensor,
    size: tuple[int, int],
    cells: int,
) -> Tensor:
    """The gradient of `_sample`: [N, rows, columns, C] to [cells, C].

    TensorFlow's own adds up in the order in which its threads come, so that two runs of one
    training would not end with the same weights.
    """
    rows, columns = _rows_and_columns(boxes, base, height, width, size)
    inside = ops.cast(rows.inside & columns.inside, upstream.dtype)
    total = 0.0
    for row, of_row in ((rows.low, 1.0 - rows.weight), (rows.high, rows.weight)):
        for column, of_column in (
            (columns.low, 1.0 - columns.weight),
            (columns.high, columns.weight),
        ):
            weight = (of_row * of_column * inside)[..., None]
            shares = ops.reshape(upstream * weight, (-1, upstream.shape[-1]))
            index = ops.reshape(row + column, (-1,))
            total = total + ops.segment_sum(shares, index, num_segments=cells)
    return total


class _Taps(NamedTuple):
    """Where the samples of one axis of each box lie."""

    low: Tensor  # where the row of the cell before the sample begins, or the cell's place in it
    high: Tensor  # and the one after
    weight: Tensor  # of the one after
    inside: Tensor  # whether the sample is inside the map


def _rows_and_columns(
    boxes: Tensor, base: Tensor, height: Tensor, width: Tensor, size: tuple[int, int]
) -> tuple[_Taps, _Taps]:
    """The taps of both axes: [N, rows, 1] and [N, 1, columns]; a cell is at the sum of two."""
    y1, x1, y2, x2 = box_ops.split(boxes)
    low, high, weight, inside = _taps(y1, y2, height, size[0])
    base, width_of_row = base[:, None], width[:, None]
    rows = (base + low * width_of_row, base + high * width_of_row, weight, inside)
    columns = _taps(x1, x2, width, size[1])
    return (
        _Taps(*(ops.expand_dims(values, 2) for values in rows)),
        _Taps(*(ops.expand_dims(values, 1) for values in columns)),
    )


def _taps(
    start: Tensor, end: Tensor, side: Tensor, samples: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The two cells, the weight of the second, and whether each sample is inside: [N, samples]."""
    last = ops.cast(side, "float32")[:, None] - 1.0
    start, end = start[:, None], end[:, None]
    if samples > 1:
        # A box that ends at 1.0 puts its last sample on the border, where one ulp decides
        # between the border's value and 0. So every rounding must be the kernel's: a true
        # division (XLA multiplies by the reciprocal of a constant, so let the divisor depend
        # on the box) and a product that is rounded before the sum (XLA fuses the two).
        intervals = ops.where(ops.isfinite(start), float(samples - 1), 1.0)
        step = (end - start) * last / intervals
        offset = rounded_product(ops.arange(samples, dtype="float32")[None, :] * step)
        position = rounded_product(start * last) + offset
    else:
        position = 0.5 * (start + end) * last
    inside = (position >= 0) & (position <= last)
    position = ops.where(inside, position, 0.0)
    low = ops.floor(position)
    high = ops.ceil(position)
    return ops.cast(low, "int32"), ops.cast(high, "int32"), position - low, inside


def rounded_product(product: Tensor) -> Tensor:
    """The product itself; keeps a compiler from fusing it with a following sum."""
    return ops.maximum(product, -1e30)
