"""Matterport's layer classes, made from a `Config`: thin adapters on `mrcnn.layers`.

For scripts that put the network together themselves. Our own network unpacks its settings into
the layers of `mrcnn.layers` instead (`mrcnn.network`).

Shape letters: B images, A anchors, N boxes, K proposals, R RoIs, G instances, C classes,
D detections. Boxes are (y1, x1, y2, x2), normalized.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from mrcnn import network
from mrcnn.config import Config
from mrcnn.layers.detections import Detections
from mrcnn.layers.flat_config import take_settings
from mrcnn.layers.kernel_choice import KernelChoiceLayer, with_current_names
from mrcnn.layers.proposals import Proposals
from mrcnn.layers.roi_align import RoiAlignFromMeta
from mrcnn.layers.targets import RoiTargets
from mrcnn.ops import targets as ops_targets
from mrcnn.ops.target_settings import RoiTargetSettings
from mrcnn.ops.tensor import Tensor
from mrcnn.tensorflow_backend.compilation import tf_kernels_available


class _FromConfig(KernelChoiceLayer):
    """Mixin of the layers that Matterport makes from a configuration.

    A model whose inputs leave the batch size open gets IMAGES_PER_GPU, as in Matterport's package.
    """

    def __init__(self, *args: Any, batch_size: int | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.batch_size = batch_size
        self.supports_jit = not self.use_tf_kernels  # so that Keras does not compile these with XLA

    def call(self, inputs: list[Tensor]) -> Any:
        return super().call([self._of_known_batch(tensor) for tensor in inputs])

    def _of_known_batch(self, tensor: Tensor) -> Tensor:
        if tensor.shape[0] is not None or self.batch_size is None:
            return tensor
        return ops.reshape(tensor, (self.batch_size, *ops.shape(tensor)[1:]))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "batch_size": self.batch_size}


def _settings(config: Config | None, **settings: str) -> dict[str, Any]:
    """Keywords of a layer, each from the setting that it names; none without a config."""
    if config is None:
        return {}
    return {
        "use_tf_kernels": tf_kernels_available(config.JIT_COMPILE),
        "batch_size": config.IMAGES_PER_GPU,
        **{keyword: getattr(config, setting) for keyword, setting in settings.items()},
    }


@keras.saving.register_keras_serializable(package="mrcnn")
class ProposalLayer(_FromConfig, Proposals):
    """[rpn_probs [B, A, 2], rpn_bbox [B, A, 4], anchors [B, A, 4]] -> proposals [B, K, 4].

    Args:
        proposal_count: K.
        nms_threshold: IoU above which the weaker proposal is dropped.
        config: for PRE_NMS_LIMIT and RPN_BBOX_STD_DEV; None: Matterport's defaults.
    """

    def __init__(
        self,
        proposal_count: int,
        nms_threshold: float,
        config: Config | None = None,
        **kwargs: Any,
    ) -> None:
        settings = _settings(config, pre_nms_limit="PRE_NMS_LIMIT", std_dev="RPN_BBOX_STD_DEV")
        super().__init__(proposal_count, nms_threshold, **{**settings, **kwargs})
        self.proposal_count = proposal_count
        self.nms_threshold = nms_threshold


@keras.saving.register_keras_serializable(package="mrcnn")
class PyramidROIAlign(RoiAlignFromMeta):
    """[boxes [B, N, 4], image_meta [B, ·], P2, P3, P4, P5] -> [B, N, height, width, channels].

    Args:
        pool_shape: (height, width) of the crops.
    """


@keras.saving.register_keras_serializable(package="mrcnn")
class DetectionTargetLayer(_FromConfig, RoiTargets):
    """[proposals, gt_class_ids, gt_boxes, gt_masks] -> [rois, class ids, deltas, masks].

    Inputs: [B, N, 4] normalized and zero padded; int [B, G], zero padded; [B, G, 4] normalized;
    [B, H, W, G], of the image or of its boxes (USE_MINI_MASK).
    Outputs: [B, R, 4]; int32 [B, R]; [B, R, 4]; [B, R, *MASK_SHAPE]: positives first, then
    negatives, zero padded. Each call draws anew.
    """

    def __init__(self, config: Config | None, **kwargs: Any) -> None:
        if config is not None:
            settings = network.roi_target_settings(config)
            kwargs = {"settings": settings, **_settings(config), **kwargs}
        super().__init__(**kwargs)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DetectionTargetLayer:
        settings, others = take_settings(RoiTargetSettings, with_current_names(config))
        return cls(None, settings=settings, **others)

    def call(self, inputs: list[Tensor]) -> list[Tensor]:
        *boxes, gt_masks = inputs
        return all_slots(super().call([*boxes, ops.moveaxis(gt_masks, -1, 1)]))

    def compute_output_spec(self, inputs: list[Tensor]) -> list[Any]:
        specs = super().compute_output_spec(inputs)
        masks = (inputs[0].shape[0], self.settings.count, *self.settings.mask_shape)
        return [*specs[:3], keras.KerasTensor(masks, dtype="float32")]

    def compute_mask(self, inputs: Any, mask: Any = None) -> list[None]:
        return [None, None, None, None]


def all_slots(targets: ops_targets.DetectionTargets) -> list[Tensor]:
    """Matterport's four tensors, masks padded from the P positive slots to all R."""
    missing = targets.rois.shape[1] - targets.masks.shape[1]
    masks = ops.pad(targets.masks, ((0, 0), (0, missing), (0, 0), (0, 0)))
    return [targets.rois, targets.class_ids, targets.deltas, masks]


@keras.saving.register_keras_serializable(package="mrcnn")
class DetectionLayer(_FromConfig, Detections):
    """[rois, mrcnn_class, mrcnn_bbox, image_meta] -> detections [B, D, 6].

    A row is (y1, x1, y2, x2, class id, score); see `mrcnn.layers.detections`.

    Args:
        config: for the DETECTION_ settings and BBOX_STD_DEV; None: Matterport's defaults.
    """

    def __init__(self, config: Config | None = None, **kwargs: Any) -> None:
        settings = _settings(
            config,
            max_instances="DETECTION_MAX_INSTANCES",
            min_confidence="DETECTION_MIN_CONFIDENCE",
            nms_threshold="DETECTION_NMS_THRESHOLD",
            std_dev="BBOX_STD_DEV",
        )
        super().__init__(**{**settings, **kwargs})
