"""Instance masks on the host: resizing, mini masks, and pasting predicted masks.

Masks of an image are [H, W, N], true inside. A mini mask is the part of a mask within its
box, resized to a small fixed shape, which saves memory where objects are small.

Shape letters: N instances, H height, W width; h, w the small mask's height and width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mrcnn.data.images import Box, Padding, resize_bilinear, scaled_size

# A pixel belongs to a predicted mask if its probability is at least this.
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

    Masks that are as large as the image already, each within its box, stay as they are.

    Args:
        bbox: int [N, 4] pixel boxes inside the image; those of no area give an empty mask.
        mini_mask: bool [h, w, N].
        image_shape: (H, W, ...).

    Returns:
        bool [H, W, N].
    """
    if mini_mask.shape[:2] == tuple(image_shape[:2]) and lie_in_boxes(mini_mask, bbox):
        return mini_mask.astype(bool)
    full = np.zeros((*image_shape[:2], mini_mask.shape[2]), bool)
    for i, box in enumerate(bbox[: mini_mask.shape[2], :4]):
        if _has_area(box):
            part = _resize_binary(mini_mask[:, :, i], _size_inside(box, image_shape))
            full[box[0] : box[2], box[1] : box[3], i] = part
    return full


def full_masks(masks: np.ndarray, boxes: np.ndarray, image_shape: Sequence[int]) -> np.ndarray:
    """Masks of the image's size: mini masks are expanded, masks of that size stay as they are.

    Args:
        masks: [H, W, N], or mini masks [h, w, N].
        boxes: int [N, 4], the pixel boxes of the masks.
        image_shape: (H, W, ...).

    Returns:
        [H, W, N].

    Raises:
        ValueError: they are masks of an image of another size.
    """
    masks, size = np.asarray(masks), tuple(image_shape[:2])
    if masks.ndim != 3 or masks.shape[:2] == size:
        return masks
    if not masks.shape[2]:
        return np.zeros((*size, 0), bool)
    if lie_in_boxes(masks, boxes):
        raise ValueError(
            f"masks: expected masks of the image's {size[0]} x {size[1]} pixels, or mini masks; "
            f"received masks of {masks.shape[0]} x {masks.shape[1]} pixels, which lie in their "
            "boxes as they are, and so belong to an image of that size. Compare and draw masks and "
            "boxes in the pixels of one image."
        )
    return expand_mask(boxes, masks, image_shape)


def lie_in_boxes(masks: np.ndarray, boxes: np.ndarray) -> bool:
    """Whether none of the masks [H, W, N] has a pixel outside its box.

    True of masks of an image. A mini mask spans its whole area, and so lies in its box only where
    that is the whole area too.
    """
    for i, (y1, x1, y2, x2) in enumerate(np.asarray(boxes)[: masks.shape[2], :4].astype(int)):
        mask = masks[:, :, i]
        inside = np.count_nonzero(mask[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)])
        if inside != np.count_nonzero(mask):
            return False
    return True


def unmold_mask(mask: np.ndarray, bbox: Sequence[int], image_shape: Sequence[int]) -> np.ndarray:
    """Resize a predicted mask to its box and paste it into an image-sized mask.

    Args:
        mask: float [h, w] probabilities, which fill the box.
        bbox: (y1, x1, y2, x2) inside the image, whole pixels or not.
        image_shape: (H, W, ...).

    Returns:
        bool [H, W].
    """
    return paste_masks(np.asarray(mask)[None], np.asarray(bbox)[None], image_shape)[:, :, 0]


def paste_masks(
    masks: np.ndarray,
    boxes: np.ndarray,
    image_shape: Sequence[int],
    corners: np.ndarray | None = None,
) -> np.ndarray:
    """Resize predicted masks to their boxes and paste each into an image-sized mask.

    Bilinear, then true from a probability of `MASK_THRESHOLD` (`fill_box`). Only the boxes' areas
    are computed and written. The center of the first pixel is at (0.5, 0.5).

    Args:
        masks: float [N, h, w] probabilities.
        boxes: [N, 4] in pixels, inside the image, whole pixels or not: a mask has the pixels whose
            centers lie within (`pixels_within`). Those of no area give an empty mask.
        image_shape: (H, W, ...).
        corners: [N, 4], the place (y, x) of the first sample of each mask and of the last one; what
            lies beyond has the value of the nearest. None: the samples are centers of equal
            parts of the box, and outside it is zero.

    Returns:
        bool [H, W, N]: a view of one array [N, H, W], so that each mask `[:, :, i]` is
        contiguous in memory.

    Raises:
        ValueError: not one box, or pair of corners, for each mask, or a box leaves the image.
    """
    full = np.zeros((len(masks), *image_shape[:2]), bool)
    for mask, place, target in zip(
        masks, mask_places(boxes, corners, len(masks), image_shape), full, strict=True
    ):
        y1, x1, y2, x2 = place.pixels
        if place.has_pixels:
            fill_box(mask, target[y1:y2, x1:x2], place)
    return full.transpose(1, 2, 0)


def pixels_within(boxes: np.ndarray) -> np.ndarray:
    """Round boxes [N, 4] to the pixels whose centers lie within, int32; on an edge, at its start.

    >>> pixels_within(np.array([[0.5, 1.4, 2.6, 3.5]])).tolist()
    [[0, 1, 3, 3]]
    """
    return np.ceil(np.asarray(boxes) - 0.5).astype(np.int32)


class MaskPlace(NamedTuple):
    """Where a predicted mask lies in an image; see `paste_masks`."""

    pixels: Box  # that it covers, whole ones
    box: Sequence[float]
    corners: Sequence[float] | None

    @property
    def has_pixels(self) -> bool:
        y1, x1, y2, x2 = self.pixels
        return y2 > y1 and x2 > x1

    def positions(self, axis: int, size: int) -> np.ndarray:
        """Where the pixels of an axis (0: y, 1: x) fall on the `size` samples of the mask."""
        first, end = self.pixels[axis], self.pixels[axis + 2]
        if self.corners is None:
            start, stop = self.box[axis], self.box[axis + 2]
            return (np.arange(end - first) + (first - start + 0.5)) * (size / (stop - start)) - 0.5
        start, stop = self.corners[axis], self.corners[axis + 2]
        if stop <= start:  # all samples lie at one place
            return np.full(end - first, 0.5 * (size - 1))
        position = (np.arange(end - first) + (first - start + 0.5)) * ((size - 1) / (stop - start))
        return np.clip(position, 0, size - 1)


def mask_places(
    boxes: np.ndarray, corners: np.ndarray | None, count: int, image_shape: Sequence[int]
) -> list[MaskPlace]:
    """Check and take apart where `count` masks lie; see `paste_masks`.

    Raises:
        ValueError: as `paste_masks`.
    """
    check_boxes(boxes, count, image_shape)
    if corners is not None and len(corners) != count:
        raise ValueError(
            f"Expected a pair of corners for each mask; received {len(corners)} pairs and {count} "
            "masks."
        )
    return [
        MaskPlace(tuple(pixels), box, corner)
        for pixels, box, corner in zip(
            pixels_within(boxes).tolist(),
            np.asarray(boxes).tolist(),
            [None] * count if corners is None else np.asarray(corners).tolist(),
            strict=True,
        )
    ]


def filled_part(mask: np.ndarray, place: MaskPlace) -> np.ndarray:
    """The pixels of a predicted mask within its place, bool [H, W]; see `fill_box`."""
    y1, x1, y2, x2 = place.pixels
    part = np.zeros((max(0, y2 - y1), max(0, x2 - x1)), bool)
    if place.has_pixels:
        fill_box(mask, part, place)
    return part


def fill_box(mask: np.ndarray, part: np.ndarray, place: MaskPlace) -> None:
    """Resize a predicted mask to its pixels and write where it reaches `MASK_THRESHOLD`.

    Where the mask fills a box of whole pixels, they are those of
    `resize(mask, part.shape) >= MASK_THRESHOLD`: bilinear, half-pixel centers, zero outside the
    mask. No pixel's probability is computed. Between two neighboring
    rows of the mask a column is a line, low + weight * slope, which is compared as
    weight * slope >= threshold - low; and only from the first to the last column where either
    row is inside, and outside of the columns where both are, if they are neighbors.

    Args:
        mask: float [h, w] probabilities.
        part: bool [H, W], the place's pixels, all false; may be a view.
        place: where the mask lies.
    """
    if mask.min() >= MASK_THRESHOLD:
        part[...] = True  # `resize` keeps the mask's range: its border does not fade then
        return
    dtype = np.result_type(mask.dtype, np.float32)
    padded = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), dtype)
    padded[1:-1, 1:-1] = mask
    counts, weight = _padded_taps(place.positions(1, mask.shape[1]), mask.shape[1], dtype)
    lines = np.repeat(np.diff(padded, axis=1), counts, axis=1)
    lines *= weight
    lines += np.repeat(padded[:, :-1], counts, axis=1)  # [h + 2, W]

    counts, weight = _padded_taps(place.positions(0, mask.shape[0]), mask.shape[0], dtype)
    weight = weight[:, None]
    slope = np.diff(lines, axis=0)
    missing = MASK_THRESHOLD - lines
    inside = lines >= MASK_THRESHOLD
    some, both = inside[1:] | inside[:-1], inside[1:] & inside[:-1]
    reached = np.asarray(some.any(axis=1)).tolist()
    (first, last), (first_both, last_both) = _extent(some), _extent(both)
    stop = 0
    for k, count in enumerate(counts.tolist()):
        start, stop = stop, stop + count
        if not count or not reached[k]:
            continue
        parts = [(first[k], last[k])]
        if np.count_nonzero(both[k]) == last_both[k] - first_both[k]:
            part[start:stop, first_both[k] : last_both[k]] = True
            parts = [(first[k], first_both[k]), (last_both[k], last[k])]
        for left, right in parts:
            if left < right:
                np.greater_equal(
                    weight[start:stop] * slope[k, left:right],
                    missing[k, left:right],
                    out=part[start:stop, left:right],
                )


def _padded_taps(position: np.ndarray, size: int, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Where rising positions fall on an axis of `size` padded by a zero at both ends.

    Returns:
        How many positions fall between each pair of neighbors, int [size + 1]; and the weight of
        the second neighbor at each position.
    """
    low = np.floor(position)
    counts = np.bincount(low.astype(np.intp) + 1, minlength=size + 1)
    return counts, (position - low).astype(dtype)


def _extent(flags: np.ndarray) -> tuple[list[int], list[int]]:
    """The first flag that is set in each row of [K, W], and the end; 0 and W if there is none."""
    first, last = flags.argmax(axis=1), flags.shape[1] - flags[:, ::-1].argmax(axis=1)
    return first.tolist(), last.tolist()


def _resize_binary(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear, then rounded half to even, so that one half is outside.

    In float64, because many values of a resized binary mask are exactly one half.
    """
    values = np.empty(size, np.float64)
    resize_bilinear(mask, values)
    return np.rint(values).astype(bool)


def _has_area(box: np.ndarray) -> bool:
    return bool(box[2] > box[0] and box[3] > box[1])


def _size_inside(box: np.ndarray, image_shape: Sequence[int]) -> tuple[int, int]:
    """(height, width) of a box that must lie inside the image."""
    check_boxes(np.asarray(box)[None], 1, image_shape)
    y1, x1, y2, x2 = (int(edge) for edge in box)
    return y2 - y1, x2 - x1


def check_boxes(boxes: np.ndarray, count: int, image_shape: Sequence[int]) -> None:
    """Check that there is a box for each of `count` masks, inside the image or of no area.

    Args:
        boxes: [N, 4] in pixels.
        count: of masks.
        image_shape: (H, W, ...).

    Raises:
        ValueError: there is not; or the first box that leaves the image.
    """
    if count != len(boxes):
        raise ValueError(
            f"Expected one box for each mask; received {len(boxes)} boxes and {count} masks."
        )
    height, width = image_shape[:2]
    for y1, x1, y2, x2 in np.asarray(boxes).tolist():
        if y2 > y1 and x2 > x1 and (y1 < 0 or x1 < 0 or y2 > height or x2 > width):
            raise ValueError(
                f"The box {[y1, x1, y2, x2]} (y1, x1, y2, x2) leaves the image of {height} x "
                f"{width} pixels. Clip boxes to the image before pasting masks."
            )
