"""Random RoIs near the objects, for a second stage trained without an RPN."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Random = Callable[[int], np.ndarray]  # so many numbers in [0, 1)
# Share of an image's random RoIs that are drawn around its objects.
_SHARE_NEAR_OBJECTS = 0.9


def generate_random_rois(
    image_shape: Sequence[int],
    count: int,
    gt_class_ids: np.ndarray,
    gt_boxes: np.ndarray,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Make random RoIs, to train the heads without the RPN.

    Nine tenths are drawn around the objects, equally many around each: their edges lie in the
    object's box, extended by its own size on each side. The others lie anywhere.

    Args:
        image_shape: (H, W, …).
        count: how many.
        gt_class_ids: int [G]; slots of class 0 are skipped.
        gt_boxes: int [G, 4] pixels.
        rng: draws them; None: NumPy's global generator.

    Returns:
        int32 [count, 4] pixels, inside the image, each of at least one pixel.
    """
    random: Random = np.random.random if rng is None else rng.random
    height, width = image_shape[:2]
    boxes = np.asarray(gt_boxes).reshape(-1, 4)[np.asarray(gt_class_ids) != 0]
    near = int(count * _SHARE_NEAR_OBJECTS) // max(len(boxes), 1) if len(boxes) else 0
    size = boxes[:, 2:] - boxes[:, :2]
    areas = np.concatenate([boxes[:, :2] - size, boxes[:, 2:] + size], axis=1)
    areas = np.clip(areas, 0, [height, width, height, width])
    anywhere = np.tile([[0, 0, height, width]], (count - near * len(boxes), 1))
    areas = np.concatenate([np.repeat(areas, near, axis=0), anywhere]).astype(np.int64)
    y1, y2 = _two_edges(areas[:, 0], areas[:, 2], height, random)
    x1, x2 = _two_edges(areas[:, 1], areas[:, 3], width, random)
    return np.stack([y1, x1, y2, x2], axis=1).astype(np.int32)


def _two_edges(
    low: np.ndarray, high: np.ndarray, side: int, random: Random
) -> tuple[np.ndarray, np.ndarray]:
    """Two different whole numbers of each range [low, high], sorted; every pair is as likely."""
    low = np.minimum(low, side - 1)
    span = np.maximum(high - low, 1)
    first = (random(len(low)) * (span + 1)).astype(np.int64)
    second = (random(len(low)) * span).astype(np.int64)
    second += second >= first
    return low + np.minimum(first, second), low + np.maximum(first, second)
