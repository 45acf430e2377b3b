"""Which anchors and proposals belong to which ground-truth object.

Two stages, one rule each: the RPN labels anchors (Ren et al. 2015, section 3.1.2), the
second stage labels proposals (He et al. 2017, section 3.1). Both then draw a balanced
random subset. Everything has a static shape; ground truth is zero padded.

Shape letters: B images, A anchors, N proposals, G instances, P positive slots,
R = RoIs per image. Class id 0 marks an empty slot, a negative one a crowd.
"""

from __future__ import annotations

from typing import NamedTuple

from keras import ops

from mrcnn.batch import BOX_ONLY_MASK
from mrcnn.ops import boxes as box_ops
from mrcnn.ops.assignment import CROWD_IOU, ROI_POSITIVE_IOU, RPN_NEGATIVE_IOU, RPN_POSITIVE_IOU
from mrcnn.ops.crops import crop_and_resize
from mrcnn.ops.indexing import gather_rows, keep_random, true_first
from mrcnn.ops.tensor import Tensor

# IoUs this close, relatively, are a tie. Anchors placed symmetrically around an object
# are equally good, but rounding (float32, and again otherwise under XLA) tells them apart.
TIE = 1e-5


class AnchorOverlaps(NamedTuple):
    """What the labels of anchors hang on, each [B, A]."""

    best_iou: Tensor  # with any object
    best_object: Tensor  # index of that object, int32
    is_best: Tensor  # of some object, ties included
    crowd_iou: Tensor  # with any crowd


def anchor_overlaps(anchors: Tensor, gt_class_ids: Tensor, gt_boxes: Tensor) -> AnchorOverlaps:
    """Compare all anchors with the objects, one object at a time.

    The [A, G] matrix of IoUs has 26 million entries at 1024² and is never made; the
    loop ends at the last object of the batch, so padding costs nothing.

    Args:
        anchors: [A, 4], in the unit of `gt_boxes`.
        gt_class_ids: [B, G] int.
        gt_boxes: [B, G, 4].
    """
    batch, instances = gt_class_ids.shape
    gt_boxes = ops.cast(gt_boxes, anchors.dtype)
    slots = ops.arange(1, instances + 1, dtype="int32")
    last = ops.max(ops.where(gt_class_ids != 0, slots, 0))
    zeros = ops.zeros((batch, anchors.shape[0]), dtype=anchors.dtype)
    no_object = ops.zeros((batch, anchors.shape[0]), dtype="int32")

    def body(g: Tensor, best_iou: Tensor, best_object: Tensor, is_best: Tensor, crowd: Tensor):
        class_id = ops.take(gt_class_ids, g, axis=1)[:, None]
        box = ops.take(gt_boxes, g, axis=1)[:, None, :]
        iou = box_ops.iou(anchors, box)[..., 0]
        object_iou = ops.where(class_id > 0, iou, 0.0)
        # "> 0": an object that no anchor touches must not make all of them positive.
        top = ops.max(object_iou, axis=1, keepdims=True)
        is_best = is_best | ((object_iou >= top * (1.0 - TIE)) & (object_iou > 0))
        best_object = ops.where(object_iou > best_iou, g, best_object)
        best_iou = ops.maximum(best_iou, object_iou)
        crowd = ops.maximum(crowd, ops.where(class_id < 0, iou, 0.0))
        return g + 1, best_iou, best_object, is_best, crowd

    state = (ops.zeros((), dtype="int32"), zeros, no_object, no_object > 0, zeros)
    return AnchorOverlaps(*ops.while_loop(lambda g, *_: g < last, body, state)[1:])


def rpn_targets(
    anchors: Tensor,
    gt_class_ids: Tensor,
    gt_boxes: Tensor,
    noise: Tensor,
    count: int,
    std_dev: Tensor,
) -> tuple[Tensor, Tensor]:
    """Label the anchors and compute the deltas that the RPN should predict.

    Args:
        anchors: [A, 4], in the unit of `gt_boxes`. Pixels give the ancestor's labels, but
            for ties, of which it kept those that rounding left; normalized boxes are half
            a pixel smaller on each side.
        gt_class_ids: [B, G] int.
        gt_boxes: [B, G, 4].
        noise: [B, A] in [0, 1), which decides what is dropped.
        count: anchors that take part in the loss, at most half of them positive.
        std_dev: [4], divides the deltas.

    Returns:
        match [B, A] int32: 1 positive, -1 negative, 0 neutral.
        deltas [B, count, 4] float32 of the positive anchors in order, zero padded.
    """
    overlaps = anchor_overlaps(anchors, gt_class_ids, gt_boxes)
    positive = overlaps.is_best | (overlaps.best_iou >= RPN_POSITIVE_IOU)
    negative = (overlaps.best_iou < RPN_NEGATIVE_IOU) & (overlaps.crowd_iou < CROWD_IOU)
    negative = negative & ~positive

    half = count // 2
    batch = noise.shape[0]
    positive_limit = ops.full((batch,), half, dtype="int32")
    positive = keep_random(positive, noise, positive_limit, half)
    found = ops.sum(ops.cast(positive, "int32"), axis=1)
    negative = keep_random(negative, noise, count - found, count)
    match = ops.cast(positive, "int32") - ops.cast(negative, "int32")

    index, valid = true_first(positive, count)
    flat = ops.reshape(index, (-1,))
    chosen = ops.reshape(ops.take(anchors, flat, axis=0), (batch, count, 4))
    assigned = ops.take_along_axis(overlaps.best_object, index, axis=1)
    targets = gather_rows(ops.cast(gt_boxes, anchors.dtype), assigned)
    deltas = box_ops.encode(chosen, targets) / std_dev
    return match, ops.where(valid[..., None], deltas, 0.0)


class DetectionTargets(NamedTuple):
    """Training RoIs of the second stage: positives first, then negatives, zero padded."""

    rois: Tensor  # [B, R, 4] normalized
    class_ids: Tensor  # [B, R] int32; 0 for negatives and padding
    deltas: Tensor  # [B, R, 4], 0 but for positives
    masks: Tensor  # [B, P, h, w] in {0, 1}, of the first P slots
    valid: Tensor  # [B, R] bool, false for padding
    mask_class_ids: Tensor  # [B, P] int32; as class_ids, but 0 where the object has no mask


def detection_targets(
    proposals: Tensor,
    gt_class_ids: Tensor,
    gt_boxes: Tensor,
    gt_masks: Tensor,
    noise: Tensor,
    *,
    count: int,
    positive_ratio: float,
    std_dev: Tensor,
    mask_shape: tuple[int, int],
    mini_masks: bool,
    native: bool = False,
) -> DetectionTargets:
    """Draw a balanced set of proposals and say what the heads should predict for them.

    A proposal is positive from IoU 0.5 on. At most `int(count * positive_ratio)` are
    kept, and as many negatives as the ratio asks for: none for an image without
    positives, as in the ancestor.

    Args:
        proposals: [B, N, 4] normalized, zero padded.
        gt_class_ids: [B, G] int.
        gt_boxes: [B, G, 4] normalized.
        gt_masks: [B, G, h, w], of the image, or of the box when `mini_masks`; values of
            `BOX_ONLY_MASK` mark an object that has a box but no mask.
        noise: [B, N] in [0, 1), which decides what is drawn.
        count: R.
        positive_ratio: share of positives.
        std_dev: [4], divides the deltas.
        mask_shape: size of the mask targets.
        mini_masks: whether masks are crops of their boxes.
        native: see `mrcnn.ops.crops.crop_and_resize`.
    """
    batch = proposals.shape[0]
    slots = int(count * positive_ratio)
    proposals = ops.cast(proposals, "float32")
    real = ops.any(proposals != 0, axis=-1)

    overlaps = box_ops.iou(proposals, gt_boxes)
    objects = ops.where((gt_class_ids > 0)[:, None, :], overlaps, 0.0)
    crowds = ops.where((gt_class_ids < 0)[:, None, :], overlaps, 0.0)
    best = ops.max(objects, axis=-1)
    positive = real & (best >= ROI_POSITIVE_IOU)
    negative = real & (best < ROI_POSITIVE_IOU) & (ops.max(crowds, axis=-1) < CROWD_IOU)

    positive_index, positive_found = _draw(positive, noise, slots)
    positives = ops.sum(ops.cast(positive_found, "int32"), axis=1)
    # In float32, as the ancestor: 66 / 0.33 is 200 there.
    wanted = ops.cast(ops.cast(positives, "float32") * (1.0 / positive_ratio), "int32")
    negative_index, negative_found = _draw(negative, noise, count - slots)
    negatives = ops.minimum(
        ops.minimum(wanted - positives, count - positives),
        ops.sum(ops.cast(negative_found, "int32"), axis=1),
    )

    # Close the gap between the drawn positives and the negatives.
    slot = ops.arange(count, dtype="int32")[None, :]
    is_positive = slot < positives[:, None]
    valid = slot < (positives + negatives)[:, None]
    source = ops.where(is_positive, slot, slot - positives[:, None] + slots)
    source = ops.where(valid, source, 0)
    drawn = ops.concatenate([positive_index, negative_index], axis=1)
    row = ops.take_along_axis(drawn, ops.minimum(source, drawn.shape[1] - 1), axis=1)
    rois = ops.where(valid[..., None], gather_rows(proposals, row), 0.0)

    head_rois = rois[:, :slots]
    head_positive = is_positive[:, :slots]
    assigned = ops.argmax(gather_rows(objects, row[:, :slots]), axis=-1)
    assigned = ops.cast(assigned, "int32")
    boxes = gather_rows(gt_boxes, assigned)
    class_ids = ops.take_along_axis(ops.cast(gt_class_ids, "int32"), assigned, axis=1)
    class_ids = ops.where(head_positive, class_ids, 0)
    deltas = box_ops.encode(head_rois, boxes) / std_dev
    deltas = ops.where(head_positive[..., None], deltas, 0.0)

    crop_boxes = _relative(head_rois, boxes) if mini_masks else head_rois
    instances = gt_masks.shape[1]
    first = ops.arange(batch, dtype="int32")[:, None] * instances
    masks = crop_and_resize(
        ops.reshape(gt_masks, (batch * instances, *gt_masks.shape[2:], 1)),
        ops.reshape(crop_boxes, (-1, 4)),
        ops.reshape(first + assigned, (-1,)),
        mask_shape,
        native=native,
    )
    masks = ops.reshape(ops.round(masks), (batch, slots, *mask_shape))
    # Callers may send masks as bool, uint8 or float.
    box_only = ops.any(ops.cast(gt_masks, "float32") >= BOX_ONLY_MASK, axis=(2, 3))
    has_mask = head_positive & ~ops.take_along_axis(box_only, assigned, axis=1)
    masks = ops.where(has_mask[..., None, None], masks, 0.0)

    rest = count - slots
    return DetectionTargets(
        rois=rois,
        class_ids=ops.pad(class_ids, ((0, 0), (0, rest))),
        deltas=ops.pad(deltas, ((0, 0), (0, rest), (0, 0))),
        masks=masks,
        valid=valid,
        mask_class_ids=ops.where(has_mask, class_ids, 0),
    )


def _draw(mask: Tensor, noise: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Up to `count` true entries of each row in random order: (index, found) [B, count]."""
    limit = min(count, mask.shape[1])
    keys, index = ops.top_k(ops.where(mask, noise, -1.0), limit)
    missing = ((0, 0), (0, count - limit))
    index, found = ops.pad(ops.cast(index, "int32"), missing), ops.pad(keys >= 0, missing)
    return index, found


def _relative(rois: Tensor, boxes: Tensor) -> Tensor:
    """RoIs [B, P, 4] in the frame of their boxes, where the box is (0, 0, 1, 1)."""
    height = boxes[..., 2] - boxes[..., 0]
    width = boxes[..., 3] - boxes[..., 1]
    valid = (height > 0) & (width > 0)
    height = ops.where(valid, height, 1.0)
    width = ops.where(valid, width, 1.0)
    origin = ops.stack([boxes[..., 0], boxes[..., 1]] * 2, axis=-1)
    size = ops.stack([height, width] * 2, axis=-1)
    return (rois - origin) / size
