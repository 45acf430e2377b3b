"""Boundary IoU and Boundary AP: how well the outlines of masks agree.

After Cheng, Girshick, Dollár, Berg & Kirillov, *Boundary IoU: Improving Object-Centric Image
Segmentation Evaluation* (CVPR 2021, arXiv 2103.16562). The IoU of large masks hardly sees
their outline; Boundary IoU compares only the pixels near it::

    evaluation = evaluate_model(model.detector, dataset, truth)
    boundary = boundary_metrics(truth, evaluation.results)

Shape letters: H, W height and width of an image; D detections, G objects of one class in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any

import numpy as np
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mrcnn.data.rle import Rle
from mrcnn.evaluation.coco import metrics_of_categories, run_evaluator
from mrcnn.evaluation.ground_truth import GroundTruth, Truth
from mrcnn.evaluation.results import Result, segm_annotation

# Width of a boundary as a share of the image's diagonal: the paper's for COCO, 15 pixels there.
DILATION_RATIO = 0.02
# The paper's for the large, finely annotated images of Cityscapes.
CITYSCAPES_DILATION_RATIO = 0.005


def boundary_distance(height: int, width: int, dilation_ratio: float = DILATION_RATIO) -> int:
    """Width in pixels, at least 1, of the boundaries of masks in an image.

    >>> boundary_distance(480, 640), boundary_distance(10, 10)
    (16, 1)

    Raises:
        ValueError: the ratio is not a finite number above 0.
    """
    _check_ratio(dilation_ratio)
    return max(1, round(dilation_ratio * math.hypot(height, width)))


def mask_boundary(mask: np.ndarray, distance: int) -> np.ndarray:
    """The pixels of a mask that `distance` erosions by a 3x3 square take away.

    These are the pixels from which the background is at most `distance` pixels away, counted
    along rows, columns and diagonals. Outside the image is background.

    >>> mask_boundary(np.ones((4, 5)), 1).astype(int)
    array([[1, 1, 1, 1, 1],
           [1, 0, 0, 0, 1],
           [1, 0, 0, 0, 1],
           [1, 1, 1, 1, 1]])

    Args:
        mask: [H, W], nonzero is inside.
        distance: in pixels, at least 1.

    Returns:
        bool [H, W].
    """
    boundary = np.array(mask, bool)
    rows, columns = np.flatnonzero(boundary.any(axis=1)), np.flatnonzero(boundary.any(axis=0))
    if rows.size:
        # The background around the box cannot be boundary.
        box = boundary[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        box &= ~_erode_rows(_erode_rows(box, distance).T, distance).T
    return boundary


def boundary_rle(rle: Rle, dilation_ratio: float = DILATION_RATIO) -> Rle:
    """The boundary of a compressed mask, as run lengths of the same size."""
    height, width = rle["size"]
    distance = boundary_distance(height, width, dilation_ratio)
    boundary = mask_boundary(mask_api.decode(rle), distance)
    return mask_api.encode(np.asfortranarray(boundary).view(np.uint8))


def boundary_iou(
    mask: np.ndarray, other: np.ndarray, dilation_ratio: float = DILATION_RATIO
) -> float:
    """Boundary IoU of two masks [H, W], in [0, 1]; 0 when both are empty.

    Two squares of 16 and 18 pixels around the same center have an IoU of 0.79. Boundaries of one
    pixel's width have no pixel in common.

    >>> smaller, larger = np.zeros((20, 20)), np.zeros((20, 20))
    >>> smaller[2:18, 2:18] = larger[1:19, 1:19] = 1
    >>> boundary_iou(smaller, larger)
    0.0

    Raises:
        ValueError: the masks are not of one shape [H, W].
    """
    if np.ndim(mask) != 2 or np.shape(mask) != np.shape(other):
        raise ValueError(
            f"boundary_iou: expected two masks of one shape [height, width]; received "
            f"{np.shape(mask)} and {np.shape(other)}."
        )
    height, width = np.shape(mask)
    distance = boundary_distance(height, width, dilation_ratio)
    first, second = mask_boundary(mask, distance), mask_boundary(other, distance)
    union = np.count_nonzero(first | second)
    return float(np.count_nonzero(first & second) / union) if union else 0.0


def boundary_metrics(
    ground_truth: GroundTruth,
    results: Sequence[Result],
    image_ids: Iterable[Any] | None = None,
    dilation_ratio: float = DILATION_RATIO,
) -> dict[str, float]:
    """Compute the 12 COCO metrics with the boundaries of the masks: Boundary AP.

    The protocol is that of "segm" in `evaluate_results`; the overlap of two masks is the
    smaller one of their IoU and their Boundary IoU. A boundary is a ring, which the boundary
    of a mask twice as large may just cover, so it does not count alone. With crowds the overlap
    is that of "segm", the share of the detection that the crowd covers, as in the authors' code
    (https://github.com/bowenc0221/boundary-iou-api).

    Args:
        ground_truth: a COCO json file, or its `COCO` object; it is left as it was.
        results: in COCO's result format, with `segmentation`.
        image_ids: ids in the ground truth to evaluate on; None: all of its images.
        dilation_ratio: see `DILATION_RATIO` and `CITYSCAPES_DILATION_RATIO`.

    Returns:
        The metrics of METRIC_NAMES, as `evaluate_results` gives them for one kind of IoU.

    Raises:
        ValueError: an image id is not in the ground truth, a result lacks a field, or the
            ratio is not above 0.
    """
    truth = Truth.of(ground_truth)
    chosen = truth.image_numbers(results, image_ids)
    return run_evaluator(boundary_evaluator(truth, results, dilation_ratio), chosen)


def boundary_evaluation(
    truth: Truth,
    results: Sequence[Result],
    image_ids: Iterable[Any] | None = None,
    dilation_ratio: float = DILATION_RATIO,
) -> tuple[dict[str, float], dict[Any, dict[str, float]]]:
    """The metrics of `boundary_metrics`, and those of each category by its id."""
    evaluator = boundary_evaluator(truth, results, dilation_ratio)
    metrics = run_evaluator(evaluator, truth.image_numbers(results, image_ids))
    by_number = metrics_of_categories(evaluator)
    classes = {category: by_number[number] for category, number in truth.categories.items()}
    return metrics, classes


def boundary_evaluator(
    truth: Truth, results: Sequence[Result], dilation_ratio: float = DILATION_RATIO
) -> BoundaryEvaluator:
    """The evaluator of `boundary_metrics`, that has not run."""
    _check_ratio(dilation_ratio)
    annotations = [segm_annotation(result, number) for number, result in enumerate(results, 1)]
    return BoundaryEvaluator(truth.with_masks(), truth.detections(annotations), dilation_ratio)


class BoundaryEvaluator(COCOeval):
    """COCO's evaluation of masks, with min(IoU, Boundary IoU) as the IoU with ordinary objects."""

    def __init__(self, truth: COCO, detections: COCO, dilation_ratio: float) -> None:
        super().__init__(truth, detections, "segm")
        self.dilation_ratio = dilation_ratio

    def computeIoU(self, imgId: Any, catId: Any) -> np.ndarray | list:  # noqa: N802, N803
        """Overlaps [D, G], the detections by descending score; called once for each pair."""
        overlaps = super().computeIoU(imgId, catId)
        if len(overlaps) == 0:
            return overlaps
        by_score = sorted(self._dts[imgId, catId], key=lambda detection: -detection["score"])
        annotations = self._gts[imgId, catId]
        # A crowd's outline says nothing of the objects in it.
        is_object = np.array([not annotation["iscrowd"] for annotation in annotations], bool)
        # Masks that touch no other have no boundary in common either.
        touching = overlaps.astype(bool) & is_object
        rows, columns = touching.any(axis=1).nonzero()[0], touching.any(axis=0).nonzero()[0]
        if len(rows):
            boundaries = mask_api.iou(
                [self._boundary(by_score[row]) for row in rows],
                [self._boundary(annotations[column]) for column in columns],
                [0] * len(columns),
            )
            pairs = np.ix_(rows, columns)
            overlaps[pairs] = np.minimum(overlaps[pairs], boundaries)
        return overlaps

    def _boundary(self, annotation: dict[str, Any]) -> Rle:
        return boundary_rle(annotation["segmentation"], self.dilation_ratio)


def _check_ratio(dilation_ratio: float) -> None:
    is_number = isinstance(dilation_ratio, Real) and not isinstance(dilation_ratio, bool)
    if not is_number or not math.isfinite(dilation_ratio) or dilation_ratio <= 0:
        raise ValueError(
            f"dilation_ratio: expected a share of the image's diagonal above 0, such as "
            f"{DILATION_RATIO}; received {dilation_ratio!r}."
        )


def _erode_rows(mask: np.ndarray, distance: int) -> np.ndarray:
    """Keep the pixels [H, W] that have `distance` pixels of the mask above and below them."""
    eroded = np.zeros_like(mask)
    height, window = len(mask), 2 * distance + 1
    if height >= window:
        # Of row i: whether the mask holds the rows i to i + length - 1. Doubled until long enough.
        holds, length = mask, 1
        while length < window:
            step = min(length, window - length)
            holds = holds[:-step] & holds[step:]
            length += step
        eroded[distance : height - distance] = holds
    return eroded
