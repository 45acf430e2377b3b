"""Mask targets that are averages of samples, as RoIAlign reads them: torchvision's.

torchvision crops the ground truth with its own RoIAlign, of as many samples a bin as the bin has
pixels (`models/detection/roi_heads.py`, `project_masks_on_boxes`; `ops/roi_align.py`,
`sampling_ratio` -1), so that a target is the share of a cell that the mask covers. Since samples
lie on a grid, such a crop is a product: rows of weights, times the mask, times columns of weights.

Shape letters: B images, G objects, P RoIs of an image, H x W pixels of the masks, h x w cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from keras import ops

from mrcnn.ops.tensor import Tensor

# Samples are at least half a pixel apart, or there is one: so many at most lie within a pixel of
# the same pixel.
_NEAR = 5
# Of masks that are read at once, and what counts for sides that are not known yet.
_PIXELS_AT_ONCE, _UNKNOWN_SIDE = 2**24, 1024


class MaskFrame(NamedTuple):
    """Where the pixels of the masks lie in the image.

    Attributes:
        corner: [B, P, 2], (y, x) of the top left corner of each RoI's mask, in pixels.
        side: [B, P, 2], height and width of it, in pixels.
        ends: [B, P, 4], the pixels of the mask (y1, x1, y2, x2) that are of the image, y2 and x2
            exclusive: beyond them the outermost go on for a pixel. None: outside the mask is 0.
    """

    corner: Tensor
    side: Tensor
    ends: Tensor | None


def sampled_mask_targets(
    masks: Tensor,
    rois: Tensor,
    objects: Tensor,
    frame: MaskFrame,
    shape: tuple[int, int],
    aligned: bool = False,
) -> Tensor:
    """Crop each RoI from the mask of its object.

    Args:
        masks: [B, G, H, W]; what is not 0 is the object.
        rois: [B, P, 4] in pixels of the image.
        objects: [B, P] int, which of the masks is a RoI's.
        frame: where the masks lie.
        shape: (h, w).
        aligned: the middle of the first pixel is at 0.5; False: at 0, and RoIs are taken to be at
            least a pixel wide and high, as torchvision's.

    Returns:
        [B, P, h, w] float32 in [0, 1].
    """
    sides = ops.shape(masks)[2:]
    rows, columns = (
        _axis_weights(rois, frame, axis, sides[axis], shape[axis], aligned) for axis in (0, 1)
    )
    batch, count = rois.shape[:2]
    instances = masks.shape[1]
    total = batch * count
    own_masks = ops.reshape(masks, (batch * instances, *sides))
    first = ops.arange(batch, dtype="int32")[:, None] * instances
    index = first + ops.cast(objects, "int32")
    rows, columns, index = (
        ops.reshape(values, (total, *ops.shape(values)[2:])) for values in (rows, columns, index)
    )

    def crop(of_chunk: Any) -> Tensor:
        chunk_rows, chunk_columns, chunk_index = of_chunk
        own = ops.cast(ops.take(own_masks, chunk_index, axis=0) > 0, "float32")
        return ops.matmul(ops.matmul(chunk_rows, own), ops.transpose(chunk_columns, (0, 2, 1)))

    at_once = _rois_at_once(masks.shape[2:])
    if total <= at_once:
        crops = crop((rows, columns, index))
    else:
        chunks = -(-total // at_once)

        def chunked(values: Tensor) -> Tensor:
            rest = tuple(ops.shape(values)[1:])
            missing = ((0, chunks * at_once - total), *((0, 0) for _ in rest))
            return ops.reshape(ops.pad(values, missing), (chunks, at_once, *rest))

        crops = ops.map(crop, (chunked(rows), chunked(columns), chunked(index)))
        crops = ops.reshape(crops, (chunks * at_once, *shape))[:total]
    return ops.reshape(crops, (batch, count, *shape))


def _rois_at_once(sides: Sequence[int | None]) -> int:
    """How many RoIs are cropped at once: each needs its mask by itself, in float32."""
    height, width = (side or _UNKNOWN_SIDE for side in sides)
    return max(1, _PIXELS_AT_ONCE // (height * width))


def _axis_weights(
    rois: Tensor, frame: MaskFrame, axis: int, pixels: Any, cells: int, aligned: bool
) -> Tensor:
    """How much of each of `pixels` is in each of `cells`: [B, P, cells, pixels]."""
    # Places in pixels of the mask, 0 in the middle of its first. torchvision's unaligned RoIs lie
    # half a pixel of the image further down and to the right than they say.
    grow = ops.cast(pixels, "float32") / ops.maximum(frame.side[..., axis], 1e-6)
    shift = 0.0 if aligned else 0.5
    edges = [
        (rois[..., end] + shift - frame.corner[..., axis]) * grow - 0.5 for end in (axis, axis + 2)
    ]
    start, length = edges[0], edges[1] - edges[0]
    length = ops.maximum(length, 1e-6 if aligned else 1.0)
    cell = length / cells
    samples = ops.maximum(ops.ceil(cell), 1.0)
    step = cell / samples

    place = ops.arange(pixels, dtype="float32")
    corner = start[..., None] + cell[..., None] * ops.arange(cells, dtype="float32")
    corner, step, samples = corner[..., None], step[..., None, None], samples[..., None, None]
    # The first sample of a cell that is less than a pixel above each pixel.
    first = ops.maximum(ops.floor((place - 1.0 - corner) / step - 0.5), 0.0)
    weights: Any = 0.0
    for number in range(_NEAR + 1):  # one more, for the rounding of the first
        sample = first + number
        at = corner + (sample + 0.5) * step
        counts = sample < samples
        if frame.ends is not None:
            low = frame.ends[..., axis][..., None, None]
            high = frame.ends[..., axis + 2][..., None, None]
            counts = counts & (at >= low - 1.0) & (at <= high)
            at = ops.clip(at, low, high - 1.0)
        weights = weights + ops.where(counts, ops.maximum(1.0 - ops.abs(at - place), 0.0), 0.0)
    return weights / samples
