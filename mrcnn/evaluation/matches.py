"""Which detections match an object, image by image: AP of any sample of the images.

pycocotools matches the detections of each image by themselves and adds the images up afterwards.
What it matched is kept here, so that adding up can be repeated on images drawn with replacement,
which says how much of a difference in AP is owed to the images that happened to be evaluated.

Shape letters: T IoU thresholds, D detections, I images, C categories.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from pycocotools.cocoeval import COCOeval

from mrcnn.evaluation.boundary import DILATION_RATIO, boundary_evaluator
from mrcnn.evaluation.coco import (
    IOU_TYPES,
    MAX_DETECTIONS,
    UNDEFINED,
    Metrics,
    evaluator_of,
    run_evaluator,
)
from mrcnn.evaluation.engines import PYCOCOTOOLS
from mrcnn.evaluation.ground_truth import Truth
from mrcnn.evaluation.results import Result

BOUNDARY = "boundary"
RECALLS = np.linspace(0.0, 1.0, 101)  # where COCO reads the precision


@dataclass(frozen=True, eq=False)
class Matches:
    """The outcome of matching the detections of some images with their objects.

    Of objects of all sizes. Detections are by category, and within a category by descending score;
    of equal scores those of earlier images come first.

    Attributes:
        scores: float64 [D].
        images: int32 [D], the place of each detection's image among the images.
        categories: int32 [D], likewise among the categories.
        true: bool [T, D], whether it matches an object.
        ignored: bool [T, D], whether it counts neither for nor against, as one on a crowd.
        objects: int32 [I, C], the objects to find.
        thresholds: float64 [T].
    """

    scores: np.ndarray
    images: np.ndarray
    categories: np.ndarray
    true: np.ndarray
    ignored: np.ndarray
    objects: np.ndarray
    thresholds: np.ndarray

    @classmethod
    def of(cls, evaluator: COCOeval) -> Matches:
        """Those of an evaluator that has run."""
        params = evaluator.params
        images, categories = len(params.imgIds), len(params.catIds)
        # By category, area (the first is that of all sizes) and image; None: nothing in it.
        found = evaluator.evalImgs
        objects = np.zeros((images, categories), np.int32)
        parts: list[tuple[np.ndarray, ...]] = []
        for category in range(categories):
            first = category * len(params.areaRng) * images
            of_category = []
            for image, entry in enumerate(found[first : first + images]):
                if entry is None:
                    continue
                objects[image, category] = np.count_nonzero(np.asarray(entry["gtIgnore"]) == 0)
                scores = np.asarray(entry["dtScores"], np.float64)
                place = np.full(len(scores), image, np.int32)
                kept = np.asarray(entry["dtMatches"]) > 0, np.asarray(entry["dtIgnore"]) > 0
                of_category.append((scores, place, *kept))
            if of_category:
                scores, place, true, ignored = (
                    np.concatenate(part, axis=-1) for part in zip(*of_category, strict=True)
                )
                order = np.argsort(-scores, kind="stable")
                number = np.full(len(scores), category, np.int32)
                parts.append(
                    (scores[order], place[order], number, true[:, order], ignored[:, order])
                )
        thresholds = np.asarray(params.iouThrs, np.float64)
        nothing = (
            *(np.zeros(0), np.zeros(0, np.int32), np.zeros(0, np.int32)),
            *(np.zeros((len(thresholds), 0), bool),) * 2,
        )
        joined = (np.concatenate(part, axis=-1) for part in zip(nothing, *parts, strict=True))
        scores, places, numbers, true, ignored = joined
        return cls(scores, places, numbers, true & ~ignored, ignored, objects, thresholds)

    def average_precision(self, weights: np.ndarray | None = None) -> float:
        """COCO's AP, of objects of all sizes.

        Args:
            weights: [I], how often each image is in the sample; None: once. An image that is in it
                twice counts as two images do, one right after the other.

        Returns:
            In [0, 1]; -1 where the sample holds no object.
        """
        counts = np.ones(len(self.objects)) if weights is None else np.asarray(weights, float)
        objects = counts @ self.objects
        bounds = np.searchsorted(self.categories, np.arange(self.objects.shape[1] + 1))
        found = []
        for category in np.flatnonzero(objects):
            part = slice(bounds[category], bounds[category + 1])
            weight = counts[self.images[part]]
            true = np.cumsum(self.true[:, part] * weight, axis=1)
            counted = np.cumsum(~self.ignored[:, part] * weight, axis=1)
            found.append(mean_precision(true, counted, objects[category]))
        return float(np.mean(found)) if found else UNDEFINED

    def false_positives(self, score: float, iou: float = 0.5) -> int:
        """How many detections of at least a score match no object at an IoU.

        A detection that counts neither for nor against is none of them.
        """
        row = int(np.argmin(np.abs(self.thresholds - iou)))
        wrong = ~self.true[row] & ~self.ignored[row]
        return int(np.count_nonzero(wrong & (self.scores >= score)))

    def arrays(self, prefix: str) -> dict[str, np.ndarray]:
        """The attributes by name, for `write_matches`."""
        return {f"{prefix}/{field.name}": getattr(self, field.name) for field in fields(self)}


def mean_precision(true: np.ndarray, counted: np.ndarray, objects: float) -> float:
    """The mean of the interpolated precision at RECALLS.

    Args:
        true, counted: [T, D], how many of the best detections match, and how many there are.
        objects: to find.
    """
    if true.shape[1] == 0:
        return 0.0
    precision = true / (counted + np.spacing(1))
    # Of all higher recalls the best.
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    total = 0.0
    for values, recall in zip(precision, true / objects, strict=True):
        place = np.searchsorted(recall, RECALLS, side="left")
        total += values[place[place < len(values)]].sum()
    return total / (len(true) * len(RECALLS))


def evaluate_kinds(
    truth: Truth,
    results: Sequence[Result],
    image_ids: Sequence[Any] | None = None,
    kinds: Sequence[str] = (*IOU_TYPES, BOUNDARY),
    dilation_ratio: float = DILATION_RATIO,
    every_object: bool = False,
) -> tuple[Metrics, dict[str, Matches]]:
    """The COCO metrics of several kinds of overlap, and what was matched.

    Args:
        truth: the ground truth.
        results: in COCO's result format.
        image_ids: ids in the ground truth to evaluate on; None: all.
        kinds: "segm", "bbox" and "boundary".
        dilation_ratio: of "boundary".
        every_object: detections beyond COCO's 100 an image count too, where there are more objects:
            for detections that were made in the boxes of the objects.

    Returns:
        (metrics, matches), both by kind.
    """
    chosen = truth.image_numbers(results, image_ids)
    limit = MAX_DETECTIONS
    if every_object and truth.objects:
        numbers = [entry["image_id"] for entry in truth.objects]
        limit = max(limit, int(np.bincount(numbers).max()))
    metrics: Metrics = {}
    matches: dict[str, Matches] = {}
    for kind in kinds:
        evaluator = evaluator_of_kind(truth, results, kind, dilation_ratio)
        metrics[kind] = run_evaluator(evaluator, chosen, limit)
        matches[kind] = Matches.of(evaluator)
    return metrics, matches


def evaluator_of_kind(
    truth: Truth, results: Sequence[Result], kind: str, dilation_ratio: float
) -> Any:
    """The evaluator of pycocotools of a kind of overlap; see `evaluate_kinds`."""
    if kind == BOUNDARY:
        return boundary_evaluator(truth, results, dilation_ratio)
    return evaluator_of(truth, results, kind, PYCOCOTOOLS)


def write_matches(path: str | os.PathLike[str], matches: dict[str, Matches]) -> None:
    """Write matches of several kinds, as NumPy's compressed arrays."""
    arrays = {k: v for kind, one in matches.items() for k, v in one.arrays(kind).items()}
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def read_matches(path: str | os.PathLike[str]) -> dict[str, Matches]:
    """Read what `write_matches` wrote, by kind."""
    names = [field.name for field in fields(Matches)]
    with np.load(path, allow_pickle=False) as stored:
        kinds = dict.fromkeys(name.rpartition("/")[0] for name in stored.files)
        return {
            kind: Matches(**{name: stored[f"{kind}/{name}"] for name in names}) for kind in kinds
        }
