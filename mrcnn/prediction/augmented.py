"""Test-time augmentation: a picture is looked at mirrored and at several sizes.

The boxes of all looks are put together in clusters of one class. A cluster's box is the mean of its
boxes weighted by their scores, and its score the sum of its best score in each look over the number
of looks, so that what only one look finds counts less (weighted boxes fusion: Solovyev et al. 2021,
Image and Vision Computing 107). Then the mask branch draws in that box in every look, and the mean
of its probabilities is the mask, as in Detectron2's test-time augmentation.

Shape letters: N detections; H, W height and width of the picture; h, w of the network's masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mrcnn.config import Config, changed
from mrcnn.data.boxes import compute_overlaps
from mrcnn.data.masks import pixels_within
from mrcnn.inference.detector import CompactResult, Detector
from mrcnn.inference.given_boxes import MasksOfBoxes
from mrcnn.setting_rules.values import next_side

# Boxes of one class that overlap at least so much, as IoU, are of one object.
SAME_OBJECT = 0.55
_LEAST_SIDE = 1.0  # of a box, in pixels


class Look(NamedTuple):
    """One way of looking at a picture."""

    scale: float  # of the size that the network is given
    mirrored: bool  # left and right exchanged


class Whole(NamedTuple):
    """A picture that is yet to be resized."""

    image: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the picture."""
        return self.image.shape


def looks(scales: Sequence[float] = (1.0,)) -> list[Look]:
    """Each scale, as it is and mirrored.

    Raises:
        ValueError: a scale is not above 0, or there is none.
    """
    if not scales or not all(0 < scale < float("inf") for scale in scales):
        raise ValueError(f"scales: expected numbers above 0; received {list(scales)}.")
    return [Look(scale, mirrored) for scale in dict.fromkeys(scales) for mirrored in (False, True)]


class Augmented:
    """A detector that looks at each picture in several ways.

    It has the steps of a `mrcnn.inference.detector.Detector`, so that `mrcnn.evaluation` and
    `mrcnn.prediction` take it in its place.

    Args:
        detector: whose network is used.
        ways: see `looks`.

    Raises:
        ValueError: a scale other than 1 and IMAGE_RESIZE_MODE "none", which resizes nothing.
    """

    def __init__(self, detector: Detector, ways: Sequence[Look]) -> None:
        self.config: Config = detector.config
        self._ways = list(ways)
        self._detectors = {
            scale: detector if scale == 1 else Detector(detector.model, scaled(self.config, scale))
            for scale in dict.fromkeys(way.scale for way in ways)
        }
        self._masks = {scale: MasksOfBoxes(found) for scale, found in self._detectors.items()}

    @property
    def batch_size(self) -> int:
        """Pictures at a time."""
        return 1

    def prepare(self, image: np.ndarray) -> Whole:
        """Nothing: each look resizes for itself."""
        return Whole(image)

    def detect_batch(self, batch: Sequence[Whole]) -> list[CompactResult]:
        """As `mrcnn.inference.detector.Detector.detect_batch`."""
        return [self._detect(whole.image) for whole in batch]

    def _detect(self, image: np.ndarray) -> CompactResult:
        width = image.shape[1]
        boxes, class_ids, scores, look_of = [], [], [], []
        for number, way in enumerate(self._ways):
            detector = self._detectors[way.scale]
            (found,) = detector.detect_batch([detector.prepare(_seen(image, way))])
            given = np.asarray(found["boxes"], np.float64).reshape(-1, 4)
            boxes.append(mirrored(given, width) if way.mirrored else given)
            class_ids.append(found["class_ids"])
            scores.append(found["scores"])
            look_of.append(np.full(len(given), number))
        fused = fuse(
            np.concatenate(boxes),
            np.concatenate(class_ids),
            np.concatenate(scores),
            np.concatenate(look_of),
            len(self._ways),
        )
        kept = fused.scores >= self.config.DETECTION_MIN_CONFIDENCE
        kept &= ((fused.boxes[:, 2:] - fused.boxes[:, :2]) >= _LEAST_SIDE).all(axis=1)
        order = np.flatnonzero(kept)[: self.config.DETECTION_MAX_INSTANCES]
        return self._drawn(image, Fused(*(values[order] for values in fused)))

    def _drawn(self, image: np.ndarray, fused: Fused) -> CompactResult:
        """The masks in the fused boxes: the mean of all looks."""
        width, total, first = image.shape[1], None, None
        for way in self._ways:
            branch = self._masks[way.scale]
            boxes = mirrored(fused.boxes, width) if way.mirrored else fused.boxes
            given = branch.prepare(_seen(image, way), boxes, fused.class_ids)
            (found,) = branch.detect_batch([given])
            masks = found["box_masks"]
            if len(masks) != len(fused.boxes):
                raise RuntimeError(
                    f"expected a mask in each of {len(fused.boxes)} boxes; the mask branch drew "
                    f"{len(masks)}."
                )
            masks = masks[:, :, ::-1] if way.mirrored else masks
            total = masks if total is None else total + masks
            first = found if first is None else first
        assert first is not None and total is not None
        return {
            **first,
            "rois": pixels_within(first["boxes"]),
            "class_ids": fused.class_ids,
            "scores": fused.scores,
            "box_masks": total / len(self._ways),
        }


class Fused(NamedTuple):
    """Detections of all looks put together, the surest first."""

    boxes: np.ndarray  # float64 [N, 4], pixels of the picture
    class_ids: np.ndarray  # int32 [N]
    scores: np.ndarray  # float32 [N]


def fuse(
    boxes: np.ndarray,
    class_ids: np.ndarray,
    scores: np.ndarray,
    look_of: np.ndarray,
    count: int,
) -> Fused:
    """Put the boxes of several looks together.

    Args:
        boxes: [N, 4] pixels (y1, x1, y2, x2) of the picture.
        class_ids: [N].
        scores: [N].
        look_of: int [N], which look found each.
        count: of looks.

    Returns:
        One detection for each cluster: boxes that overlap its surest one by `SAME_OBJECT`, of each
        look the one that overlaps most.
    """
    free = np.ones(len(scores), bool)
    found: list[tuple[np.ndarray, int, float]] = []
    for index in np.argsort(-scores, kind="stable").tolist():
        if not free[index]:
            continue
        near = np.flatnonzero(free & (class_ids == class_ids[index]))
        overlaps = compute_overlaps(boxes[[index]], boxes[near])[0]
        members = [index]
        for look in range(count):
            here = np.where(look_of[near] == look, overlaps, 0)
            if look != look_of[index] and here.size and here.max() >= SAME_OBJECT:
                members.append(int(near[here.argmax()]))
        free[members] = False
        weights = np.maximum(scores[members].astype(np.float64), 1e-12)
        box = np.average(boxes[members], axis=0, weights=weights)
        found.append((box, int(class_ids[index]), float(scores[members].sum()) / count))
    found.sort(key=lambda cluster: -cluster[2])
    return Fused(
        np.asarray([box for box, _, _ in found], np.float64).reshape(-1, 4),
        np.asarray([class_id for _, class_id, _ in found], np.int32),
        np.asarray([score for _, _, score in found], np.float32),
    )


def mirrored(boxes: np.ndarray, width: int) -> np.ndarray:
    """Boxes [N, 4] of a picture in its mirror image, or back."""
    y1, x1, y2, x2 = np.asarray(boxes).reshape(-1, 4).T
    return np.stack([y1, width - x2, y2, width - x1], axis=1)


def scaled(config: Config, scale: float) -> Config:
    """The configuration that gives the network images of another size.

    Raises:
        ValueError: IMAGE_RESIZE_MODE is "none".
    """
    if config.IMAGE_RESIZE_MODE == "none":
        raise ValueError(
            'scales: expected 1 alone, because IMAGE_RESIZE_MODE is "none"; received '
            f"{scale:g}. Choose another mode."
        )
    sides = ("IMAGE_MIN_DIM", "IMAGE_MAX_DIM")
    return changed(config, {name: next_side(getattr(config, name) * scale) for name in sides})


def _seen(image: np.ndarray, way: Look) -> np.ndarray:
    return np.ascontiguousarray(image[:, ::-1]) if way.mirrored else image
