"""Matterport's graph functions, as thin adapters on `mrcnn.ops` and `mrcnn.layers`.

For scripts that build or check parts of the network by hand. The network itself does not go
through here: its layers work on whole batches of static shape, where many of these functions
take one image, and return what Matterport's caller got.

They take tensors of the backend or NumPy arrays; `fpn_classifier_graph` and
`build_fpn_mask_graph`, which build layers, take Keras's symbolic tensors. `trim_zeros_graph` and
`batch_pack_graph` have results of dynamic size: XLA cannot compile them.

Shape letters: B images, A anchors, N boxes, K proposals, R RoIs, P positive slots,
G instances, C classes, D detections. Boxes are (y1, x1, y2, x2), normalized unless they are
said to be in pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from mrcnn import network
from mrcnn.config import Config
from mrcnn.layers.batch_norm import NormSettings
from mrcnn.layers.box_head import BoxHeadSettings, box_head_graph
from mrcnn.layers.detections import refine_detections
from mrcnn.layers.mask_head import MaskHeadSettings, mask_head_graph
from mrcnn.layers.molding import ImageArea
from mrcnn.layers.roi_features import RoiFeatureSettings
from mrcnn.matterport.layers import all_slots
from mrcnn.ops import anchors as anchor_ops
from mrcnn.ops import boxes as box_ops
from mrcnn.ops import edges, image_meta, losses
from mrcnn.ops import targets as ops_targets
from mrcnn.ops.edge_settings import EdgeSettings
from mrcnn.ops.indexing import select_class
from mrcnn.ops.target_settings import RoiTargetSettings
from mrcnn.ops.tensor import Tensor
from mrcnn.tensorflow_backend.compilation import tf_kernels_available

# --- Boxes ------------------------------------------------------------------------------------


def compute_backbone_shapes(config: Config, image_shape: Sequence[int]) -> np.ndarray:
    """(height, width) of each level of the feature pyramid: int [levels, 2].

    Args:
        config: for BACKBONE_STRIDES, or COMPUTE_BACKBONE_SHAPE where BACKBONE is a callable.
        image_shape: (height, width, …) in pixels.
    """
    if callable(config.BACKBONE) and config.COMPUTE_BACKBONE_SHAPE is not None:
        return config.COMPUTE_BACKBONE_SHAPE(image_shape)
    return anchor_ops.feature_shapes(image_shape, config.BACKBONE_STRIDES)


def apply_box_deltas_graph(boxes: Tensor, deltas: Tensor) -> Tensor:
    """Move boxes [N, 4] by deltas (dy, dx, log dh, log dw) [N, 4]: [N, 4]."""
    return box_ops.decode(boxes, deltas)


def clip_boxes_graph(boxes: Tensor, window: Tensor) -> Tensor:
    """Clip boxes [N, 4] to a window [4]: [N, 4]."""
    return box_ops.clip(boxes, window)


def overlaps_graph(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """IoU of all pairs of boxes [N, 4] and [M, 4]: [N, M]."""
    return box_ops.iou(boxes1, boxes2)


def norm_boxes_graph(boxes: Tensor, shape: Tensor) -> Tensor:
    """Pixel boxes [..., 4] in an image of `shape` (height, width) to normalized float32 ones."""
    return box_ops.normalize(boxes, shape)


def denorm_boxes_graph(boxes: Tensor, shape: Tensor) -> Tensor:
    """Normalized boxes [..., 4] to int32 pixel boxes in an image of `shape` (height, width)."""
    return box_ops.denormalize(boxes, shape)


# --- Small tools ------------------------------------------------------------------------------


def log2_graph(x: Tensor) -> Tensor:
    """Logarithm to base 2, elementwise."""
    return ops.log(x) / float(np.log(2.0))


def trim_zeros_graph(boxes: Tensor, name: str | None = "trim_zeros") -> tuple[Tensor, Tensor]:
    """Drop the rows that are all zero: padding.

    Args:
        boxes: [N, 4].
        name: named an operation of Matterport's graph; of no effect.

    Returns:
        (the other rows [M, 4] in order, which rows they are: bool [N]).
    """
    kept = ops.any(ops.not_equal(boxes, 0), axis=1)
    return ops.take(boxes, ops.nonzero(kept)[0], axis=0), kept


def batch_pack_graph(x: Tensor, counts: Tensor, num_rows: int) -> Tensor:
    """Join the first `counts[i]` entries of each of the first `num_rows` rows.

    Args:
        x: [B, N, ...].
        counts: [B] int.
        num_rows: at most B.

    Returns:
        [sum of counts[:num_rows], ...].
    """
    return ops.concatenate([x[row, : counts[row]] for row in range(num_rows)], axis=0)


def parse_image_meta_graph(meta: Tensor) -> dict[str, Tensor]:
    """Name the parts of image_meta [B, ·]; see `mrcnn.ops.image_meta.parse_image_meta`."""
    return image_meta.parse_image_meta(meta)


# --- One image --------------------------------------------------------------------------------


def detection_targets_graph(
    proposals: Tensor, gt_class_ids: Tensor, gt_boxes: Tensor, gt_masks: Tensor, config: Config
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw training RoIs of one image: `DetectionTargetLayer` without the batch axis.

    Returns:
        (rois [R, 4], class_ids int32 [R], deltas [R, 4], masks [R, *MASK_SHAPE]).
    """
    proposals = ops.cast(proposals, "float32")[None]
    targets = ops_targets.detection_targets(
        proposals,
        ops.cast(gt_class_ids, "int32")[None],
        ops.cast(gt_boxes, "float32")[None],
        ops.moveaxis(ops.cast(gt_masks, "float32"), -1, 0)[None],
        keras.random.uniform(proposals.shape[:2]),
        _matterport_settings(config),
        use_tf_kernels=tf_kernels_available(config.JIT_COMPILE),
    )
    rois, class_ids, deltas, masks = (tensor[0] for tensor in all_slots(targets))
    return rois, class_ids, deltas, masks


def _matterport_settings(config: Config) -> RoiTargetSettings:
    """Targets of Matterport's kind, whatever the architecture: boxes are normalized here."""
    return dataclasses.replace(
        network.roi_target_settings(config),
        ground_truth=False,
        fill_up=False,
        pixel_boxes=False,
        sampled_masks=False,
    )


def refine_detections_graph(
    rois: Tensor, probs: Tensor, deltas: Tensor, window: Tensor, config: Config
) -> Tensor:
    """Detections of one image: `DetectionLayer` without the batch axis.

    Args:
        rois: [R, 4].
        probs: [R, C].
        deltas: [R, C, 4].
        window: [4], the part of the image that is not padding.
        config: for the DETECTION_ settings and BBOX_STD_DEV.

    Returns:
        [D, 6]: y1, x1, y2, x2, class id, score; zero padded.
    """
    return refine_detections(
        ops.cast(rois, "float32")[None],
        ops.cast(probs, "float32")[None],
        ops.cast(deltas, "float32")[None],
        ops.cast(window, "float32")[None],
        network.detection_settings(config),
        use_tf_kernels=tf_kernels_available(config.JIT_COMPILE),
    )[0]


# --- Heads ------------------------------------------------------------------------------------


def fpn_classifier_graph(
    rois: Tensor,
    feature_maps: list[Tensor],
    image_meta: Tensor,
    pool_size: int,
    num_classes: int,
    train_bn: bool | None = True,
    fc_layers_size: int = 1024,
) -> tuple[Tensor, Tensor, Tensor]:
    """Build the class and box head; see `mrcnn.layers.box_head.box_head_graph`.

    Returns:
        (logits [B, R, C], probabilities [B, R, C], deltas [B, R, C, 4]).
    """
    settings = BoxHeadSettings(
        num_classes,
        RoiFeatureSettings(pool_size),
        NormSettings(train_bn),
        fc_layers_size=fc_layers_size,
    )
    return box_head_graph(rois, feature_maps, ImageArea()(image_meta), settings)


def build_fpn_mask_graph(
    rois: Tensor,
    feature_maps: list[Tensor],
    image_meta: Tensor,
    pool_size: int,
    num_classes: int,
    train_bn: bool | None = True,
    mask_shape: Sequence[int] | None = None,
) -> Tensor:
    """Build the mask head; see `mrcnn.layers.mask_head.mask_head_graph`.

    Args:
        rois, feature_maps, image_meta, pool_size, num_classes, train_bn: as there.
        mask_shape: None: twice `pool_size`, (28, 28) for 14.

    Returns:
        Mask probabilities [B, R, *mask_shape, C].
    """
    if mask_shape is None:
        mask_shape = (2 * pool_size, 2 * pool_size)
    settings = MaskHeadSettings(
        num_classes,
        RoiFeatureSettings(pool_size),
        NormSettings(train_bn),
        mask_shape=tuple(mask_shape),
    )
    return mask_head_graph(rois, feature_maps, ImageArea()(image_meta), settings)


# --- Losses -----------------------------------------------------------------------------------


def smooth_l1_loss(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Smooth L1 distance, elementwise."""
    return losses.smooth_l1(y_true, y_pred)


def rpn_class_loss_graph(rpn_match: Tensor, rpn_class_logits: Tensor) -> Tensor:
    """Cross entropy of the anchors that are not neutral.

    Args:
        rpn_match: int [B, A, 1] or [B, A]: 1 positive, -1 negative, 0 neutral.
        rpn_class_logits: [B, A, 2].
    """
    return losses.rpn_class_loss(_match(rpn_match), rpn_class_logits)


def rpn_bbox_loss_graph(
    config: Config | None, target_bbox: Tensor, rpn_match: Tensor, rpn_bbox: Tensor
) -> Tensor:
    """Smooth L1 of the positive anchors' deltas.

    Args:
        config: gave Matterport's function the batch size; of no effect.
        target_bbox: [B, positives at most, 4], zero padded.
        rpn_match: int [B, A, 1] or [B, A].
        rpn_bbox: [B, A, 4].
    """
    return losses.rpn_bbox_loss(target_bbox, _match(rpn_match), rpn_bbox)


def _match(rpn_match: Tensor) -> Tensor:
    return rpn_match[..., 0] if len(rpn_match.shape) == 3 else rpn_match


def mrcnn_class_loss_graph(
    target_class_ids: Tensor, pred_class_logits: Tensor, active_class_ids: Tensor
) -> Tensor:
    """Cross entropy of the RoIs whose predicted class exists in the image's data set.

    Matterport took the flags of image 0 for the whole batch; here, each image has its own.
    Zero-padded RoIs count, as in Matterport's: the arguments do not tell them from negatives.

    Args:
        target_class_ids: int [B, R].
        pred_class_logits: [B, R, C].
        active_class_ids: [B, C].
    """
    return losses.mrcnn_class_loss(target_class_ids, pred_class_logits, active_class_ids)


def mrcnn_bbox_loss_graph(
    target_bbox: Tensor, target_class_ids: Tensor, pred_bbox: Tensor
) -> Tensor:
    """Smooth L1 of the positive RoIs, for the deltas of their true class.

    Args:
        target_bbox: [B, R, 4].
        target_class_ids: int [B, R].
        pred_bbox: [B, R, C, 4].
    """
    return losses.mrcnn_bbox_loss(target_bbox, target_class_ids, pred_bbox)


def mrcnn_mask_loss_graph(
    target_masks: Tensor, target_class_ids: Tensor, pred_masks: Tensor
) -> Tensor:
    """Binary cross entropy of the positive RoIs, for the mask of their true class.

    Args:
        target_masks: [B, R, h, w] in {0, 1}.
        target_class_ids: int [B, R].
        pred_masks: [B, R, h, w, C].
    """
    own = select_class(ops.convert_to_tensor(pred_masks), target_class_ids, axis=4)
    return losses.mrcnn_mask_loss(target_masks, target_class_ids, own)


def mrcnn_mask_edge_loss_graph(
    y_pred: Tensor,
    y_true: Tensor,
    edge_filters: str | Sequence[str],
    smoothing_predictions: bool,
    smoothing_gt: bool,
    norm: str | float,
    weight_entropy: bool | str,
    weight_factor: float,
) -> Tensor:
    """The edge agreement loss of positive RoIs; 0 when there is none.

    "sobel-x" and "sobel-y" mean what they mean in the paper; the published code had them
    swapped, which makes no difference when both are used.

    Args:
        y_pred: [P, h, w], probabilities of each RoI's true class.
        y_true: [P, h, w], in {0, 1}.
        edge_filters, smoothing_predictions, smoothing_gt, norm, weight_entropy, weight_factor:
            see `mrcnn.ops.edge_settings.EdgeSettings`.
    """
    settings = EdgeSettings(
        filters=edge_filters,
        norm=norm,
        weight_factor=weight_factor,
        smoothing_gt=smoothing_gt,
        smoothing_predictions=smoothing_predictions,
        weight_entropy=weight_entropy,
    )
    valid = ops.ones(ops.shape(y_pred)[:1], dtype="bool")
    return edges.edge_agreement(y_pred, y_true, valid, settings)
