"""What the network should have predicted: targets of the RPN and of the second stage.

Both are computed on the device, compiled with the rest of the step: comparing 261,888
anchors with the objects of an image takes the host longer than loading the image.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mrcnn.layers.flat_config import take_settings
from mrcnn.layers.kernel_choice import KernelChoiceLayer, with_current_names
from mrcnn.ops import boxes as box_ops
from mrcnn.ops import targets
from mrcnn.ops.image_meta import parse_image_meta
from mrcnn.ops.noise import uniform_noise
from mrcnn.ops.target_settings import RoiTargetSettings, RpnTargetSettings
from mrcnn.ops.tensor import Tensor
from mrcnn.tensorflow_backend import replicas


@keras.saving.register_keras_serializable(package="mrcnn")
class RpnTargets(keras.layers.Layer):
    """[anchors [B, A, 4], gt_class_ids [B, G], gt_boxes [B, G, 4]] -> (match, deltas).

    See `mrcnn.ops.targets.rpn_targets`. Anchors and boxes have one unit. Where the settings ignore
    border anchors, a fourth input has the images' windows [B, 4] in that unit.
    """

    def __init__(
        self,
        settings: RpnTargetSettings = targets.RPN_DEFAULTS,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.settings = settings
        self.seed = seed
        self.random = keras.random.SeedGenerator(seed)

    def call(self, inputs: list[Tensor]) -> tuple[Tensor, Tensor]:
        anchors, gt_class_ids, gt_boxes, *windows = inputs
        noise = _noise(anchors.shape[:2], self.random)
        class_ids = ops.cast(gt_class_ids, "int32")
        return targets.rpn_targets(anchors[0], class_ids, gt_boxes, noise, self.settings, *windows)

    def compute_output_spec(self, inputs: list[Tensor]) -> tuple[Any, Any]:
        batch, anchors = inputs[0].shape[:2]
        return (
            keras.KerasTensor((batch, anchors), dtype="int32"),
            keras.KerasTensor((batch, self.settings.count, 4), dtype="float32"),
        )

    def get_config(self) -> dict[str, Any]:
        settings = dataclasses.asdict(self.settings)
        return {**super().get_config(), **settings, "seed": self.seed}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> RpnTargets:
        settings, others = take_settings(RpnTargetSettings, config)
        return cls(settings, **others)


@keras.saving.register_keras_serializable(package="mrcnn")
class RoiTargets(KernelChoiceLayer):
    """[proposals, gt_class_ids, gt_boxes, gt_masks] -> `mrcnn.ops.targets.DetectionTargets`.

    Layer over `mrcnn.ops.targets.detection_targets`. Proposals and RoIs are normalized. So are the
    objects' boxes, unless the settings have `pixel_boxes`: then they are in pixels, and a fifth
    input is image_meta.
    """

    def __init__(
        self,
        settings: RoiTargetSettings = targets.ROI_DEFAULTS,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.settings = settings
        self.seed = seed
        self.random = keras.random.SeedGenerator(seed)

    def call(self, inputs: list[Tensor]) -> Sequence[Tensor]:
        proposals, gt_class_ids, gt_boxes, gt_masks, *meta = inputs
        proposals = ops.stop_gradient(proposals)
        shape, windows = None, None
        if self.settings.pixel_boxes:
            parts = parse_image_meta(meta[0])
            shape, windows = parts["image_shape"][0], parts["window"]
            proposals = _where_there(proposals, box_ops.to_edges(proposals, shape))
        batch, count = proposals.shape[:2]
        count += gt_boxes.shape[1] if self.settings.ground_truth else 0
        found = targets.detection_targets(
            proposals,
            ops.cast(gt_class_ids, "int32"),
            gt_boxes,
            gt_masks,
            _noise((batch, count), self.random),
            self.settings,
            self.use_tf_kernels,
            windows,
        )
        if shape is None:
            return found
        return found._replace(rois=_where_there(found.rois, box_ops.normalize(found.rois, shape)))

    def compute_output_spec(self, inputs: list[Tensor]) -> Sequence[keras.KerasTensor]:
        batch, count = inputs[0].shape[0], self.settings.count
        slots, mask_shape = self.settings.positive_slots, self.settings.mask_shape
        return targets.DetectionTargets(
            rois=keras.KerasTensor((batch, count, 4), dtype="float32"),
            class_ids=keras.KerasTensor((batch, count), dtype="int32"),
            deltas=keras.KerasTensor((batch, count, 4), dtype="float32"),
            masks=keras.KerasTensor((batch, slots, *mask_shape), dtype="float32"),
            valid=keras.KerasTensor((batch, count), dtype="bool"),
            mask_class_ids=keras.KerasTensor((batch, slots), dtype="int32"),
        )

    def get_config(self) -> dict[str, Any]:
        settings = dataclasses.asdict(self.settings)
        return {**super().get_config(), **settings, "seed": self.seed}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> RoiTargets:
        settings, others = take_settings(RoiTargetSettings, with_current_names(config))
        return cls(settings, **others)


def _where_there(boxes: Tensor, converted: Tensor) -> Tensor:
    """Boxes in another unit, [B, R, 4]; empty slots stay zero."""
    return ops.where(ops.any(boxes != 0, axis=-1, keepdims=True), converted, 0.0)


def _noise(shape: tuple[int, int], random: keras.random.SeedGenerator) -> Tensor:
    """The noise [B, N] of the images that are here, of the whole batch's; counts one draw more."""
    state = random.next()
    return uniform_noise(shape, state[0], state[1], replicas.number() * shape[0])
