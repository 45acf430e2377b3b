"""The objects of an image without arrays of its size: each mask is cut to its box.

A reader gives `Instances`, in pixels of the stored image. `place` moves them to the resized
image without resizing a mask: a `PlacedMask` knows which stored pixel each of its pixels shows.
So mini masks are computed from the few pixels they are made of, at most twice their own size.

Shape letters: H W image, N instances; h, w mini masks. Boxes are (y1, x1, y2, x2) pixels, y2
and x2 exclusive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mrcnn.data.boxes import extract_bboxes
from mrcnn.data.images import Box, Padding, linear_taps


@dataclass(frozen=True, eq=False)
class Instances:
    """The objects of an image.

    Attributes:
        size: (H, W) of the image.
        boxes: int32 [N, 4], the tightest around each mask; (0, 0, 0, 0) of an empty mask.
        crops: N masks, bool [y2 - y1, x2 - x1]: the part of each within its box.
        class_ids: int32 [N]; negative: a crowd.
    """

    size: tuple[int, int]
    boxes: np.ndarray
    crops: Sequence[np.ndarray]
    class_ids: np.ndarray

    @classmethod
    def from_masks(cls, masks: np.ndarray, class_ids: np.ndarray) -> Instances:
        """Cut masks of the image's size, bool [H, W, N], to their boxes; crops are views."""
        boxes = extract_bboxes(masks)
        crops = [masks[y1:y2, x1:x2, i] for i, (y1, x1, y2, x2) in enumerate(boxes.tolist())]
        return cls(masks.shape[:2], boxes, crops, class_ids)

    def copy(self) -> Instances:
        """Copy the crops, so that no larger array is kept for them."""
        return Instances(self.size, self.boxes, [c.copy() for c in self.crops], self.class_ids)

    @property
    def nbytes(self) -> int:
        """How much memory the arrays take."""
        crops = sum(crop.nbytes for crop in self.crops)
        return crops + self.boxes.nbytes + self.class_ids.nbytes


@dataclass(frozen=True, eq=False)
class PlacedMask:
    """A mask within its box in the resized image: `crop[rows][:, columns]`.

    Attributes:
        crop: bool, stored pixels.
        rows, columns: int, the row and column of `crop` that each row and column shows.
    """

    crop: np.ndarray
    rows: np.ndarray
    columns: np.ndarray

    @classmethod
    def whole(cls, mask: np.ndarray) -> PlacedMask:
        """A mask that shows each of its pixels once."""
        return cls(mask, np.arange(mask.shape[0]), np.arange(mask.shape[1]))

    def array(self) -> np.ndarray:
        """The mask, bool [box height, box width]."""
        return self.crop.take(self.rows, axis=0).take(self.columns, axis=1)


def place(
    instances: Instances, size: tuple[int, int], padding: Padding, crop: Box | None = None
) -> tuple[np.ndarray, list[PlacedMask]]:
    """Move instances as `resize_image` moved their image.

    Nearest neighbor with half-pixel centers: an output pixel takes the value of the input
    pixel that contains its center, which is the image's own geometry. Matterport's
    `resize_mask` aligns the corners instead, so that its masks are off by up to half an
    input pixel near the borders.

    Args:
        instances: in pixels of the stored image.
        size: (height, width) to which the image was scaled.
        padding, crop: as `resize_image` returns them.

    Returns:
        Boxes in pixels of the resized image, int32 [N, 4], (0, 0, 0, 0) where no pixel of an
        instance is left, and a mask for each.
    """
    rows, columns = map(_source_pixels, instances.size, size)
    if crop is not None:
        y, x, height, width = crop
        rows, columns = rows[y : y + height], columns[x : x + width]
    ranges = np.empty_like(instances.boxes)
    ranges[:, 0::2] = np.searchsorted(rows, instances.boxes[:, 0::2])
    ranges[:, 1::2] = np.searchsorted(columns, instances.boxes[:, 1::2])
    # Each stored pixel is shown when the image grows; else those that make a box may be gone.
    tight = crop is None and size[0] >= instances.size[0] and size[1] >= instances.size[1]
    boxes = np.zeros_like(ranges)
    masks = []
    for i, (y1, x1, y2, x2) in enumerate(ranges.tolist()):
        top, left = instances.boxes[i, :2]
        mask = PlacedMask(instances.crops[i], rows[y1:y2] - top, columns[x1:x2] - left)
        if not tight:
            (dy1, dx1, dy2, dx2) = extract_bboxes(mask.array()[..., None])[0]
            mask = PlacedMask(mask.crop, mask.rows[dy1:dy2], mask.columns[dx1:dx2])
            y1, x1, y2, x2 = y1 + dy1, x1 + dx1, y1 + dy2, x1 + dx2
        if len(mask.rows) and len(mask.columns):
            boxes[i] = y1, x1, y2, x2
            boxes[i] += np.array([padding[0][0], padding[1][0]] * 2, boxes.dtype)
        masks.append(mask)
    return boxes, masks


def minimize(masks: Sequence[PlacedMask], mini_shape: tuple[int, int]) -> np.ndarray:
    """Make mini masks: what `mrcnn.data.masks.minimize_mask` makes of the masks, bit for bit.

    Args:
        masks: N masks of at least one pixel each.
        mini_shape: (h, w).

    Returns:
        bool [N, h, w].
    """
    height, width = mini_shape
    sizes = np.array([(len(mask.rows), len(mask.columns)) for mask in masks]).reshape(-1, 2, 1)
    vertical, horizontal = (
        linear_taps(sizes[:, axis], side, np.float64) for axis, side in enumerate(mini_shape)
    )
    read_rows = np.concatenate([vertical.low, vertical.high], axis=1)
    read_columns = np.concatenate([horizontal.low, horizontal.high], axis=1)
    values = np.empty((len(masks), 2 * height, 2 * width))
    full = np.zeros(len(masks), bool)
    for i, mask in enumerate(masks):
        rows, columns = mask.rows[read_rows[i]], mask.columns[read_columns[i]]
        read = mask.crop.take(rows, axis=0).take(columns, axis=1)
        values[i] = read
        full[i] = read.all() and mask.array().all()
    # Outside a mask is zero, which reaches in at the border: `coverage`.
    low, high = values[:, :, :width], values[:, :, width:]
    values = ((high - low) * horizontal.weight[:, None] + low) * horizontal.coverage[:, None]
    low, high = values[:, :height], values[:, height:]
    values = ((high - low) * vertical.weight[..., None] + low) * vertical.coverage[..., None]
    mini = np.rint(values).astype(bool)
    mini[full] = True  # no value may leave the range of the mask's own
    return mini


def paste(boxes: np.ndarray, masks: Sequence[PlacedMask], size: tuple[int, int]) -> np.ndarray:
    """Make masks of the image's size.

    Args:
        boxes: int [N, 4] in an image of `size`.
        masks: as `place` returns them with the boxes.
        size: (H, W).

    Returns:
        bool [H, W, N]; each mask `[:, :, i]` is contiguous in memory.
    """
    full = np.zeros((len(masks), *size), bool)
    for target, (y1, x1, y2, x2), mask in zip(full, boxes.tolist(), masks, strict=True):
        if y2 > y1:
            target[y1:y2, x1:x2] = mask.array()
    return full.transpose(1, 2, 0)


def _source_pixels(side: int, resized: int) -> np.ndarray:
    """For each of `resized` pixels, which of `side` holds its center: floor((i + 1/2) * ratio)."""
    return (2 * np.arange(resized) + 1) * side // (2 * resized)
