"""Whether an exported network finds what the network itself finds.

Shape letters: N detections; m sides of the masks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mrcnn.data.boxes import compute_overlaps


class Found(NamedTuple):
    """The detections in a picture, the surest first."""

    boxes: np.ndarray  # [N, 4] in pixels
    class_ids: np.ndarray  # int [N]
    scores: np.ndarray  # [N]
    masks: np.ndarray  # [N, m, m] probabilities

    @classmethod
    def of_detector(cls, result: Mapping[str, np.ndarray]) -> Found:
        """Of `mrcnn.inference.detector.Detector.detect_compact`."""
        return cls(*(result[name] for name in ("boxes", "class_ids", "scores", "box_masks")))

    @classmethod
    def of_file(cls, outputs: Mapping[str, np.ndarray]) -> Found:
        """Of an exported network (`mrcnn.export.network.OUTPUTS`)."""
        count = int(np.ravel(outputs["count"])[0])
        return cls(
            *(outputs[name][0, :count] for name in ("boxes", "class_ids", "scores", "masks"))
        )


# Detections that may all be near the least score.
FEW = 3


@dataclass(frozen=True)
class Tolerance:
    """What counts as the same detection, and how many may be without a partner.

    Attributes:
        overlap: least IoU of the boxes.
        score: largest difference of the scores.
        mask: largest mean difference of the masks' probabilities.
        alone: largest share of the detections without a partner. Those are not counted whose score
            is so near to the least one that a difference within `score` decides.
        spare: so many may be without a partner, whatever share of the detections that is,
        spare_from: if there are at least so many detections.
    """

    overlap: float
    score: float
    mask: float
    alone: float
    spare: int = 0
    spare_from: int = 0


# The last digit of a box that ends at the border decides whether its outermost samples are read
# (`mrcnn.ops.crops`), so that a few of many detections may differ, and one of ten. With rounded
# weights another one of two boxes around an object may win, with scores almost equal.
TOLERANCES = {
    "float32": Tolerance(0.98, score=0.005, mask=0.005, alone=0.03, spare=1, spare_from=10),
    "float16": Tolerance(overlap=0.85, score=0.03, mask=0.05, alone=0.05, spare=1),
    "int8": Tolerance(overlap=0.75, score=0.15, mask=0.1, alone=0.15, spare=1),
}


class Agreement(NamedTuple):
    """How the detections of two networks in some pictures agree."""

    pictures: int
    own: int  # detections of the network
    other: int  # of the file
    pairs: int  # that are the same
    alone: int  # without a partner, on the side that has more of them
    overlap: float  # the least of the pairs; 1 without pairs
    score: float  # the largest differences of the pairs; 0 without pairs
    mask: float

    def is_within(self, tolerance: Tolerance) -> bool:
        """Whether file and network find the same.

        At least half of the detections, but for `FEW`, must be pairs: where all scores are equal,
        all are near the least one.
        """
        count = max(self.own, self.other)
        if 2 * self.pairs + FEW < count:
            return False
        spare = tolerance.spare if count >= tolerance.spare_from else 0
        return self.alone <= max(spare, tolerance.alone * count)

    def __str__(self) -> str:
        return (
            f"{self.pictures} pictures: {self.own} detections of the network, {self.other} of the "
            f"file, {self.pairs} the same, {self.alone} without a partner. Of those "
            f"that are the same, the boxes overlap by {self.overlap:.4f} at least, the scores "
            f"differ by {self.score:.2g} and the masks by {self.mask:.2g} in the mean, at most."
        )


def compare(
    own: Sequence[Found], other: Sequence[Found], tolerance: Tolerance, least: float, most: int
) -> Agreement:
    """Pair the detections of two networks, picture by picture.

    Args:
        own, other: of the same pictures.
        tolerance: what counts as the same.
        least: the score below which a network says nothing, DETECTION_MIN_CONFIDENCE.
        most: detections of a picture that a network gives, DETECTION_MAX_INSTANCES.
    """
    pairs, alone = [], np.zeros(2, int)
    for mine, yours in zip(own, other, strict=True):
        found = _pairs(mine, yours, tolerance)
        pairs += [_differences(mine, yours, i, k) for i, k in found]
        for side, detections in enumerate((mine, yours)):
            taken = {pair[side] for pair in found}
            end = least if len(detections.scores) < most else detections.scores.min()
            alone[side] += sum(
                number not in taken and score >= end + tolerance.score
                for number, score in enumerate(detections.scores)
            )
    values = np.array(pairs) if pairs else np.array([[1.0, 0.0, 0.0]])
    return Agreement(
        len(own),
        sum(len(found.scores) for found in own),
        sum(len(found.scores) for found in other),
        len(pairs),
        int(alone.max()),
        float(values[:, 0].min()),
        float(values[:, 1].max()),
        float(values[:, 2].max()),
    )


def _pairs(own: Found, other: Found, tolerance: Tolerance) -> list[tuple[int, int]]:
    """Each detection with the one that overlaps it most, of those that are the same."""
    if not len(own.scores) or not len(other.scores):
        return []
    overlaps = compute_overlaps(own.boxes, other.boxes)
    same = (
        (own.class_ids[:, None] == other.class_ids[None])
        & (overlaps >= tolerance.overlap)
        & (np.abs(own.scores[:, None] - other.scores[None]) <= tolerance.score)
    )
    found, taken = [], set()
    for i in range(len(own.scores)):
        for k in np.argsort(-overlaps[i], kind="stable"):
            if (
                same[i, k]
                and k not in taken
                and _mask_difference(own, other, i, k) <= tolerance.mask
            ):
                found.append((i, int(k)))
                taken.add(k)
                break
    return found


def _mask_difference(own: Found, other: Found, i: int, k: int) -> float:
    return float(np.abs(own.masks[i] - other.masks[k]).mean())


def _differences(own: Found, other: Found, i: int, k: int) -> tuple[float, float, float]:
    overlap = compute_overlaps(own.boxes[i : i + 1], other.boxes[k : k + 1])[0, 0]
    score = abs(float(own.scores[i]) - float(other.scores[k]))
    return float(overlap), score, _mask_difference(own, other, i, k)
