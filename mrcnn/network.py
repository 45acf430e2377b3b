"""Mask R-CNN, put together.

Two graphs on one trunk and the same heads: `build_training` ends in losses,
`build_inference` in detections. Here, and only here, the configuration is unpacked
into the plain arguments of the layers.

Shapes: B images, H x W pixels, A anchors, K proposals, R training RoIs an image of
which the first P can be positive, G ground-truth slots, C classes, D detections.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras

from mrcnn import batch, precision
from mrcnn.config import LOSS_NAMES, Config
from mrcnn.layers.anchors import Anchors
from mrcnn.layers.batch_norm import NormSettings
from mrcnn.layers.box_head import BoxHeadSettings, box_head_graph
from mrcnn.layers.class_detections import ClassDetections, ClassDetectionSettings
from mrcnn.layers.classifier import Accuracy, classifier_graph
from mrcnn.layers.detection_slots import (
    CompactDetections,
    CountUsedSlots,
    PadDetections,
    UsedSlots,
)
from mrcnn.layers.detections import Detections, DetectionSettings
from mrcnn.layers.edge_agreement import EdgeAgreementHead
from mrcnn.layers.fpn import fpn_graph
from mrcnn.layers.gradnorm import GradNormWeighting
from mrcnn.layers.level_proposals import LevelProposals, LevelProposalSettings
from mrcnn.layers.losses import LossLayer, UncertaintyWeighting
from mrcnn.layers.mask_head import MaskHeadSettings, mask_head_graph
from mrcnn.layers.molding import ImageArea, MoldImage, NormalizeBoxes
from mrcnn.layers.proposals import Proposals
from mrcnn.layers.resnet import ResNetStyle, resnet_graph
from mrcnn.layers.roi_features import RoiFeatureSettings
from mrcnn.layers.rpn import build_rpn_model, rpn_over_pyramid
from mrcnn.layers.targets import RoiTargets, RpnTargets
from mrcnn.ops.edge_settings import EdgeSettings
from mrcnn.ops.image_meta import parse_image_meta
from mrcnn.ops.target_settings import RoiTargetSettings, RpnTargetSettings
from mrcnn.ops.tensor import Tensor
from mrcnn.tensorflow_backend import replicas
from mrcnn.tensorflow_backend.compilation import tf_kernels_available

INFERENCE_OUTPUTS = (
    *("detections", "mrcnn_class", "mrcnn_bbox", "mrcnn_mask"),
    *("rpn_rois", "rpn_class", "rpn_bbox"),
)


class Trunk(NamedTuple):
    """What both graphs share: features and the RPN's answers."""

    feature_maps: list[Tensor]  # P2 … P5, [B, H/4, W/4, ·] … [B, H/32, W/32, ·]
    rpn_class_logits: Tensor  # [B, A, 2], or [B, A, 1]: that of an object alone
    rpn_class: Tensor  # [B, A, 2]
    rpn_bbox: Tensor  # [B, A, 4]
    # Of each level, [B, A_l, ·]: logits and deltas.
    level_logits: list[Tensor]
    level_deltas: list[Tensor]


def norm_settings(config: Config) -> NormSettings:
    """The normalizations of the configuration's network."""
    architecture = config.architecture()
    return NormSettings(
        config.TRAIN_BN,
        architecture.norm_epsilon,
        architecture.norm_momentum,
        architecture.conv_bias,
    )


def roi_feature_settings(pool_size: int, config: Config) -> RoiFeatureSettings:
    """How a head reads its RoIs, `pool_size` cells wide and high."""
    architecture = config.architecture()
    return RoiFeatureSettings(
        pool_size,
        config.ROI_POOLING,
        _use_tf_kernels(config),
        samples=architecture.roi_samples,
        aligned=architecture.roi_aligned,
    )


def build_backbone(image: Tensor, config: Config) -> list[Tensor | None]:
    """C1 … C5 of molded images [B, H, W, channels], with the strides 2 … 32."""
    if callable(config.BACKBONE):
        return config.BACKBONE(image, stage5=True, train_bn=config.TRAIN_BN)
    architecture = config.architecture()
    style = ResNetStyle(
        architecture.stride_in_3x3, architecture.symmetric_padding, norm_settings(config)
    )
    return resnet_graph(image, config.BACKBONE, stage5=True, train_bn=config.TRAIN_BN, style=style)


def build_trunk(image: Tensor, config: Config) -> Trunk:
    """Backbone, feature pyramid and RPN on molded images [B, H, W, channels]."""
    architecture = config.architecture()
    stages = build_backbone(image, config)
    norm = norm_settings(config) if architecture.pyramid_norm else None
    pyramid = fpn_graph(stages[1:], config.TOP_DOWN_PYRAMID_SIZE, norm)
    rpn_model = build_rpn_model(
        config.RPN_ANCHOR_STRIDE,
        len(config.RPN_ANCHOR_RATIOS),
        config.TOP_DOWN_PYRAMID_SIZE,
        config.RPN_CONV_FILTERS,
        architecture.rpn_convolutions,
        architecture.rpn_logits,
    )
    # Matterport's has anchors on the first levels only where there are fewer scales than levels.
    levels = pyramid[: len(config.RPN_ANCHOR_SCALES)]
    answers = rpn_over_pyramid(rpn_model, levels)
    logits, probabilities, deltas = answers.joined
    return Trunk(pyramid[:4], logits, probabilities, deltas, answers.logits, answers.deltas)


def anchors_layer(config: Config, **kwargs: Any) -> Anchors:
    """The layer that makes the anchors of an image shape."""
    return Anchors(
        config.RPN_ANCHOR_SCALES,
        config.RPN_ANCHOR_RATIOS,
        config.BACKBONE_STRIDES[: len(config.RPN_ANCHOR_SCALES)],
        config.RPN_ANCHOR_STRIDE,
        rounded=config.architecture().rounded_anchors,
        steps_from_cells=config.architecture().anchor_steps_from_cells,
        **kwargs,
    )


def build_proposals(
    trunk: Trunk, anchors: Tensor, config: Config, meta: Tensor, training: bool = False
) -> Tensor:
    """The RPN's best boxes, POST_NMS_ROIS_TRAINING or _INFERENCE of them: [B, ·, 4] normalized.

    Architectures with proposals of each level read the window in image_meta.
    """
    architecture = config.architecture()
    count, limit = config.POST_NMS_ROIS_INFERENCE, config.PRE_NMS_LIMIT
    if training:
        count, limit = config.POST_NMS_ROIS_TRAINING, config.PRE_NMS_LIMIT_TRAINING or limit
    if architecture.proposals_per_level:
        settings = LevelProposalSettings(
            count,
            config.RPN_NMS_THRESHOLD,
            limit,
            config.RPN_BBOX_STD_DEV,
            architecture.largest_log_growth,
            architecture.least_proposal_side,
        )
        return LevelProposals(
            **dataclasses.asdict(settings),
            whole_anchors=architecture.rounded_anchors,
            use_tf_kernels=_use_tf_kernels(config),
            name="ROI",
        )([anchors, meta, *trunk.level_logits, *trunk.level_deltas])
    return Proposals(
        count,
        config.RPN_NMS_THRESHOLD,
        pre_nms_limit=limit,
        std_dev=config.RPN_BBOX_STD_DEV,
        use_tf_kernels=_use_tf_kernels(config),
        name="ROI",
    )([trunk.rpn_class, trunk.rpn_bbox, anchors])


def build_box_head(
    rois: Tensor, trunk: Trunk, image_area: Tensor, config: Config, valid: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Class logits, class probabilities [B, R, C] and deltas [B, R, C, 4] of RoIs.

    Given which RoIs are `valid`, as in training, the head need not run on those at the end that
    are not, whose outputs are of no account then; see `_runs_on_used_slots`.
    """
    architecture = config.architecture()
    settings = BoxHeadSettings(
        config.NUM_CLASSES,
        roi_feature_settings(config.POOL_SIZE, config),
        norm_settings(config),
        convolutions=architecture.box_convolutions,
        convolution_filters=config.TOP_DOWN_PYRAMID_SIZE,
        convolution_norm=architecture.box_convolution_norm,
        fc_layers=architecture.box_dense_layers,
        fc_layers_size=config.FPN_CLASSIF_FC_LAYERS_SIZE,
        fc_norm=architecture.box_dense_norm,
    )
    if valid is None or not _runs_on_used_slots(config):
        return box_head_graph(rois, trunk.feature_maps, image_area, settings)
    if not _use_tf_kernels(config):
        used = CountUsedSlots(name="used_rois")(valid)
        return box_head_graph(rois, trunk.feature_maps, image_area, settings, used)
    slots = rois.shape[1]
    _, rois = UsedSlots(name="used_rois")([valid, rois])
    logits, probabilities, deltas = (
        PadDetections(slots)(rows)
        for rows in box_head_graph(rois, trunk.feature_maps, image_area, settings)
    )
    return logits, probabilities, deltas


def build_mask_head(
    rois: Tensor, trunk: Trunk, image_area: Tensor, config: Config, class_ids: Tensor | None = None
) -> Tensor:
    """Mask probabilities of RoIs: [B, R, *MASK_SHAPE, C], or of their own class, without C.

    Given class ids, as in training, those without a class count as not `valid` in
    `build_box_head`, and the architecture may ask for logits in place of probabilities.
    """
    architecture = config.architecture()
    settings = MaskHeadSettings(
        config.NUM_CLASSES,
        roi_feature_settings(config.MASK_POOL_SIZE, config),
        norm_settings(config),
        normalized=architecture.mask_norm,
        mask_shape=tuple(config.MASK_SHAPE),
        filters=config.MASK_CONV_FILTERS,
        logits=class_ids is not None and architecture.mask_loss_of_logits,
    )
    if class_ids is None or not _runs_on_used_slots(config):
        return mask_head_graph(rois, trunk.feature_maps, image_area, settings, class_ids)
    if not _use_tf_kernels(config):
        used = CountUsedSlots(name="used_mask_rois")(class_ids > 0)
        return mask_head_graph(rois, trunk.feature_maps, image_area, settings, class_ids, used)
    slots = rois.shape[1]
    _, rois, class_ids = UsedSlots(name="used_mask_rois")([class_ids > 0, rois, class_ids])
    masks = mask_head_graph(rois, trunk.feature_maps, image_area, settings, class_ids)
    return PadDetections(slots)(masks)


def _runs_on_used_slots(config: Config) -> bool:
    """Whether the heads of a training step leave out slots that no image of the batch uses.

    Heads that learn batch statistics would learn others.
    """
    return config.TRAIN_BN is False


def build_training(config: Config, model_class: type[keras.Model] = keras.Model) -> keras.Model:
    """The graph from a batch of the loader to the losses.

    Args:
        config: settings.
        model_class: `keras.Model` or a subclass; see `mrcnn.training.model`.

    Returns:
        A model whose inputs are those of `mrcnn.data.loader` and whose outputs are the
        weighted losses by name, and the class probabilities. With IMAGE_SHAPE_GROUPS it
        takes batches of any of `config.INPUT_SHAPES`, and is traced for each.
    """
    with _dtype_policy(config):
        return _build_training(config, model_class)


def _build_training(config: Config, model_class: type[keras.Model]) -> keras.Model:
    height, width, channels = (int(side) for side in config.IMAGE_SHAPE)
    size = (None, None) if config.INPUT_SHAPES else (height, width)
    masks = config.MINI_MASK_SHAPE if config.USE_MINI_MASK else size
    instances = config.MAX_GT_INSTANCES

    def batch_input(name: str, shape: tuple[int | None, ...], dtype: str) -> Tensor:
        return keras.Input(batch_shape=(_images(config), *shape), dtype=dtype, name=name)

    # The host sends bytes, or float32 where the images' values ask for it; both are cast here.
    image = batch_input(batch.IMAGE, (*size, channels), "float32")
    meta = batch_input(batch.IMAGE_META, (config.IMAGE_META_SIZE,), "float32")
    gt_class_ids = batch_input(batch.GT_CLASS_IDS, (instances,), "int32")
    gt_boxes = batch_input(batch.GT_BOXES, (instances, 4), "int32")
    gt_masks = batch_input(batch.GT_MASKS, (instances, *masks), "uint8")
    inputs = [image, meta, gt_class_ids, gt_boxes, gt_masks]

    trunk = build_trunk(mold_layer(config, name="molded_image")(image), config)

    # First stage. Pixel boxes: Matterport labels anchors in pixels (see rpn_targets).
    pixel_anchors = anchors_layer(config, pixels=True, name="pixel_anchors")(image)
    of_rpn = [pixel_anchors, gt_class_ids, gt_boxes]
    if config.RPN_BORDER_ANCHORS == "ignore":
        of_rpn.append(parse_image_meta(meta)["window"])
    rpn_match, rpn_deltas = RpnTargets(
        rpn_target_settings(config), seed=config.SEED, name="rpn_targets"
    )(of_rpn)
    # Matterport's graph is given these targets; scripts ask it for them by the inputs' names.
    rpn_match = keras.layers.Reshape((-1, 1), name="input_rpn_match")(rpn_match)[..., 0]
    rpn_deltas = keras.layers.Identity(name="input_rpn_bbox")(rpn_deltas)

    normalized_boxes = NormalizeBoxes(name="normalized_gt_boxes")([gt_boxes, image])
    if config.USE_RPN_ROIS:
        anchors = anchors_layer(config, name="anchors")(image)
        rois = build_proposals(trunk, anchors, config, meta, training=True)
    else:
        given = batch_input(batch.ROIS, (config.POST_NMS_ROIS_TRAINING, 4), "int32")
        inputs.append(given)
        rois = NormalizeBoxes(name="ROI")([given, image])

    architecture = config.architecture()
    of_rois = [rois, gt_class_ids, normalized_boxes, gt_masks]
    if architecture.pixel_boxes:
        of_rois = [rois, gt_class_ids, gt_boxes, gt_masks, meta]
    # Second stage: the box head on R slots, the mask head on the P that can be positive.
    targets = RoiTargets(
        roi_target_settings(config),
        use_tf_kernels=_use_tf_kernels(config),
        seed=config.SEED + 1,
        name="proposal_targets",
    )(of_rois)
    image_area = ImageArea(name="image_area")(meta)
    slots = config.POSITIVE_ROIS_PER_IMAGE
    target_rois = keras.layers.Identity(name="output_rois")(targets.rois)  # as Matterport's
    class_logits, probabilities, deltas = build_box_head(
        target_rois, trunk, image_area, config, targets.valid
    )
    # The masks of the true class alone, for the mask loss and the edge head.
    own_masks = mask_answers = build_mask_head(
        target_rois[:, :slots], trunk, image_area, config, targets.mask_class_ids
    )
    if architecture.mask_loss_of_logits:
        sigmoid = keras.layers.Activation("sigmoid", dtype="float32", name="own_masks")
        own_masks = sigmoid(mask_answers)

    arguments = {
        "rpn_class_loss": [rpn_match, trunk.rpn_class_logits],
        "rpn_bbox_loss": [rpn_deltas, rpn_match, trunk.rpn_bbox],
        "mrcnn_class_loss": [
            targets.class_ids,
            class_logits,
            parse_image_meta(meta)["active_class_ids"],
            targets.valid,
        ],
        "mrcnn_bbox_loss": [targets.deltas, targets.class_ids, deltas],
        "mrcnn_mask_loss": [targets.masks, targets.mask_class_ids, mask_answers],
    }
    if architecture.box_losses_over_all:
        arguments["mrcnn_bbox_loss"].append(targets.valid)
    options = _loss_options(config)
    # Not used by any loss, but scripts ask the graph for this layer.
    outputs = {"mrcnn_class": probabilities}
    outputs |= {
        name: LossLayer(name, _loss_weight(name, config), options.get(name))(values)
        for name, values in arguments.items()
    }
    edge_settings = config.edge_settings()
    if edge_settings is not None:
        outputs["mrcnn_mask_edge_loss"] = build_edge_head(edge_settings, config)(
            [own_masks, targets.masks, targets.mask_class_ids]
        )
    losses = [outputs[name] for name in LOSS_NAMES if name in outputs]
    if config.UNCERTAINTY_WEIGHTING:
        outputs["loss_weights"] = UncertaintyWeighting(name="mrcnn_loss_weights")(losses)
    elif config.GRADNORM_ALPHA is not None:
        outputs["loss_weights"] = GradNormWeighting(
            config.GRADNORM_ALPHA, config.GRADNORM_RATE, name="mrcnn_loss_weights"
        )(losses)
    return model_class(
        inputs={tensor.name: tensor for tensor in inputs},
        outputs=outputs,
        name="mask_rcnn",
    )


def _loss_options(config: Config) -> dict[str, dict[str, Any]]:
    """Further arguments of the functions in `mrcnn.ops.losses`, by the losses' names."""
    architecture = config.architecture()
    beta = {"beta": architecture.smooth_l1_beta}
    by = {}
    if architecture.rpn_losses_by_limit:
        by = {"by": _images(config) * config.RPN_TRAIN_ANCHORS_PER_IMAGE}
    return {
        "rpn_class_loss": by,
        "rpn_bbox_loss": {**beta, "over_all": architecture.box_losses_over_all, **by},
        "mrcnn_bbox_loss": beta,
        "mrcnn_mask_loss": {"of_logits": architecture.mask_loss_of_logits},
    }


def build_classifier(config: Config, model_class: type[keras.Model] = keras.Model) -> keras.Model:
    """The graph that pretrains the backbone: which object an image shows, or that it shows none.

    Args:
        config: settings.
        model_class: `keras.Model` or a subclass.

    Returns:
        A model of a batch's images, metas and class ids, of which the first of each image counts;
        0: no object. Its outputs are the class head's loss and the accuracy.
    """
    with _dtype_policy(config):
        shapes = {
            batch.IMAGE: (tuple(int(side) for side in config.IMAGE_SHAPE), "float32"),
            batch.IMAGE_META: ((config.IMAGE_META_SIZE,), "float32"),
            batch.GT_CLASS_IDS: ((config.MAX_GT_INSTANCES,), "int32"),
        }
        inputs = {
            name: keras.Input(batch_shape=(_images(config), *shape), dtype=dtype, name=name)
            for name, (shape, dtype) in shapes.items()
        }
        molded = mold_layer(config, name="molded_image")(inputs[batch.IMAGE])
        c5 = build_backbone(molded, config)[-1]
        logits = classifier_graph(c5, config.NUM_CLASSES, config.FPN_CLASSIF_FC_LAYERS_SIZE)
        labels = inputs[batch.GT_CLASS_IDS][:, :1]
        active = parse_image_meta(inputs[batch.IMAGE_META])["active_class_ids"]
        name = "mrcnn_class_loss"
        outputs = {
            name: LossLayer(name, _loss_weight(name, config))([labels, logits, active]),
            "accuracy": Accuracy(name="accuracy")([labels, logits]),
        }
        return model_class(inputs=inputs, outputs=outputs, name="backbone_classifier")


def rpn_target_settings(config: Config) -> RpnTargetSettings:
    """How the configuration's targets of the RPN are computed."""
    return RpnTargetSettings(
        count=config.RPN_TRAIN_ANCHORS_PER_IMAGE,
        std_dev=config.RPN_BBOX_STD_DEV,
        positive_iou=config.RPN_POSITIVE_IOU,
        negative_iou=config.RPN_NEGATIVE_IOU,
        crowd_iou=config.CROWD_IOU,
        border_anchors=config.RPN_BORDER_ANCHORS,
    )


def roi_target_settings(config: Config) -> RoiTargetSettings:
    """How the configuration's targets of the second stage are computed."""
    architecture = config.architecture()
    return RoiTargetSettings(
        count=config.TRAIN_ROIS_PER_IMAGE,
        positive_ratio=config.ROI_POSITIVE_RATIO,
        std_dev=config.BBOX_STD_DEV,
        mask_shape=config.MASK_SHAPE,
        mini_masks=config.USE_MINI_MASK,
        positive_iou=config.ROI_POSITIVE_IOU,
        crowd_iou=config.CROWD_IOU,
        ground_truth=architecture.ground_truth_rois,
        fill_up=architecture.negatives_fill_up,
        pixel_boxes=architecture.pixel_boxes,
        sampled_masks=architecture.sampled_mask_targets,
        aligned=architecture.roi_aligned,
        rounded_masks=architecture.rounded_mask_targets,
    )


def detection_settings(config: Config) -> DetectionSettings:
    """Which RoIs become detections, as the configuration says."""
    return DetectionSettings(
        config.DETECTION_MAX_INSTANCES,
        config.DETECTION_MIN_CONFIDENCE,
        config.DETECTION_NMS_THRESHOLD,
        config.BBOX_STD_DEV,
    )


def build_detections(
    rois: Tensor, probabilities: Tensor, deltas: Tensor, meta: Tensor, config: Config
) -> Tensor:
    """The detections among classified RoIs: [B, DETECTION_MAX_INSTANCES, 6] normalized."""
    architecture = config.architecture()
    inputs = [rois, probabilities, deltas, meta]
    use_tf_kernels, name = _use_tf_kernels(config), "mrcnn_detection"
    plain = detection_settings(config)
    if architecture.box_votes == "every class":
        settings = ClassDetectionSettings(
            **dataclasses.asdict(plain),
            largest_log_growth=architecture.largest_log_growth,
            least_side=architecture.least_detection_side,
        )
        return ClassDetections(
            **dataclasses.asdict(settings), use_tf_kernels=use_tf_kernels, name=name
        )(inputs)
    return Detections(**dataclasses.asdict(plain), use_tf_kernels=use_tf_kernels, name=name)(inputs)


def mold_layer(config: Config, **kwargs: Any) -> MoldImage:
    """The layer from images in the units of MEAN_PIXEL to what the backbone takes."""
    return MoldImage(config.MEAN_PIXEL, config.STD_PIXEL, **kwargs)


def build_edge_head(settings: EdgeSettings, config: Config) -> EdgeAgreementHead:
    """The Edge Agreement Head (arXiv 1809.07069, section 4) with its weight among the losses."""
    name = "mrcnn_mask_edge_loss"
    return EdgeAgreementHead(settings, _loss_weight(name, config), name=name)


def build_inference(config: Config, model_class: type[keras.Model] = keras.Model) -> keras.Model:
    """The graph from molded images to detections, for any image and batch size.

    Args:
        config: settings.
        model_class: `keras.Model` or a subclass.

    Inputs: molded images [B, H, W, channels], image_meta [B, ·] and normalized anchors
    [B, A, 4]. Outputs: `INFERENCE_OUTPUTS`.
    """
    with _dtype_policy(config):
        return _build_inference(config, model_class)


def _build_inference(config: Config, model_class: type[keras.Model]) -> keras.Model:
    image = keras.Input((None, None, config.IMAGE_CHANNEL_COUNT), name=batch.IMAGE)
    meta = keras.Input((config.IMAGE_META_SIZE,), name=batch.IMAGE_META)
    anchors = keras.Input((None, 4), name="input_anchors")

    trunk = build_trunk(image, config)
    rois = build_proposals(trunk, anchors, config, meta)
    image_area = ImageArea(name="image_area")(meta)
    _, probabilities, deltas = build_box_head(rois, trunk, image_area, config)
    detections = build_detections(rois, probabilities, deltas, meta, config)
    if _use_tf_kernels(config):
        found = CompactDetections()(detections)
        masks = build_mask_head(found, trunk, image_area, config)
        masks = PadDetections(config.DETECTION_MAX_INSTANCES)(masks)
    else:
        masks = build_mask_head(detections[..., :4], trunk, image_area, config)
    outputs = [detections, probabilities, deltas, masks, rois, trunk.rpn_class, trunk.rpn_bbox]
    return model_class([image, meta, anchors], outputs, name="mask_rcnn")


@contextlib.contextmanager
def _dtype_policy(config: Config) -> Iterator[None]:
    """Let layers that are made inside compute as MIXED_PRECISION says."""
    before = keras.config.dtype_policy()
    dtype = precision.resolve(config.MIXED_PRECISION, config.JIT_COMPILE)
    if dtype is not None:
        keras.config.set_dtype_policy(f"mixed_{dtype}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _images(config: Config) -> int:
    """The images of a step in a training graph: all, or a replica's part."""
    return config.BATCH_SIZE // replicas.count()


def _loss_weight(name: str, config: Config) -> float:
    return config.LOSS_WEIGHTS.get(name, 1.0)


def _use_tf_kernels(config: Config) -> bool:
    return tf_kernels_available(config.JIT_COMPILE)
