"""Instances that are rectangles, as `detect` returns them."""

from __future__ import annotations

import numpy as np

NAMES = ["BG", "square", "disk"]


def make_instances(count: int, size: int = 64, seed: int = 0) -> dict[str, np.ndarray]:
    """`count` rectangles in an image of size x size, as `detect` returns instances."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, size - 12, (count, 2))
    boxes = np.concatenate([corners, corners + rng.integers(4, 12, (count, 2))], axis=1)
    masks = np.zeros((size, size, count), dtype=bool)
    for i, (y1, x1, y2, x2) in enumerate(boxes):
        masks[y1:y2, x1:x2, i] = True
    return {
        "rois": boxes.astype(np.int32),
        "class_ids": rng.integers(1, 3, count),
        "scores": rng.uniform(0.5, 1, count).astype(np.float32),
        "masks": masks,
    }
