"""Which anchors and proposals belong to which ground-truth object.

Two stages, one rule each: the RPN labels anchors (Ren et al. 2015, section 3.1.2), the
second stage labels proposals (He et al. 2017, section 3.1). Both then draw a balanced
random subset. Everything has a static shape; ground truth is zero padded.

Shape letters: B images, A anchors, N proposals, G instances, P positive slots,
R = RoIs per image. Class id 0 marks an empty slot, a negative one a crowd.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from keras import ops

from mrcnn.batch import BOX_ONLY_MASK
from mrcnn.ops import boxes as box_ops
from mrcnn.ops.crops import crop_and_resize
from mrcnn.ops.indexing import first_true_indices, gather_rows, sample_at_most
from mrcnn.ops.mask_targets import MaskFrame, sampled_mask_targets
from mrcnn.ops.target_settings import RoiTargetSettings, RpnTargetSettings
from mrcnn.ops.tensor import Tensor

# IoUs this close, relatively, are a tie. Anchors placed symmetrically around an object
# are equally good, but rounding (float32, and again otherwise under XLA) tells them apart.
TIE = 1e-5
# Anchors are compared with all objects in so many steps at most, each of which waits for the one
# before: on a GPU the waiting takes longer than the comparing.
LOOPS = 32


RPN_DEFAULTS, ROI_DEFAULTS = RpnTargetSettings(), RoiTargetSettings()


class AnchorOverlaps(NamedTuple):
    """What the labels of anchors depend on, each [B, A]."""

    best_iou: Tensor  # with any object
    best_object: Tensor  # index of that object, int32
    is_best: Tensor  # of some object, ties included
    crowd_iou: Tensor  # with any crowd


def anchor_overlaps(
    anchors: Tensor, gt_class_ids: Tensor, gt_boxes: Tensor, counted: Tensor | None = None
) -> AnchorOverlaps:
    """Compare all anchors with the objects, a few objects at a time.

    The [A, G] matrix of IoUs has 26 million entries at 1024² and is never made; the
    loop ends at the last object of the batch, so padding costs next to nothing.

    Args:
        anchors: [A, 4], in the unit of `gt_boxes`.
        gt_class_ids: [B, G] int.
        gt_boxes: [B, G, 4].
        counted: bool [B, A], the anchors that may be an object's; None: all.
    """
    batch, instances = gt_class_ids.shape
    at_once = -(-instances // LOOPS)
    missing = (0, -instances % at_once)
    gt_class_ids = ops.pad(gt_class_ids, ((0, 0), missing))
    gt_boxes = ops.pad(ops.cast(gt_boxes, anchors.dtype), ((0, 0), missing, (0, 0)))
    rounds = gt_class_ids.shape[1] // at_once
    gt_class_ids = ops.reshape(gt_class_ids, (batch, rounds, at_once))
    gt_boxes = ops.reshape(gt_boxes, (batch, rounds, at_once, 4))
    numbers = ops.arange(1, rounds + 1, dtype="int32")
    last = ops.max(ops.where(ops.any(gt_class_ids != 0, axis=2), numbers, 0))
    zeros = ops.zeros((batch, anchors.shape[0]), dtype=anchors.dtype)
    no_object = ops.zeros((batch, anchors.shape[0]), dtype="int32")

    def body(g: Tensor, best_iou: Tensor, best_object: Tensor, is_best: Tensor, crowd: Tensor):
        class_ids = ops.take(gt_class_ids, g, axis=1)[:, None, :]
        iou = box_ops.iou(anchors, ops.take(gt_boxes, g, axis=1))
        is_object = class_ids > 0
        if counted is not None:
            is_object = is_object & counted[:, :, None]
        object_iou = ops.where(is_object, iou, 0.0)
        # "> 0": an object that no anchor touches must not make all of them positive.
        top = ops.max(object_iou, axis=1, keepdims=True)
        best = (object_iou >= top * (1.0 - TIE)) & (object_iou > 0)
        is_best = is_best | ops.any(best, axis=2)
        nearest = ops.cast(ops.argmax(object_iou, axis=2), "int32")
        object_iou = ops.max(object_iou, axis=2)
        best_object = ops.where(object_iou > best_iou, g * at_once + nearest, best_object)
        best_iou = ops.maximum(best_iou, object_iou)
        crowd = ops.maximum(crowd, ops.max(ops.where(class_ids < 0, iou, 0.0), axis=2))
        return g + 1, best_iou, best_object, is_best, crowd

    state = (ops.zeros((), dtype="int32"), zeros, no_object, no_object > 0, zeros)
    return AnchorOverlaps(*ops.while_loop(lambda g, *_: g < last, body, state)[1:])


def crosses_border(anchors: Tensor, windows: Tensor) -> Tensor:
    """Which anchors lie partly inside and partly outside of their image: bool [B, A].

    An anchor that touches the border from inside does not cross it. One that lies in the padding
    does not either: it shows nothing of the image, and is background as ever.

    Args:
        anchors: [A, 4].
        windows: [B, 4], the part of each image that is not padding, in the unit of the anchors.
    """
    windows = ops.cast(windows, anchors.dtype)[:, None, :]
    top, left, bottom, right = (anchors[None, :, side] for side in range(4))
    first_row, first_column, last_row, last_column = (windows[..., side] for side in range(4))
    inside = (top >= first_row) & (left >= first_column)
    inside = inside & (bottom <= last_row) & (right <= last_column)
    meets = (bottom > first_row) & (right > first_column)
    meets = meets & (top < last_row) & (left < last_column)
    return meets & ~inside


def rpn_targets(
    anchors: Tensor,
    gt_class_ids: Tensor,
    gt_boxes: Tensor,
    noise: Tensor,
    settings: RpnTargetSettings = RPN_DEFAULTS,
    windows: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Label the anchors and compute the deltas that the RPN should predict.

    With `settings.border_anchors` "ignore", those of `crosses_border` are neutral, and the best
    anchor of an object is the best of the others (Ren et al. 2015, section 3.3).

    Args:
        anchors: [A, 4], in the unit of `gt_boxes`. Pixels give Matterport's labels, but
            for ties, of which it kept those that rounding left; normalized boxes are half
            a pixel smaller on each side.
        gt_class_ids: [B, G] int.
        gt_boxes: [B, G, 4].
        noise: [B, A] in [0, 1), which decides what is dropped.
        settings: how many anchors take part, and from which IoU on they are an object's.
        windows: [B, 4], the part of each image that is not padding, in the unit of the anchors;
            needed where border anchors are ignored.

    Returns:
        match [B, A] int32: 1 positive, -1 negative, 0 neutral.
        deltas [B, settings.count, 4] float32 of the positive anchors in order, zero padded.

    Raises:
        ValueError: border anchors are to be ignored, and there are no windows.
    """
    counted = None
    if settings.border_anchors == "ignore":
        if windows is None:
            raise ValueError(
                "windows: expected the part of each image that is not padding, because "
                "border_anchors is 'ignore'; received None."
            )
        counted = ~crosses_border(anchors, windows)
    overlaps = anchor_overlaps(anchors, gt_class_ids, gt_boxes, counted)
    positive = overlaps.is_best | (overlaps.best_iou >= settings.positive_iou)
    negative = overlaps.best_iou < settings.negative_iou
    negative = negative & (overlaps.crowd_iou < settings.crowd_iou) & ~positive
    if counted is not None:
        negative = negative & counted

    count, half = settings.count, settings.count // 2
    batch = noise.shape[0]
    positive_limit = ops.full((batch,), half, dtype="int32")
    positive = sample_at_most(positive, noise, positive_limit, half)
    found = ops.sum(ops.cast(positive, "int32"), axis=1)
    negative = sample_at_most(negative, noise, count - found, count)
    match = ops.cast(positive, "int32") - ops.cast(negative, "int32")

    index, valid = first_true_indices(positive, count)
    flat = ops.reshape(index, (-1,))
    chosen = ops.reshape(ops.take(anchors, flat, axis=0), (batch, count, 4))
    assigned = ops.take_along_axis(overlaps.best_object, index, axis=1)
    targets = gather_rows(ops.cast(gt_boxes, anchors.dtype), assigned)
    deltas = box_ops.encode(chosen, targets) / _constant(settings.std_dev)
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
    settings: RoiTargetSettings = ROI_DEFAULTS,
    use_tf_kernels: bool = False,
    windows: Tensor | None = None,
) -> DetectionTargets:
    """Draw a balanced set of proposals and say what the heads should predict for them.

    At most P = `settings.positive_slots` positives are kept, and as many negatives as the
    ratio asks for: none for an image without positives, as in Matterport's package; or as many as
    there is room for (`settings.fill_up`).

    Args:
        proposals: [B, N, 4] normalized, or in pixels (`settings.pixel_boxes`), zero padded.
        gt_class_ids: [B, G] int.
        gt_boxes: [B, G, 4] in the unit of the proposals.
        gt_masks: [B, G, h, w], of the image, or of the box when `settings.mini_masks`; values
            of `BOX_ONLY_MASK` mark an object that has a box but no mask.
        noise: [B, N] in [0, 1), which decides what is drawn; [B, N + G] with
            `settings.ground_truth`.
        settings: how many RoIs, which of them are positive, and the form of the targets.
        use_tf_kernels: see `mrcnn.tensorflow_backend`.
        windows: [B, 4] in pixels, the part of each image that is not padding; needed for
            `settings.sampled_masks`.

    Returns:
        RoIs in the unit of the proposals, and their targets.
    """
    proposals = ops.cast(proposals, "float32")
    gt_class_ids = ops.cast(gt_class_ids, "int32")
    gt_boxes = ops.cast(gt_boxes, "float32")
    if settings.ground_truth:
        of_objects = ops.where((gt_class_ids > 0)[..., None], gt_boxes, 0.0)
        proposals = ops.concatenate([proposals, of_objects], axis=1)
    overlaps = box_ops.iou(proposals, gt_boxes)
    objects = ops.where((gt_class_ids > 0)[:, None, :], overlaps, 0.0)
    crowds = ops.where((gt_class_ids < 0)[:, None, :], overlaps, 0.0)

    drawn = _draw_rois(proposals, objects, crowds, noise, settings)

    # Only the first P slots can be positive: the rest has no object, box or mask.
    slots = settings.positive_slots
    rois, positive = drawn.rois[:, :slots], drawn.positive[:, :slots]
    assigned = _assign_objects(objects, drawn.row[:, :slots])
    boxes = gather_rows(gt_boxes, assigned)
    class_ids = ops.where(positive, ops.take_along_axis(gt_class_ids, assigned, axis=1), 0)

    deltas = box_ops.encode(rois, boxes) / _constant(settings.std_dev)
    deltas = ops.where(positive[..., None], deltas, 0.0)

    if settings.sampled_masks:
        frame = _mask_frame(gt_masks, boxes, settings.mini_masks, windows)
        masks = sampled_mask_targets(
            gt_masks, rois, assigned, frame, settings.mask_shape, settings.aligned
        )
        if settings.rounded_masks:
            masks = ops.cast(masks >= 0.5, "float32")
    else:
        crop_boxes = rois
        if settings.mini_masks:
            crop_boxes = _relative(rois, boxes)
        elif settings.pixel_boxes:
            crop_boxes = box_ops.normalize(rois, ops.shape(gt_masks)[2:])
        masks = _crop_masks(gt_masks, crop_boxes, assigned, settings.mask_shape, use_tf_kernels)
    has_mask = positive & ~_is_box_only(gt_masks, assigned)

    rest = settings.count - slots
    return DetectionTargets(
        rois=drawn.rois,
        class_ids=ops.pad(class_ids, ((0, 0), (0, rest))),
        deltas=ops.pad(deltas, ((0, 0), (0, rest), (0, 0))),
        masks=ops.where(has_mask[..., None, None], masks, 0.0),
        valid=drawn.valid,
        mask_class_ids=ops.where(has_mask, class_ids, 0),
    )


class _Drawn(NamedTuple):
    rois: Tensor  # [B, R, 4]: positives, then negatives, zero padded
    row: Tensor  # [B, R] int32, where each lies among the proposals
    positive: Tensor  # [B, R] bool
    valid: Tensor  # [B, R] bool, false for padding


def _draw_rois(
    proposals: Tensor, objects: Tensor, crowds: Tensor, noise: Tensor, settings: RoiTargetSettings
) -> _Drawn:
    """Draw positives, and negatives in proportion to them.

    Args:
        proposals: [B, N, 4].
        objects, crowds: [B, N, G], the IoU with each object and with each crowd.
        noise: [B, N].
        settings: see `detection_targets`.
    """
    count, slots = settings.count, settings.positive_slots
    real = ops.any(proposals != 0, axis=-1)
    best = ops.max(objects, axis=-1)
    positive = real & (best >= settings.positive_iou)
    negative = real & (best < settings.positive_iou)
    negative = negative & (ops.max(crowds, axis=-1) < settings.crowd_iou)

    positive_index, positive_found = _draw(positive, noise, slots)
    positives = ops.sum(ops.cast(positive_found, "int32"), axis=1)
    room = count - positives
    if settings.fill_up:
        negative_index, negative_found = _draw(negative, noise, count)
    else:
        # In float32, as Matterport's: 66 / 0.33 is 200 there.
        wanted = ops.cast(ops.cast(positives, "float32") * (1.0 / settings.positive_ratio), "int32")
        room = ops.minimum(wanted - positives, room)
        negative_index, negative_found = _draw(negative, noise, count - slots)
    negatives = ops.minimum(room, ops.sum(ops.cast(negative_found, "int32"), axis=1))

    # Close the gap between the drawn positives and the negatives.
    slot = ops.arange(count, dtype="int32")[None, :]
    is_positive = slot < positives[:, None]
    valid = slot < (positives + negatives)[:, None]
    source = ops.where(is_positive, slot, slot - positives[:, None] + slots)
    source = ops.where(valid, source, 0)
    drawn = ops.concatenate([positive_index, negative_index], axis=1)
    row = ops.take_along_axis(drawn, ops.minimum(source, drawn.shape[1] - 1), axis=1)
    rois = ops.where(valid[..., None], gather_rows(proposals, row), 0.0)
    return _Drawn(rois, row, is_positive, valid)


def _draw(mask: Tensor, noise: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Up to `count` true entries of each row in random order: (index, found) [B, count]."""
    limit = min(count, mask.shape[1])
    keys, index = ops.top_k(ops.where(mask, noise, -1.0), limit)
    missing = ((0, 0), (0, count - limit))
    index, found = ops.pad(ops.cast(index, "int32"), missing), ops.pad(keys >= 0, missing)
    return index, found


def _assign_objects(objects: Tensor, row: Tensor) -> Tensor:
    """The object that each drawn proposal overlaps most: from its `row` [B, P] to int32 [B, P]."""
    return ops.cast(ops.argmax(gather_rows(objects, row), axis=-1), "int32")


def _crop_masks(
    gt_masks: Tensor,
    boxes: Tensor,
    assigned: Tensor,
    mask_shape: tuple[int, int],
    use_tf_kernels: bool,
) -> Tensor:
    """Crop each RoI's box [B, P, 4] from the mask of its object: {0, 1} [B, P, *mask_shape]."""
    batch, instances = gt_masks.shape[:2]
    first = ops.arange(batch, dtype="int32")[:, None] * instances
    masks = crop_and_resize(
        ops.reshape(gt_masks, (batch * instances, *gt_masks.shape[2:], 1)),
        ops.reshape(boxes, (-1, 4)),
        ops.reshape(first + assigned, (-1,)),
        mask_shape,
        use_tf_kernels=use_tf_kernels,
    )
    return ops.reshape(ops.round(masks), (batch, assigned.shape[1], *mask_shape))


def _mask_frame(
    gt_masks: Tensor, boxes: Tensor, mini_masks: bool, windows: Tensor | None
) -> MaskFrame:
    """Where the pixels of each RoI's mask lie, its object's box being one of `boxes` [B, P, 4]."""
    if mini_masks:
        return MaskFrame(boxes[..., :2], boxes[..., 2:] - boxes[..., :2], None)
    if windows is None:
        raise ValueError(
            "windows: expected the part of each image that is not padding, because sampled masks "
            "are of the image's size; received None."
        )
    ends = ops.broadcast_to(ops.cast(windows, "float32")[:, None, :], ops.shape(boxes))
    height, width = (ops.cast(side, "float32") for side in ops.shape(gt_masks)[2:])
    side = ops.zeros_like(boxes[..., :2]) + ops.stack([height, width])
    return MaskFrame(ops.zeros_like(boxes[..., :2]), side, ends)


def _is_box_only(gt_masks: Tensor, assigned: Tensor) -> Tensor:
    """Whether each RoI's object has a box and no mask: bool [B, P]."""
    # Callers may send masks as bool, uint8 or float.
    box_only = ops.any(ops.cast(gt_masks, "float32") >= BOX_ONLY_MASK, axis=(2, 3))
    return ops.take_along_axis(box_only, assigned, axis=1)


def _relative(rois: Tensor, boxes: Tensor) -> Tensor:
    """RoIs [B, P, 4] in the frame of their boxes, where the box is (0, 0, 1, 1)."""
    y1, x1, y2, x2 = box_ops.split(boxes)
    height, width = y2 - y1, x2 - x1
    valid = (height > 0) & (width > 0)
    height = ops.where(valid, height, 1.0)
    width = ops.where(valid, width, 1.0)
    origin = ops.stack([y1, x1] * 2, axis=-1)
    size = ops.stack([height, width] * 2, axis=-1)
    return (rois - origin) / size


def _constant(values: Sequence[float] | np.ndarray) -> Tensor:
    return ops.convert_to_tensor(np.array(values, np.float32))
