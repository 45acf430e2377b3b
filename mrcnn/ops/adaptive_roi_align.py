"""RoIAlign with as many samples a bin as the bin has cells: Detectron2's.

torchvision `ops/roi_align.py`, `roi_align`, with a `sampling_ratio` of 0, which Detectron2's
`layers/roi_align.py`, `ROIAlign`, calls: a bin is read at ceil(height) x ceil(width) points, evenly
spread within it, so that a long RoI takes more of them than a small one. A kernel that is written
for it loops over each RoI's own points; shapes of tensors must not depend on the RoIs here.

What is read are not points but cells. The mean over a bin's points is a sum over the cells that
they lie between, each weighed by how near the points of its column and of its row come to it; and
since these lie on a grid, such a weight has a closed form (`_Axis.weights`). RoIs are sorted by how
many cells their bins take and read in chunks of similar ones: a chunk takes as many steps as the
bins of its largest RoI have cells, and each step reads one cell of every bin.

Shape letters: N RoIs, K of a chunk, b bins of an axis, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from keras import ops

from mrcnn.ops import boxes as box_ops
from mrcnn.ops.crops import map_starts, of_level, rounded_product
from mrcnn.ops.tensor import Tensor

CHUNK = 64
# TensorFlow's own scatter copies what it adds to: the fewer of them, the better.
TF_STEPS_AT_ONCE = 16


def adaptive_crop_levels(
    feature_maps: Sequence[Tensor],
    edges: Tensor,
    image: Tensor,
    level: Tensor,
    size: tuple[int, int],
    *,
    use_tf_kernels: bool = False,
    training: bool = True,
) -> Tensor:
    """Read each RoI from the map of its own image and level.

    Args:
        feature_maps: one float32 [B, H, W, C] for each level.
        edges: [N, 4] in cells of their level, 0 in the middle of the first one; inside the map. Of
            RoIs without height or width the crops are 0.
        image, level: [N] int32.
        size: (rows, columns) of bins.
        use_tf_kernels: TensorFlow runs it uncompiled; the gradient is laid out for that.
        training: False: the gradient may keep all that it needs; see
            `mrcnn.ops.crops.pyramid_roi_align`.

    Returns:
        [N, rows, columns, C] float32.
    """
    batch, channels = ops.shape(feature_maps[0])[0], feature_maps[0].shape[-1]
    heights, widths = zip(*(ops.shape(features)[1:3] for features in feature_maps), strict=True)
    *starts, _ = map_starts(batch, heights, widths)
    height, width, start = of_level((heights, widths, starts), level)
    base = start + image * height * width
    flat = ops.concatenate([ops.reshape(f, (-1, channels)) for f in feature_maps])
    y1, x1, y2, x2 = box_ops.split(edges)
    rows, columns = _axis(y1, y2, height, size[0]), _axis(x1, x2, width, size[1])

    steps = rows.most_cells * columns.most_cells
    order = ops.argsort(steps)
    count = ops.shape(steps)[0]
    size_of_chunk = CHUNK if edges.shape[0] is None else max(1, min(CHUNK, edges.shape[0]))
    chunks = (count + size_of_chunk - 1) // size_of_chunk
    missing = chunks * size_of_chunk - count

    def chunked(values: Tensor) -> Tensor:
        sorted_values = ops.take(values, order, axis=0)
        rest = [(0, 0)] * (len(values.shape) - 1)
        padded = ops.pad(sorted_values, [(0, missing), *rest])
        return ops.reshape(padded, (chunks, size_of_chunk, *values.shape[1:]))

    parts = [chunked(values) for values in (*rows, *columns, base, width)]
    places = ops.argsort(order)  # of each RoI in the sorted ones

    def crops_of(flat: Tensor) -> Tensor:
        found = ops.map(lambda of_chunk: _read(flat, _Bins.of(of_chunk), size), parts)
        found = ops.reshape(found, (chunks * size_of_chunk, *size, channels))
        return ops.take(found, places, axis=0)

    if not training:
        return crops_of(flat)

    # Differentiated by itself, a loop would keep what each of its steps reads, and XLA's cannot be
    # at all where their number is not known.
    @ops.custom_gradient
    def crop(flat: Tensor) -> tuple[Tensor, Any]:
        def gradient(*args: Tensor, upstream: Tensor | None = None) -> Tensor:
            upstream = args[0] if upstream is None else upstream
            at_once = TF_STEPS_AT_ONCE if use_tf_kernels else 1
            return _spread(chunked(upstream), parts, flat, chunks, at_once)

        return crops_of(flat), gradient

    return crop(flat)


class _Axis(NamedTuple):
    """The points of RoIs on an axis."""

    start: Tensor  # [N], the first edge of the first bin, in cells
    bin_length: Tensor  # [N], in cells
    points: Tensor  # [N] float32, of a bin; 0 where the RoI has no length
    side: Tensor  # [N] float32, cells of the map
    first: Tensor  # [N, b] int32, the first cell that a bin takes
    most_cells: Tensor  # [N] int32, that any bin takes

    def weights(self, cell: Tensor) -> Tensor:
        """What a cell is to the mean of its bin: [..., N, b] for [..., N, b].

        Beyond the middles of the outermost cells the features continue, so that points there count
        for these alone.
        """
        points, last = self.points[:, None], self.side[:, None] - 1.0
        cell = ops.cast(cell, "float32")
        below = ops.where(cell <= 0.0, points, self._covered(cell - 1.0))
        above = ops.where(cell >= last, 0.0, self._covered(cell))
        weights = (below - above) / ops.maximum(points, 1.0)
        return ops.where(cell <= last, weights, 0.0)

    def _covered(self, place: Tensor) -> Tensor:
        """The sum over a bin's points of how much of the cell's length behind a place they pass."""
        return self._beyond(place) - self._beyond(place + 1.0)

    def _beyond(self, place: Tensor) -> Tensor:
        """The sum over a bin's points of how far they lie behind a place."""
        points = self.points[:, None]
        step = (self.bin_length / ops.maximum(self.points, 1.0))[:, None]
        bins = ops.arange(place.shape[-1], dtype="float32")
        first = self.start[:, None] + (self.bin_length[:, None] * bins + 0.5 * step)
        # Counted from the last point on, of which the ones behind the place are the first.
        distance = first + step * (points - 1.0) - place
        count = ops.clip(ops.floor(distance / ops.maximum(step, 1e-12)) + 1.0, 0.0, points)
        return count * distance - step * (0.5 * count * (count - 1.0))


def _axis(start: Tensor, end: Tensor, side: Tensor, bins: int) -> _Axis:
    bin_length = ops.maximum(end - start, 0.0) / float(bins)
    points = ops.ceil(bin_length)
    side = ops.cast(side, "float32")
    step = bin_length / ops.maximum(points, 1.0)
    number = ops.arange(bins, dtype="float32")
    low = start[:, None] + rounded_product(bin_length[:, None] * number)
    last = side[:, None] - 1.0
    # A cell more on each side than rounding could ask for costs less than one that is missed.
    first = ops.clip(ops.floor(low + 0.5 * step[:, None] - 1e-4), 0.0, last)
    end_cell = ops.clip(ops.ceil(low + (bin_length - 0.5 * step)[:, None] + 1e-4), 0.0, last)
    cells = ops.max(end_cell - first, axis=1) + 1.0
    cells = ops.where(points > 0, cells, 0.0)
    first, cells = ops.cast(first, "int32"), ops.cast(cells, "int32")
    return _Axis(start, bin_length, points, side, first, cells)


class _Bins(NamedTuple):
    """The bins of a chunk's RoIs."""

    rows: _Axis
    columns: _Axis
    base: Tensor  # [K] int32, where the map of each begins
    width: Tensor  # [K] int32, of that map

    @classmethod
    def of(cls, parts: Sequence[Tensor]) -> _Bins:
        fields = len(_Axis._fields)
        rows, columns = _Axis(*parts[:fields]), _Axis(*parts[fields : 2 * fields])
        return cls(rows, columns, *parts[2 * fields :])

    @property
    def steps(self) -> Tensor:
        """How many steps it takes to read every cell of every bin, row by row."""
        return ops.max(self.rows.most_cells * self.columns.most_cells)

    def step(self, number: Tensor) -> tuple[Tensor, Tensor]:
        """The cell of each bin that a step reads, and its weight.

        Args:
            number: of the step, [...] with two more axes of length 1, or a scalar. Beyond the last
                cell of a bin the weight is 0.

        Returns:
            Both [..., K, rows, columns].
        """
        across = ops.maximum(self.columns.most_cells, 1)[:, None]
        row = self.rows.first + number // across
        column = self.columns.first + number % across
        weight = self.rows.weights(row)[..., None] * self.columns.weights(column)[..., None, :]
        # A cell beyond the map has the weight 0, and any cell will do.
        row = ops.minimum(row, ops.cast(self.rows.side, "int32")[:, None] - 1)
        column = ops.minimum(column, self.width[:, None] - 1)
        index = self.base[:, None] + ops.maximum(row, 0) * self.width[:, None]
        return index[..., None] + ops.maximum(column, 0)[..., None, :], weight


def _read(flat: Tensor, bins: _Bins, size: tuple[int, int]) -> Tensor:
    """The crops of a chunk, [K, rows, columns, C], from all cells [·, C]."""
    steps = bins.steps

    def body(number: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
        index, weight = bins.step(number)
        cells = ops.take(flat, ops.reshape(index, (-1,)), axis=0)
        cells = ops.reshape(cells, (*bins.base.shape, *size, flat.shape[-1]))
        return number + 1, total + cells * weight[..., None]

    zeros = ops.zeros((*bins.base.shape, *size, flat.shape[-1]), dtype="float32")
    start = ops.zeros((), dtype="int32")
    return ops.while_loop(lambda number, _: number < steps, body, (start, zeros))[1]


def _spread(
    upstream: Tensor, parts: Sequence[Tensor], flat: Tensor, chunks: Any, at_once: int
) -> Tensor:
    """The gradient of all chunks' `_read` with respect to the cells: as `flat`.

    Args:
        upstream: [chunks, K, rows, columns, C].
        parts: those of `_Bins.of` for all chunks.
        flat: the cells.
        chunks: how many.
        at_once: steps.
    """
    channels = flat.shape[-1]
    numbers = ops.arange(at_once, dtype="int32")[:, None, None]

    def of_chunk(chunk: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
        bins = _Bins.of([ops.take(values, chunk, axis=0) for values in parts])
        own = ops.take(upstream, chunk, axis=0)
        steps = bins.steps

        def body(number: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
            index, weight = bins.step(number + numbers)
            shares = ops.reshape(own * weight[..., None], (-1, channels))
            index = ops.reshape(index, (-1, 1))
            total = ops.scatter_update(total, index, shares, reduction="add")
            return number + at_once, total

        start = ops.zeros((), dtype="int32")
        total = ops.while_loop(lambda number, _: number < steps, body, (start, total))[1]
        return chunk + 1, total

    start = ops.zeros((), dtype="int32")
    state = (start, ops.zeros_like(flat))
    return ops.while_loop(lambda chunk, _: chunk < chunks, of_chunk, state)[1]
