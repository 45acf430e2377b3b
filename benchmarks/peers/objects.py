"""Objects that make a wanted number of proposals positive.

What a second stage costs depends on how many RoIs are positive, and that on where the proposals of
a random network happen to lie. Objects chosen among the proposals themselves make it as many as
wanted, so that two networks can be given the same work. Free of any framework.
"""

from __future__ import annotations

import numpy as np

POSITIVE_IOU = 0.5
# Proposals whose IoU with an object lies this close to the threshold might fall on either side.
MARGIN = 0.02
MIN_SIDE = 8  # pixels


def rois_in_use(positives: int, ratio: float) -> int:
    """RoIs that Matterport's sampling draws with so many positives: the rest of the slots is empty.

    >>> rois_in_use(66, 0.33), rois_in_use(16, 0.33)
    (200, 48)
    """
    return int(np.float32(positives) * np.float32(1 / ratio))


def choose_objects(
    proposals: np.ndarray, positives: int, most: int, rng: np.random.Generator
) -> np.ndarray:
    """Choose objects for an image such that exactly `positives` proposals overlap one of them.

    Args:
        proposals: [N, 4] pixel boxes (y1, x1, y2, x2), of which empty ones are left out.
        positives: wanted.
        most: objects.
        rng: decides which.

    Returns:
        int32 [n, 4] pixel boxes, n at most `most`.

    Raises:
        ValueError: no such choice was found.
    """
    sides = proposals[:, 2:] - proposals[:, :2]
    proposals = proposals[(sides > 0).all(axis=1)]
    candidates = np.rint(proposals).astype(np.int32)
    large = ((candidates[:, 2:] - candidates[:, :2]) >= MIN_SIDE).all(axis=1)
    candidates = np.unique(candidates[large], axis=0)
    covered = np.zeros(len(proposals), bool)
    chosen: list[int] = []
    for index in rng.permutation(len(candidates)):
        if covered.sum() == positives or len(chosen) == most:
            break
        overlaps = iou(candidates[index], proposals)
        if (np.abs(overlaps - POSITIVE_IOU) < MARGIN).any():
            continue
        more = covered | (overlaps >= POSITIVE_IOU)
        if covered.sum() < more.sum() <= positives:
            covered = more
            chosen.append(index)
    if covered.sum() != positives:
        raise ValueError(
            f"expected objects that make {positives} of {len(proposals)} proposals positive; "
            f"{len(chosen)} objects, of at most {most}, make {covered.sum()}."
        )
    return candidates[chosen]


def iou(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """The IoU of a box [4] with each of some boxes [N, 4]."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = np.prod(np.maximum(sides, 0), axis=1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return shared / np.maximum(np.prod(box[2:] - box[:2]) + areas - shared, 1e-9)
