"""Training targets on the host: what the RPN and the heads should predict, in pixels.

Training computes its targets on the device (`mrcnn.ops.targets`). These are the same rules in
NumPy, under the names of Matterport's package, for scripts that look at targets or feed them.

Boxes are (y1, x1, y2, x2). Shape letters: A anchors, N proposals, R RoIs, G instances,
C classes; h, w masks. A negative class id is a crowd, 0 an empty slot.

`rng` is a `numpy.random.Generator`; None means NumPy's global generator, as in Matterport's
package, so that `np.random.seed` decides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from mrcnn.config import Config
from mrcnn.data.boxes import compute_iou, compute_overlaps, norm_boxes

Choice = Callable[..., np.ndarray]  # NumPy's `choice`, of a generator or the global one


def build_rpn_targets(
    image_shape: Sequence[int],
    anchors: np.ndarray,
    gt_class_ids: np.ndarray,
    gt_boxes: np.ndarray,
    config: Config,
    rng: np.random.Generator | None = None,
    window: Sequence[float] | np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Label the anchors of an image and compute the deltas of the positive ones.

    Positive: an IoU of at least `config.RPN_POSITIVE_IOU` with an object, or the best IoU that an
    object has. Negative: an IoU below RPN_NEGATIVE_IOU with every object, and below CROWD_IOU
    with every crowd. At most half of RPN_TRAIN_ANCHORS_PER_IMAGE are positive and negatives fill
    the rest; the surplus is made neutral at random (Faster R-CNN, arXiv 1506.01497, section
    3.1.2). With RPN_BORDER_ANCHORS "ignore", anchors that cross the border of the image are
    neutral, as in `mrcnn.ops.targets`, and do not count as an object's best ones.

    Args:
        image_shape: (height, width, …): the border of the image, where no `window` is given.
        anchors: [A, 4].
        gt_class_ids: int [G].
        gt_boxes: [G, 4], in the unit of the anchors.
        config: for the settings above and RPN_BBOX_STD_DEV.
        rng: draws what is made neutral.
        window: (y1, x1, y2, x2) of the image in its padding, in the unit of the anchors.

    Returns:
        rpn_match: int32 [A]; 1 positive, -1 negative, 0 neutral.
        rpn_bbox: float64 [RPN_TRAIN_ANCHORS_PER_IMAGE, 4], (dy, dx, log dh, log dw) divided by
            RPN_BBOX_STD_DEV, of the positive anchors in their order, then zeros.
    """
    anchors, gt_boxes = np.asarray(anchors), np.asarray(gt_boxes).reshape(-1, 4)
    gt_class_ids = np.asarray(gt_class_ids)
    match = np.zeros(len(anchors), np.int32)
    best_iou = np.zeros(len(anchors))
    best_object = np.zeros(len(anchors), np.intp)
    is_best = np.zeros(len(anchors), bool)
    near_crowd = np.zeros(len(anchors), bool)
    counted = np.ones(len(anchors), bool)
    if config.RPN_BORDER_ANCHORS == "ignore":
        border = (0, 0, *image_shape[:2]) if window is None else window
        counted = ~_crosses_border(anchors, border)

    # One object at a time: the matrix of all IoUs takes 200 MB at 1024 x 1024 pixels.
    areas = _areas(anchors)
    for g, (class_id, box) in enumerate(zip(gt_class_ids, gt_boxes, strict=True)):
        if class_id == 0:
            continue
        iou = compute_iou(box, anchors, _areas(box[None])[0], areas)
        if class_id < 0:
            near_crowd |= iou >= config.CROWD_IOU
            continue
        iou = np.where(counted, iou, 0)
        if iou.any():  # an object that no anchor touches has no best one
            is_best |= iou == iou.max()
        best_object[iou > best_iou] = g
        best_iou = np.maximum(best_iou, iou)

    match[(best_iou < config.RPN_NEGATIVE_IOU) & ~near_crowd & counted] = -1
    match[is_best | (best_iou >= config.RPN_POSITIVE_IOU)] = 1
    count = config.RPN_TRAIN_ANCHORS_PER_IMAGE
    _make_neutral(match, 1, count // 2, rng)
    _make_neutral(match, -1, count - np.sum(match == 1), rng)

    positive = np.flatnonzero(match == 1)
    deltas = np.zeros((count, 4))
    deltas[: len(positive)] = _deltas(anchors[positive], gt_boxes[best_object[positive]])
    return match, deltas / np.asarray(config.RPN_BBOX_STD_DEV)


class DetectionTargets(NamedTuple):
    """Training RoIs of the second stage, in Matterport's order: positives, negatives, zeros."""

    rois: np.ndarray  # [R, 4], dtype and unit of the proposals
    class_ids: np.ndarray  # int32 [R]; 0 for negatives and padding
    bboxes: np.ndarray  # float32 [R, C, 4], zero but for the positives' own class
    masks: np.ndarray  # float32 [R, h, w, C] in {0, 1}, likewise


def build_detection_targets(
    rpn_rois: np.ndarray,
    gt_class_ids: np.ndarray,
    gt_boxes: np.ndarray,
    gt_masks: np.ndarray,
    config: Config,
    rng: np.random.Generator | None = None,
) -> DetectionTargets:
    """Draw a balanced set of proposals and say what the heads should predict for them.

    Positive: an IoU of at least `config.ROI_POSITIVE_IOU` with an object. Negative: an IoU below
    it with every object and below CROWD_IOU with every crowd. Of the R = TRAIN_ROIS_PER_IMAGE
    slots, at most `int(R * ROI_POSITIVE_RATIO)` hold positives, and there are as many negatives
    as the ratio asks for (Mask R-CNN, arXiv 1703.06870, section 3.1): none without a positive, as
    in training.

    Args:
        rpn_rois: [N, 4] pixels; rows of zeros are padding.
        gt_class_ids: int [G].
        gt_boxes: [G, 4] pixels.
        gt_masks: [h, w, G], nonzero inside: mini masks, crops of their boxes, when
            `config.USE_MINI_MASK`; else as large as the image.
        config: for the settings above, BBOX_STD_DEV, MASK_SHAPE, USE_MINI_MASK and NUM_CLASSES.
        rng: draws the RoIs.

    Returns:
        (rois, class_ids, bboxes, masks); bboxes are deltas divided by BBOX_STD_DEV.
    """
    choice: Choice = np.random.choice if rng is None else rng.choice
    rpn_rois, gt_class_ids = np.asarray(rpn_rois), np.asarray(gt_class_ids)
    gt_boxes = np.asarray(gt_boxes).reshape(-1, 4)
    count, ratio = config.TRAIN_ROIS_PER_IMAGE, config.ROI_POSITIVE_RATIO

    overlaps = compute_overlaps(rpn_rois, gt_boxes)
    objects = np.where(gt_class_ids > 0, overlaps, 0)
    crowds = np.where(gt_class_ids < 0, overlaps, 0)
    best_iou = objects.max(axis=1, initial=0)
    real = rpn_rois.any(axis=1)
    is_positive = real & (best_iou >= config.ROI_POSITIVE_IOU)
    is_negative = real & ~is_positive & (crowds.max(axis=1, initial=0) < config.CROWD_IOU)

    positive = _draw(np.flatnonzero(is_positive), int(count * ratio), choice)
    # In float32, as on the device: 66 / 0.33 is 200 there.
    wanted = int(np.float32(len(positive)) * np.float32(1 / ratio)) if len(positive) else 0
    negatives = min(wanted, count) - len(positive)
    negative = _draw(np.flatnonzero(is_negative), negatives, choice)

    drawn = np.concatenate([positive, negative])
    rois = np.zeros((count, 4), rpn_rois.dtype)
    rois[: len(drawn)] = rpn_rois[drawn]
    class_ids = np.zeros(count, np.int32)
    bboxes = np.zeros((count, config.NUM_CLASSES, 4), np.float32)
    masks = np.zeros((count, *config.MASK_SHAPE, config.NUM_CLASSES), np.float32)
    for slot, n in enumerate(positive):
        g = objects[n].argmax()
        roi, box = rpn_rois[n], gt_boxes[g]
        own = class_ids[slot] = gt_class_ids[g]
        bboxes[slot, own] = _deltas(roi[None], box[None])[0] / np.asarray(config.BBOX_STD_DEV)
        frame = _relative(roi, box) if config.USE_MINI_MASK else norm_boxes(roi, gt_masks.shape)
        masks[slot, :, :, own] = _crop(gt_masks[:, :, g], frame, config.MASK_SHAPE).round()
    return DetectionTargets(rois, class_ids, bboxes, masks)


def _make_neutral(
    match: np.ndarray, label: int, limit: int, rng: np.random.Generator | None
) -> None:
    """Set the surplus of a label to 0, in place."""
    labeled = np.flatnonzero(match == label)
    surplus = len(labeled) - limit
    if surplus > 0:
        choice: Choice = np.random.choice if rng is None else rng.choice
        match[choice(labeled, surplus, replace=False)] = 0


def _crosses_border(anchors: np.ndarray, window: Sequence[float] | np.ndarray) -> np.ndarray:
    """Which anchors lie partly inside and partly outside of a window: bool [A]."""
    start, end = np.asarray(window)[:2], np.asarray(window)[2:]
    inside = (anchors[:, :2] >= start).all(axis=1) & (anchors[:, 2:] <= end).all(axis=1)
    meets = (anchors[:, 2:] > start).all(axis=1) & (anchors[:, :2] < end).all(axis=1)
    return np.asarray(meets & ~inside)


def _draw(indices: np.ndarray, limit: int, choice: Choice) -> np.ndarray:
    """At most `limit` of the indices, at random."""
    return choice(indices, min(limit, len(indices)), replace=False)


def _areas(boxes: np.ndarray) -> np.ndarray:
    boxes = boxes.astype(np.float64)
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _deltas(boxes: np.ndarray, gt_boxes: np.ndarray) -> np.ndarray:
    """`mrcnn.data.boxes.box_refinement` in float64."""
    boxes, gt_boxes = boxes.astype(np.float64), gt_boxes.astype(np.float64)
    size, gt_size = boxes[:, 2:] - boxes[:, :2], gt_boxes[:, 2:] - gt_boxes[:, :2]
    center, gt_center = boxes[:, :2] + 0.5 * size, gt_boxes[:, :2] + 0.5 * gt_size
    return np.concatenate([(gt_center - center) / size, np.log(gt_size / size)], axis=1)


def _relative(roi: np.ndarray, box: np.ndarray) -> np.ndarray:
    """An RoI in the frame of a box with an area, where the box is (0, 0, 1, 1)."""
    origin, size = np.tile(box[:2], 2), np.tile(box[2:] - box[:2], 2)
    return (roi - origin) / size


def _crop(mask: np.ndarray, frame: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Sample a mask [h, w] on a grid between the corners of a frame, zero outside.

    Bilinear; (0, 0, 1, 1) puts the grid's corners on the mask's corner pixels
    (`mrcnn.ops.crops`).

    Returns:
        float64 of the given shape.
    """
    rows = _linear(frame[0], frame[2], mask.shape[0], shape[0])
    columns = _linear(frame[1], frame[3], mask.shape[1], shape[1])
    return rows @ mask.astype(np.float64) @ columns.T


def _linear(start: float, end: float, side: int, count: int) -> np.ndarray:
    """Weights [count, side] of `count` samples from start to end, in units of side - 1."""
    # In float32 and in this order, as `mrcnn.ops.crops`: one rounding decides whether a sample
    # on the border is inside.
    first, final, last = np.float32(start), np.float32(end), np.float32(side - 1)
    if count > 1:
        step = (final - first) * last / np.float32(count - 1)
        position = first * last + np.arange(count, dtype=np.float32) * step
    else:
        position = np.float32(0.5) * (first + final) * last * np.ones(1, np.float32)
    weights = np.maximum(0, 1 - np.abs(position[:, None] - np.arange(side, dtype=np.float64)))
    inside = (position >= 0) & (position <= last)
    return weights * inside[:, None]
