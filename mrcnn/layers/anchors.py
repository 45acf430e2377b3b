"""The anchors of an image shape as a constant of the graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mrcnn.ops import anchors as anchor_ops
from mrcnn.ops.tensor import Tensor


@keras.saving.register_keras_serializable(package="mrcnn")
class Anchors(keras.layers.Layer):
    """Returns the anchors of its image's shape, [B, A, 4].

    It has no weight: anchors depend on settings and image size only, so a weights file
    fits any image size and batch size.

    Args:
        scales, ratios, strides, anchor_stride: see `mrcnn.ops.anchors`.
        pixels: return them in pixels instead of normalized.
        rounded: see `mrcnn.ops.anchors.level_anchors`.
        steps_from_cells: their distance is `mrcnn.ops.anchors.steps_from_cells`, not the stride.
    """

    def __init__(
        self,
        scales: Sequence[float],
        ratios: Sequence[float],
        strides: Sequence[int],
        anchor_stride: int = 1,
        pixels: bool = False,
        rounded: bool = False,
        steps_from_cells: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.scales = [float(scale) for scale in scales]
        self.ratios = [float(ratio) for ratio in ratios]
        self.strides = [int(stride) for stride in strides]
        self.anchor_stride = int(anchor_stride)
        self.pixels = pixels
        self.rounded = rounded
        self.steps_from_cells = steps_from_cells

    def of_shape(self, image_shape: Sequence[int]) -> np.ndarray:
        """Anchors of an image of (height, width, …) in pixels: [A, 4] float64."""
        shapes = anchor_ops.feature_shapes(image_shape, self.strides)
        steps: Sequence[int | Sequence[int]] = self.strides
        if self.steps_from_cells:
            steps = anchor_ops.steps_from_cells(image_shape, shapes)
        return anchor_ops.pyramid_anchors(
            self.scales, self.ratios, shapes, steps, self.anchor_stride, self.rounded
        )

    def normalized(self, image_shape: Sequence[int]) -> np.ndarray:
        """The same in normalized coordinates: [A, 4] float32, a twin of `boxes.normalize`."""
        height, width = image_shape[:2]
        scale = np.array([height, width, height, width]) - 1.0
        return ((self.of_shape(image_shape) - [0, 0, 1, 1]) / scale).astype(np.float32)

    def call(self, image: Tensor) -> Tensor:
        shape = image.shape[1:3]
        anchors = self.of_shape(shape).astype(np.float32) if self.pixels else self.normalized(shape)
        anchors = ops.convert_to_tensor(anchors)
        return ops.broadcast_to(anchors[None], (ops.shape(image)[0], *anchors.shape))

    def compute_output_shape(self, image_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        height, width = image_shape[1:3]
        if height is None or width is None:
            return (image_shape[0], None, 4)
        shapes = anchor_ops.feature_shapes((height, width), self.strides)
        cells = np.prod(-(-shapes // self.anchor_stride), axis=1).sum()
        return (image_shape[0], int(cells) * len(self.ratios), 4)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "scales": self.scales,
            "ratios": self.ratios,
            "strides": self.strides,
            "anchor_stride": self.anchor_stride,
            "pixels": self.pixels,
            "rounded": self.rounded,
            "steps_from_cells": self.steps_from_cells,
        }
