"""Pixel boxes on the host: extraction, overlaps, suppression, deltas, normalization.

A pixel box is (y1, x1, y2, x2); y2 and x2 are one past the last row and column, so that
height = y2 - y1. A normalized box has the same order in float32, divided by the image's
(height - 1, width - 1), as the network uses it. The network's own versions of these
functions, in `keras.ops`, are in `mrcnn.ops`.

Shape letters: N, M boxes or instances; H height; W width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# From a pixel box to a normalized one: y2 and x2 move onto the last row and column.
_EXCLUSIVE_EDGE = np.array([0, 0, 1, 1])


def extract_bboxes(mask: np.ndarray) -> np.ndarray:
    """Return the tightest box around each mask.

    Args:
        mask: [H, W, N]; nonzero is inside.

    Returns:
        int32 [N, 4] pixel boxes; (0, 0, 0, 0) for an empty mask.

    >>> mask = np.zeros((5, 6, 1), bool)
    >>> mask[1:3, 2:6] = True
    >>> extract_bboxes(mask).tolist()
    [[1, 2, 3, 6]]
    """
    if mask.ndim != 3:
        raise ValueError(
            f"mask: expected an array [height, width, instances]; received the shape "
            f"{mask.shape}. Give a single mask a last axis: mask[..., None]."
        )
    count = mask.shape[2]
    if mask.size == 0:
        return np.zeros((count, 4), np.int32)
    if mask.dtype != bool:
        mask = mask != 0
    y1, y2 = _first_and_past_last(_any_across(mask))
    x1, x2 = _first_and_past_last(np.asarray(mask.any(axis=0)))
    return np.stack([y1, x1, y2, x2], axis=1).astype(np.int32)


def _any_across(mask: np.ndarray) -> np.ndarray:
    """`mask.any(axis=1)` of bool [H, W, N], whatever its order in memory.

    Where the instances of a pixel are neighbors, NumPy would reduce a few bytes at a time.
    Folding the right half onto the left reads long lines.
    """
    while mask.flags.c_contiguous and mask.shape[2] > 1 and mask.shape[1] > 1:
        half = mask.shape[1] // 2
        folded = mask[:, :half] | mask[:, half : 2 * half]
        if mask.shape[1] % 2:
            folded[:, 0] |= mask[:, -1]
        mask = folded
    return np.asarray(mask.any(axis=1))


def _first_and_past_last(occupied: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The range of true entries in each column of bool [length, N]; (0, 0) when none is."""
    first = occupied.argmax(axis=0)
    past_last = len(occupied) - occupied[::-1].argmax(axis=0)
    return first, np.where(occupied.any(axis=0), past_last, 0)


def compute_iou(
    box: np.ndarray, boxes: np.ndarray, box_area: float, boxes_area: np.ndarray
) -> np.ndarray:
    """Return the intersection over union of one box with many.

    Args:
        box: [4].
        boxes: [N, 4].
        box_area: area of `box`; passed in because callers loop over it.
        boxes_area: [N] areas of `boxes`.

    Returns:
        float64 [N] in [0, 1]; 0 where neither box has an area.
    """
    intersection = _intersections(np.asarray(box), np.asarray(boxes))
    return _divide_or_zero(intersection, box_area + boxes_area - intersection)


def compute_overlaps(boxes1: np.ndarray, boxes2: np.ndarray) -> np.ndarray:
    """Return the intersection over union of every pair of boxes.

    Args:
        boxes1: [N, 4].
        boxes2: [M, 4].

    Returns:
        float64 [N, M] in [0, 1]; 0 where neither box has an area.

    >>> boxes = np.array([[0, 0, 2, 2], [0, 1, 2, 3]])
    >>> compute_overlaps(boxes[:1], boxes).round(2).tolist()
    [[1.0, 0.33]]
    """
    boxes1, boxes2 = np.asarray(boxes1), np.asarray(boxes2)
    intersection = _intersections(boxes1[:, None], boxes2[None])
    return _divide_or_zero(
        intersection, _areas(boxes1)[:, None] + _areas(boxes2)[None] - intersection
    )


def compute_overlaps_masks(masks1: np.ndarray, masks2: np.ndarray) -> np.ndarray:
    """Return the intersection over union of every pair of masks.

    Args:
        masks1: [H, W, N]; above 0.5 is inside.
        masks2: [H, W, M].

    Returns:
        float32 [N, M] in [0, 1]; 0 where both masks are empty.

    Raises:
        ValueError: the masks are of images of different sizes.
    """
    count1, count2 = masks1.shape[-1], masks2.shape[-1]
    if count1 == 0 or count2 == 0:
        return np.zeros((count1, count2), np.float32)
    if masks1.shape[:-1] != masks2.shape[:-1]:
        raise ValueError(
            f"masks: expected two sets of one image, [H, W, N] and [H, W, M]; received the shapes "
            f"{masks1.shape} and {masks2.shape}. Was one of them resized, or a mini mask? Detect "
            "in the image that load_image_gt(..., use_mini_mask=False) returns."
        )
    flat1 = (masks1.reshape(-1, count1) > 0.5).astype(np.float32)
    flat2 = (masks2.reshape(-1, count2) > 0.5).astype(np.float32)
    intersection = flat1.T @ flat2
    union = flat1.sum(axis=0)[:, None] + flat2.sum(axis=0)[None] - intersection
    return _divide_or_zero(intersection, union)


def non_max_suppression(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Keep the best boxes, greedily: drop what overlaps a better one too much.

    Args:
        boxes: [N, 4].
        scores: [N]; ties go to the higher index, as in Matterport's package.
        threshold: a box is dropped when its IoU with a kept one is strictly above.

    Returns:
        int32 [K] indices of the kept boxes, by descending score.

    >>> boxes = np.array([[0, 0, 4, 4], [0, 1, 4, 5], [8, 8, 9, 9]])
    >>> non_max_suppression(boxes, np.array([0.5, 0.9, 0.7]), threshold=0.3).tolist()
    [1, 2]
    """
    boxes = np.asarray(boxes, np.float64)
    areas = _areas(boxes)
    remaining = np.argsort(scores, kind="stable")[::-1]
    kept = []
    while remaining.size:
        best, remaining = remaining[0], remaining[1:]
        kept.append(best)
        iou = compute_iou(boxes[best], boxes[remaining], areas[best], areas[remaining])
        remaining = remaining[iou <= threshold]
    return np.array(kept, np.int32)


def apply_box_deltas(boxes: np.ndarray, deltas: np.ndarray) -> np.ndarray:
    """Move and scale boxes by (dy, dx, log dh, log dw): the inverse of `box_refinement`.

    Shifts are in units of the box's height and width (Fast R-CNN, arXiv 1504.08083, with the
    parametrization of R-CNN, arXiv 1311.2524, appendix C).

    Args:
        boxes: [N, 4].
        deltas: [N, 4].

    Returns:
        float32 [N, 4].
    """
    boxes = np.asarray(boxes, np.float32)
    size = boxes[:, 2:] - boxes[:, :2]
    center = boxes[:, :2] + 0.5 * size + deltas[:, :2] * size
    size = size * np.exp(deltas[:, 2:])
    return np.concatenate([center - 0.5 * size, center + 0.5 * size], axis=1).astype(np.float32)


def box_refinement(box: np.ndarray, gt_box: np.ndarray) -> np.ndarray:
    """Return the deltas (dy, dx, log dh, log dw) that move `box` onto `gt_box`.

    Args:
        box: [N, 4]; boxes of no area have no finite deltas.
        gt_box: [N, 4]; likewise.

    Returns:
        float32 [N, 4].

    >>> box, gt_box = np.array([[0, 0, 10, 10]]), np.array([[5, 0, 15, 20]])
    >>> deltas = box_refinement(box, gt_box)
    >>> deltas.astype(float).round(2).tolist()
    [[0.5, 0.5, 0.0, 0.69]]
    >>> apply_box_deltas(box, deltas).round(4).tolist()
    [[5.0, 0.0, 15.0, 20.0]]
    """
    box, gt_box = np.asarray(box, np.float32), np.asarray(gt_box, np.float32)
    size, gt_size = box[:, 2:] - box[:, :2], gt_box[:, 2:] - gt_box[:, :2]
    center, gt_center = box[:, :2] + 0.5 * size, gt_box[:, :2] + 0.5 * gt_size
    return np.concatenate([(gt_center - center) / size, np.log(gt_size / size)], axis=1)


def norm_boxes(boxes: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Convert pixel boxes to normalized ones: the inverse of `denorm_boxes`.

    Args:
        boxes: [..., 4] in pixels.
        shape: (height, width) of the image.

    Returns:
        float32 [..., 4]; (0, 0, 1, 1) is the whole image. The box of zeros, which is not a
        pixel box, lands slightly below zero.

    >>> boxes = norm_boxes(np.array([[0, 0, 101, 51], [25, 25, 51, 51]]), (101, 51))
    >>> boxes.tolist()
    [[0.0, 0.0, 1.0, 1.0], [0.25, 0.5, 0.5, 1.0]]
    >>> denorm_boxes(boxes, (101, 51)).tolist()
    [[0, 0, 101, 51], [25, 25, 51, 51]]
    """
    # An image one pixel high or wide has its only box at 0.
    scale = np.maximum(_normalizer(shape), 1)
    return ((np.asarray(boxes) - _EXCLUSIVE_EDGE) / scale).astype(np.float32)


def denorm_boxes(boxes: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Convert normalized boxes to pixel boxes, rounding half to even.

    Args:
        boxes: [..., 4], normalized.
        shape: (height, width) of the image.

    Returns:
        int32 [..., 4]. The box of zeros becomes the first pixel, (0, 0, 1, 1).
    """
    return np.rint(np.asarray(boxes) * _normalizer(shape) + _EXCLUSIVE_EDGE).astype(np.int32)


def _normalizer(shape: Sequence[int]) -> np.ndarray:
    height, width = shape[:2]
    return np.array([height - 1, width - 1, height - 1, width - 1])


def _areas(boxes: np.ndarray) -> np.ndarray:
    """float64, because the product of two int32 sides can exceed an int32."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1]).astype(np.float64)


def _intersections(boxes1: np.ndarray, boxes2: np.ndarray) -> np.ndarray:
    top_left = np.maximum(boxes1[..., :2], boxes2[..., :2])
    bottom_right = np.minimum(boxes1[..., 2:], boxes2[..., 2:])
    size = np.maximum(bottom_right - top_left, 0).astype(np.float64)
    return size[..., 0] * size[..., 1]


def _divide_or_zero(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(
        numerator, denominator, out=np.zeros_like(numerator), where=np.asarray(denominator) > 0
    )
