"""What the network should have predicted: targets of the RPN and of the second stage.

Both are computed on the device, compiled with the rest of the step: comparing 261,888
anchors with the objects of an image takes the host longer than loading the image.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from mrcnn.ops import targets
from mrcnn.ops.tensor import Tensor


@keras.saving.register_keras_serializable(package="mrcnn")
class RpnTargets(keras.layers.Layer):
    """[anchors [B, A, 4], gt_class_ids [B, G], gt_boxes [B, G, 4]] -> (match, deltas).

    See `mrcnn.ops.targets.rpn_targets`. Anchors and boxes have one unit.
    """

    def __init__(
        self,
        count: int = 256,
        std_dev: Any = (0.1, 0.1, 0.2, 0.2),
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.count = count
        self.std_dev = tuple(float(value) for value in std_dev)
        self.seed = seed
        self.random = keras.random.SeedGenerator(seed)

    def call(self, inputs: list[Tensor]) -> tuple[Tensor, Tensor]:
        anchors, gt_class_ids, gt_boxes = inputs
        noise = keras.random.uniform(anchors.shape[:2], seed=self.random)
        return targets.rpn_targets(
            anchors[0],
            ops.cast(gt_class_ids, "int32"),
            gt_boxes,
            noise,
            self.count,
            ops.convert_to_tensor(np.array(self.std_dev, np.float32)),
        )

    def compute_output_spec(self, inputs: list[Tensor]) -> tuple[Any, Any]:
        batch, anchors = inputs[0].shape[:2]
        return (
            keras.KerasTensor((batch, anchors), dtype="int32"),
            keras.KerasTensor((batch, self.count, 4), dtype="float32"),
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "count": self.count,
            "std_dev": self.std_dev,
            "seed": self.seed,
        }


@keras.saving.register_keras_serializable(package="mrcnn")
class RoiTargets(keras.layers.Layer):
    """[proposals, gt_class_ids, gt_boxes, gt_masks] -> `matching.DetectionTargets`.

    Boxes are normalized. Layer over `mrcnn.ops.targets.detection_targets`, which
    names the arguments.
    """

    def __init__(
        self,
        count: int,
        positive_ratio: float = 0.33,
        std_dev: Any = (0.1, 0.1, 0.2, 0.2),
        mask_shape: tuple[int, int] = (28, 28),
        mini_masks: bool = True,
        native: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.count = count
        self.positive_ratio = positive_ratio
        self.std_dev = tuple(float(value) for value in std_dev)
        self.mask_shape = tuple(int(side) for side in mask_shape)
        self.mini_masks = mini_masks
        self.native = native
        self.seed = seed
        self.random = keras.random.SeedGenerator(seed)

    def call(self, inputs: list[Tensor]) -> targets.DetectionTargets:
        proposals, gt_class_ids, gt_boxes, gt_masks = inputs
        noise = keras.random.uniform(proposals.shape[:2], seed=self.random)
        return targets.detection_targets(
            ops.stop_gradient(proposals),
            ops.cast(gt_class_ids, "int32"),
            gt_boxes,
            gt_masks,
            noise,
            count=self.count,
            positive_ratio=self.positive_ratio,
            std_dev=ops.convert_to_tensor(np.array(self.std_dev, np.float32)),
            mask_shape=self.mask_shape,
            mini_masks=self.mini_masks,
            native=self.native,
        )

    def compute_output_spec(self, inputs: list[Tensor]) -> targets.DetectionTargets:
        batch = inputs[0].shape[0]
        slots = int(self.count * self.positive_ratio)
        return targets.DetectionTargets(
            rois=keras.KerasTensor((batch, self.count, 4), dtype="float32"),
            class_ids=keras.KerasTensor((batch, self.count), dtype="int32"),
            deltas=keras.KerasTensor((batch, self.count, 4), dtype="float32"),
            masks=keras.KerasTensor((batch, slots, *self.mask_shape), dtype="float32"),
            valid=keras.KerasTensor((batch, self.count), dtype="bool"),
            mask_class_ids=keras.KerasTensor((batch, slots), dtype="int32"),
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "count": self.count,
            "positive_ratio": self.positive_ratio,
            "std_dev": self.std_dev,
            "mask_shape": self.mask_shape,
            "mini_masks": self.mini_masks,
            "native": self.native,
            "seed": self.seed,
        }
