"""Boundary IoU and Boundary AP: how well the outlines of masks agree.

After Cheng, Girshick, Dollár, Berg & Kirillov, *Boundary IoU: Improving Object-Centric Image
Segmentation Evaluation* (CVPR 2021, arXiv 2103.16562). The IoU of large masks hardly sees
their outline; Boundary IoU compares only the pixels near it::

    metrics, results, _ = evaluate_model(detect, dataset, truth)
    metrics["boundary"] = boundary_metrics(truth, results)

Shape letters: H, W height and width of an image; D detections, G objects of one class in it.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any

import numpy as np
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mrcnn.datasets.coco import coco_api, read_coco_json
from mrcnn.evaluation.coco import (
    METRIC_NAMES,
    GroundTruth,
    Result,
    complete_annotations,
    segm_annotation,
)

Rle = dict[str, Any]  # {"size": [H, W], "counts": compressed run lengths}

# Width of a boundary as a share of the image's diagonal: the paper's for COCO, 15 pixels there.
DILATION_RATIO = 0.02
# The paper's for the large, finely annotated images of Cityscapes.
CITYSCAPES_DILATION_RATIO = 0.005


def boundary_distance(height: int, width: int, dilation_ratio: float = DILATION_RATIO) -> int:
    """Width in pixels, at least 1, of the boundaries of masks in an image.

    Raises:
        ValueError: the ratio is not a finite number above 0.
    """
    is_number = isinstance(dilation_ratio, Real) and not isinstance(dilation_ratio, bool)
    if not is_number or not math.isfinite(dilation_ratio) or dilation_ratio <= 0:
        raise ValueError(
            f"dilation_ratio: expected a share of the image's diagonal above 0, such as "
            f"{DILATION_RATIO}; received {dilation_ratio!r}."
        )
    return max(1, round(dilation_ratio * math.hypot(height, width)))


def mask_boundary(mask: np.ndarray, distance: int) -> np.ndarray:
    """The pixels of a mask that `distance` erosions by a 3x3 square take away.

    These are the pixels from which the background is at most `distance` pixels away, counted
    along rows, columns and diagonals. Outside the image is background.

    Args:
        mask: [H, W], nonzero is inside.
        distance: in pixels, at least 1.

    Returns:
        bool [H, W].
    """
    boundary = np.array(mask, bool)
    rows, columns = np.flatnonzero(boundary.any(axis=1)), np.flatnonzero(boundary.any(axis=0))
    if rows.size:
        # The background around the box needs no look.
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

    Raises:
        ValueError: the masks are not of one shape [H, W].
    """
    if np.ndim(mask) != 2 or np.shape(mask) != np.shape(other):
        raise ValueError(
            f"boundary_iou: expected two masks of one shape [height, width]; received "
            f"{np.shape(mask)} and {np.shape(other)}."
        )
    distance = boundary_distance(*np.shape(mask), dilation_ratio)
    first, second = mask_boundary(mask, distance), mask_boundary(other, distance)
    union = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / union if union else 0.0


def boundary_metrics(
    ground_truth: GroundTruth,
    results: Sequence[Result],
    image_ids: Iterable[Any] | None = None,
    dilation_ratio: float = DILATION_RATIO,
) -> dict[str, float]:
    """Compute the 12 COCO metrics with the boundaries of the masks: Boundary AP.

    The protocol is that of "segm" in `evaluate_results`; the overlap of two masks is the
    smaller one of their IoU and their Boundary IoU. A boundary is a ring, which the boundary
    of a mask twice as large may just cover, so it does not count alone. With crowds both are
    the share of the detection (of its boundary) that the crowd's covers.

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
    boundary_distance(1, 1, dilation_ratio)
    if isinstance(ground_truth, COCO):
        content = ground_truth.dataset
    else:
        content = read_coco_json(ground_truth)
    known = {image["id"] for image in content["images"]}
    chosen = known if image_ids is None else set(image_ids)
    unknown = sorted((chosen | {result["image_id"] for result in results}) - known, key=str)
    if unknown:
        raise ValueError(
            f"image_ids, results: expected ids of the ground truth's {len(known)} images; received "
            f"{len(unknown)} others, such as {unknown[0]!r}. Are they of another subset?"
        )
    annotations = [segm_annotation(result, index) for index, result in enumerate(results, 1)]
    truth = coco_api({**content, "annotations": complete_annotations(content)})
    detections = coco_api({**content, "annotations": annotations})
    evaluator = BoundaryEvaluator(truth, detections, dilation_ratio)
    evaluator.params.imgIds = sorted(chosen)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return dict(zip(METRIC_NAMES, map(float, evaluator.stats), strict=True))


class BoundaryEvaluator(COCOeval):
    """COCO's evaluation of masks, with min(IoU, Boundary IoU) in place of the IoU."""

    def __init__(self, truth: COCO, detections: COCO, dilation_ratio: float) -> None:
        super().__init__(truth, detections, "segm")
        self.dilation_ratio = dilation_ratio

    def computeIoU(self, imgId: Any, catId: Any) -> np.ndarray | list:  # noqa: N802, N803
        """Overlaps [D, G], the detections by descending score; called once for each pair."""
        overlaps = super().computeIoU(imgId, catId)
        if len(overlaps) == 0:
            return overlaps
        by_score = sorted(self._dts[imgId, catId], key=lambda detection: -detection["score"])
        # Masks that touch no other have no boundary in common either.
        rows, columns = overlaps.any(axis=1).nonzero()[0], overlaps.any(axis=0).nonzero()[0]
        objects = [self._gts[imgId, catId][column] for column in columns]
        if objects:
            boundaries = mask_api.iou(
                [self._boundary(by_score[row]) for row in rows],
                [self._boundary(annotation) for annotation in objects],
                [int(annotation["iscrowd"]) for annotation in objects],
            )
            touching = np.ix_(rows, columns)
            overlaps[touching] = np.minimum(overlaps[touching], boundaries)
        return overlaps

    def _boundary(self, annotation: dict[str, Any]) -> Rle:
        return boundary_rle(annotation["segmentation"], self.dilation_ratio)


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
