"""Instance masks on the host: resizing, mini masks, and pasting predicted masks.

Masks of an image are [H, W, N], true inside. A mini mask is the part of a mask within its
box, resized to a small fixed shape, which saves memory where objects are small.

Shape letters: N instances, H height, W width; h, w the small mask's height and width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mrcnn.data.images import Box, Padding, resize, resize_bilinear, scaled_size

# A pixel belongs to a predicted mask from this probability on.
MASK_THRESHOLD = 0.5


def resize_mask(
    mask: np.ndarray, scale: float, padding: Padding, crop: Box | None = None
) -> np.ndarray:
    """Resize masks with what `resize_image` returned for their image.

    Nearest neighbor on a grid aligned to the corner pixels, as Matterport's package and
    `scipy.ndimage.zoom` do it. The image is resized on half-pixel centers, so that the two
    differ by up to half a source pixel near the border; the training loader places masks
    as their image (`mrcnn.data.sample.place_masks`).

    Args:
        mask: [H, W, N], any dtype.
        scale: of the sides.
        padding: [(top, bottom), (left, right), (0, 0)], filled with zeros.
        crop: (y, x, height, width) in the scaled mask, instead of the padding.

    Returns:
        [h, w, N], dtype of the input.
    """
    height, width = scaled_size(mask.shape[:2], scale)
    resized = _take_nearest(_take_nearest(mask, height, axis=0), width, axis=1)
    if crop is not None:
        y, x, height, width = crop
        return resized[y : y + height, x : x + width]
    return np.pad(resized, padding)


def _take_nearest(mask: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Resize one axis to `size`; its first and last position keep the ends."""
    last = mask.shape[axis] - 1
    position = np.arange(size) * (last / max(size - 1, 1))
    nearest = np.floor(position + 0.5).astype(np.intp)
    resized = mask.take(np.minimum(nearest, last), axis)
    # scipy reads zero where rounding puts the last position beyond the end by one ulp.
    np.moveaxis(resized, axis, 0)[position > last] = 0
    return resized


def minimize_mask(bbox: np.ndarray, mask: np.ndarray, mini_shape: Sequence[int]) -> np.ndarray:
    """Cut masks to their boxes and resize them to a small shape: undone by `expand_mask`.

    Args:
        bbox: int [N, 4] pixel boxes of the masks.
        mask: [H, W, N], nonzero inside.
        mini_shape: (h, w).

    Returns:
        bool [h, w, N].

    Raises:
        ValueError: a box has no area within the mask.
    """
    mini = np.zeros((*mini_shape[:2], mask.shape[2]), bool)
    for i, (y1, x1, y2, x2) in enumerate(np.asarray(bbox)[: mask.shape[2], :4].tolist()):
        part = mask[y1:y2, x1:x2, i].astype(bool)
        if part.size == 0:
            raise ValueError(
                f"bbox[{i}] = {[y1, x1, y2, x2]} has no area in a mask of "
                f"{mask.shape[0]} x {mask.shape[1]} pixels, so that there is nothing to resize. "
                f"Drop instances with an empty mask first."
            )
        mini[:, :, i] = _resize_binary(part, mini.shape[:2])
    return mini


def expand_mask(bbox: np.ndarray, mini_mask: np.ndarray, image_shape: Sequence[int]) -> np.ndarray:
    """Resize mini masks back to their boxes, at the cost of their detail.

    Args:
        bbox: int [N, 4] pixel boxes inside the image; those of no area give an empty mask.
        mini_mask: bool [h, w, N].
        image_shape: (H, W, ...).

    Returns:
        bool [H, W, N].
    """
    full = np.zeros((*image_shape[:2], mini_mask.shape[2]), bool)
    for i, box in enumerate(bbox[: mini_mask.shape[2], :4]):
        if _has_area(box):
            part = _resize_binary(mini_mask[:, :, i], _size_inside(box, image_shape))
            full[box[0] : box[2], box[1] : box[3], i] = part
    return full


def unmold_mask(mask: np.ndarray, bbox: Sequence[int], image_shape: Sequence[int]) -> np.ndarray:
    """Resize a predicted mask to its box and paste it into an image-sized mask.

    Args:
        mask: float [h, w] probabilities.
        bbox: int (y1, x1, y2, x2) inside the image.
        image_shape: (H, W, ...).

    Returns:
        bool [H, W].
    """
    return paste_masks(np.asarray(mask)[None], np.asarray(bbox)[None], image_shape)[:, :, 0]


def paste_masks(masks: np.ndarray, boxes: np.ndarray, image_shape: Sequence[int]) -> np.ndarray:
    """Resize predicted masks to their boxes and paste each into an image-sized mask.

    Bilinear, then true from a probability of `MASK_THRESHOLD`. Only the box's area is computed.

    Args:
        masks: float [N, h, w] probabilities.
        boxes: int [N, 4] pixel boxes inside the image; those of no area give an empty mask.
        image_shape: (H, W, ...).

    Returns:
        bool [H, W, N]; each mask `[:, :, i]` is contiguous in memory.
    """
    if len(masks) != len(boxes):
        raise ValueError(
            f"Expected one box for each mask; received {len(boxes)} boxes and {len(masks)} masks."
        )
    full = np.zeros((len(masks), *image_shape[:2]), bool)
    for mask, box, target in zip(masks, boxes, full, strict=True):
        if _has_area(box):
            part = resize(mask, _size_inside(box, image_shape))
            target[box[0] : box[2], box[1] : box[3]] = part >= MASK_THRESHOLD
    return full.transpose(1, 2, 0)


def _resize_binary(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear, then rounded half to even, so that one half is outside.

    In float64, because many values of a binary mask lie at one half exactly.
    """
    values = np.empty(size, np.float64)
    resize_bilinear(mask, values)
    return np.rint(values).astype(bool)


def _has_area(box: np.ndarray) -> bool:
    return bool(box[2] > box[0] and box[3] > box[1])


def _size_inside(box: np.ndarray, image_shape: Sequence[int]) -> tuple[int, int]:
    """(height, width) of a box that must lie inside the image."""
    y1, x1, y2, x2 = (int(edge) for edge in box)
    height, width = image_shape[:2]
    if y1 < 0 or x1 < 0 or y2 > height or x2 > width:
        raise ValueError(
            f"The box {[y1, x1, y2, x2]} (y1, x1, y2, x2) leaves the image of {height} x {width} "
            f"pixels. Clip boxes to the image before pasting masks."
        )
    return y2 - y1, x2 - x1
