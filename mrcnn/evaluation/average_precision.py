"""Average precision of single images, as Matterport's notebooks compute it.

The metrics that papers report are COCO's, over a whole data set: `mrcnn.evaluation.coco`.

Shape letters: G ground-truth instances, N predictions, H, W height and width of the image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mrcnn.data.boxes import compute_overlaps, compute_overlaps_masks
from mrcnn.data.masks import full_masks, lie_in_boxes
from mrcnn.logger import logger

UNMATCHED = -1
# COCO's range: from 0.5 to 0.95 in steps of 0.05.
COCO_IOU_THRESHOLDS = np.arange(0.5, 1.0, 0.05)


def compute_matches(
    gt_boxes: np.ndarray,
    gt_class_ids: np.ndarray,
    gt_masks: np.ndarray,
    pred_boxes: np.ndarray,
    pred_class_ids: np.ndarray,
    pred_scores: np.ndarray,
    pred_masks: np.ndarray,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Match predictions to ground truth, the best score first.

    A prediction takes the instance of its class whose mask overlaps it most, of those that no
    better prediction has taken. Crowds (negative class ids) stay without a match. Boxes of
    zeros at the end are padding.

    Two objects; the first prediction finds the second of them, the second one finds nothing.

    >>> gt_boxes = np.array([[0, 0, 2, 2], [0, 2, 2, 4]])
    >>> gt_masks = np.zeros((2, 4, 2), bool)
    >>> gt_masks[:, :2, 0] = gt_masks[:, 2:, 1] = True
    >>> gt_match, pred_match, overlaps = compute_matches(
    ...     *(gt_boxes, np.array([1, 1]), gt_masks),
    ...     *(gt_boxes[[1, 0]], np.array([1, 2]), np.array([0.9, 0.8]), gt_masks[..., [1, 0]]),
    ... )
    >>> gt_match, pred_match
    (array([-1.,  0.]), array([ 1., -1.]))

    Args:
        gt_boxes: [G, 4]; says which instances are padding, and where mini masks lie.
        gt_class_ids: [G].
        gt_masks: [H, W, G], or mini masks [h, w, G], which are expanded to their boxes.
        pred_boxes: [N, 4]; says which predictions are padding.
        pred_class_ids: [N].
        pred_scores: [N].
        pred_masks: [H, W, N], or mini masks.
        iou_threshold: least IoU of two masks that match.
        score_threshold: a second lower bound of the IoU; its name is Matterport's.

    Returns:
        gt_match: float64 [G], the index of each instance's prediction, or -1.
        pred_match: float64 [N], the index of each prediction's instance, or -1.
        overlaps: float32 [N, G], the IoU of the masks.
        In all three, predictions are in descending order of score, and padding is cut off.
    """
    gt_count, pred_count = _count_boxes(gt_boxes), _count_boxes(pred_boxes)
    gt_class_ids = np.asarray(gt_class_ids)[:gt_count]
    gt_masks, pred_masks = _of_one_size(gt_masks, gt_boxes, pred_masks, pred_boxes)
    order = _descending(np.asarray(pred_scores)[:pred_count])
    overlaps = compute_overlaps_masks(pred_masks[..., order], gt_masks[..., :gt_count])

    gt_match = np.full(gt_count, UNMATCHED, np.float64)
    pred_match = np.full(pred_count, UNMATCHED, np.float64)
    # In the precision of the overlaps, so that an IoU of exactly 7 / 10 reaches 0.7.
    least = overlaps.dtype.type(max(iou_threshold, score_threshold))
    for pred, class_id in enumerate(np.asarray(pred_class_ids)[order]):
        free = (gt_match == UNMATCHED) & (gt_class_ids == class_id) & (overlaps[pred] >= least)
        if free.any():
            gt = next(gt for gt in _descending(overlaps[pred]) if free[gt])
            gt_match[gt], pred_match[pred] = pred, gt
    return gt_match, pred_match, overlaps


def compute_ap(
    gt_boxes: np.ndarray,
    gt_class_ids: np.ndarray,
    gt_masks: np.ndarray,
    pred_boxes: np.ndarray,
    pred_class_ids: np.ndarray,
    pred_scores: np.ndarray,
    pred_masks: np.ndarray,
    iou_threshold: float = 0.5,
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """Compute the average precision of an image: the area under its precision-recall curve.

    Precision at a recall is the best one at that recall or a higher one (PASCAL VOC 2010,
    http://host.robots.ox.ac.uk/pascal/VOC/voc2010/devkit_doc_08-May-2010.pdf, section 3.4).

    One of two objects is found, after a false positive: precision 1/2 up to recall 1/2.

    >>> gt_boxes = np.array([[0, 0, 2, 2], [0, 2, 2, 4]])
    >>> gt_masks = np.zeros((2, 4, 2), bool)
    >>> gt_masks[:, :2, 0] = gt_masks[:, 2:, 1] = True
    >>> average, precisions, recalls, overlaps = compute_ap(
    ...     *(gt_boxes, np.array([1, 1]), gt_masks),
    ...     *(gt_boxes, np.array([2, 1]), np.array([0.9, 0.8]), gt_masks),
    ... )
    >>> average, precisions, recalls
    (0.25, array([0.5, 0.5, 0.5, 0. ]), array([0. , 0. , 0.5, 1. ]))

    Args: as `compute_matches`.

    Returns:
        mAP: in [0, 1]; 0 for an image without instances or without predictions.
        precisions: float64 [N + 2], never rising, in order of recall; the last one is 0.
        recalls: float64 [N + 2], from 0 to 1.
        overlaps: float32 [N, G], as of `compute_matches`.
    """
    gt_match, pred_match, overlaps = compute_matches(
        gt_boxes,
        gt_class_ids,
        gt_masks,
        pred_boxes,
        pred_class_ids,
        pred_scores,
        pred_masks,
        iou_threshold,
    )
    hits = np.cumsum(pred_match != UNMATCHED)
    precisions = np.concatenate([[0.0], hits / np.arange(1, len(hits) + 1), [0.0]])
    recalls = np.concatenate([[0.0], hits / max(len(gt_match), 1), [1.0]])
    precisions = np.maximum.accumulate(precisions[::-1])[::-1]
    average = np.sum(np.diff(recalls) * precisions[1:])
    return float(average), precisions, recalls, overlaps


def compute_ap_range(
    gt_box: np.ndarray,
    gt_class_id: np.ndarray,
    gt_mask: np.ndarray,
    pred_box: np.ndarray,
    pred_class_id: np.ndarray,
    pred_score: np.ndarray,
    pred_mask: np.ndarray,
    iou_thresholds: Sequence[float] | None = None,
    verbose: int = 1,
) -> float:
    """Compute the mean of an image's average precisions over a range of IoU thresholds.

    Args: the first seven as `compute_matches`.
        iou_thresholds: None: COCO's, 0.5 to 0.95 in steps of 0.05.
        verbose: log the average precision at each threshold, and the mean.
    """
    thresholds = COCO_IOU_THRESHOLDS if iou_thresholds is None else iou_thresholds
    averages = []
    for threshold in thresholds:
        average, *_ = compute_ap(
            gt_box,
            gt_class_id,
            gt_mask,
            pred_box,
            pred_class_id,
            pred_score,
            pred_mask,
            iou_threshold=threshold,
        )
        averages.append(average)
        if verbose:
            logger.info(f"AP @{threshold:.2f}:\t {average:.3f}")
    mean = float(np.mean(averages))
    if verbose:
        logger.info(f"AP @{thresholds[0]:.2f}-{thresholds[-1]:.2f}:\t {mean:.3f}")
    return mean


def compute_recall(
    pred_boxes: np.ndarray, gt_boxes: np.ndarray, iou: float
) -> tuple[float, np.ndarray]:
    """Compute which part of the ground-truth boxes predicted boxes find, classes aside.

    A predicted box finds the one ground-truth box that it overlaps most. Ground-truth boxes of
    zeros at the end are padding.

    >>> gt_boxes = np.array([[0, 0, 2, 2], [0, 2, 2, 4]])
    >>> compute_recall(np.array([[5, 5, 6, 6], [0, 0, 2, 3]]), gt_boxes, iou=0.5)
    (0.5, array([1]))

    Args:
        pred_boxes: [N, 4].
        gt_boxes: [G, 4].
        iou: least IoU of two boxes.

    Returns:
        The recall in [0, 1], 0 when there is no ground truth, and the indices of the predicted
        boxes that find something.
    """
    gt_boxes = np.asarray(gt_boxes)[: _count_boxes(gt_boxes)]
    if not len(pred_boxes) or not len(gt_boxes):
        return 0.0, np.zeros(0, np.int64)
    overlaps = compute_overlaps(pred_boxes, gt_boxes)
    positive_ids = np.flatnonzero(overlaps.max(axis=1) >= iou)
    found = np.unique(overlaps.argmax(axis=1)[positive_ids])
    return len(found) / len(gt_boxes), positive_ids


def _of_one_size(
    gt_masks: np.ndarray, gt_boxes: np.ndarray, pred_masks: np.ndarray, pred_boxes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The masks of both, mini masks of one of them expanded to the size of the other's."""
    gt_masks, pred_masks = np.asarray(gt_masks), np.asarray(pred_masks)
    if gt_masks.ndim != 3 or pred_masks.ndim != 3 or gt_masks.shape[:2] == pred_masks.shape[:2]:
        return gt_masks, pred_masks
    if 0 in pred_masks.shape or 0 in gt_masks.shape:  # nothing to compare, of any size
        return gt_masks, pred_masks
    if lie_in_boxes(gt_masks, gt_boxes):
        return gt_masks, full_masks(pred_masks, pred_boxes, gt_masks.shape)
    return full_masks(gt_masks, gt_boxes, pred_masks.shape), pred_masks


def _count_boxes(boxes: np.ndarray) -> int:
    """How many boxes there are before the padding at the end."""
    if not len(boxes):
        return 0
    occupied = np.flatnonzero(np.any(np.asarray(boxes), axis=1))
    return int(occupied[-1]) + 1 if len(occupied) else 0


def _descending(values: np.ndarray) -> np.ndarray:
    """Indices in descending order; of equal values the last comes first, as in Matterport's."""
    return np.argsort(values, kind="stable")[::-1]
