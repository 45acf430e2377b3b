"""RoIAlign over the pyramid (He et al. 2017, section 3)."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from mrcnn.ops.crops import pyramid_roi_align
from mrcnn.ops.image_meta import parse_image_meta
from mrcnn.ops.tensor import Tensor


@keras.saving.register_keras_serializable(package="mrcnn")
class RoiAlign(keras.layers.Layer):
    """[rois [B, R, 4], image_meta [B, ·], P2, P3, P4, P5] -> [B, R, *pool_shape, channels].

    The level of a RoI hangs on the image's size in pixels, which `image_meta` tells.
    """

    def __init__(self, pool_shape: tuple[int, int], native: bool = False, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.pool_shape = tuple(pool_shape)
        self.native = native

    def call(self, inputs: list[Tensor]) -> Tensor:
        rois, image_meta, *feature_maps = inputs
        image_shape = parse_image_meta(image_meta)["image_shape"][0]
        area = ops.cast(image_shape[0] * image_shape[1], "float32")
        return pyramid_roi_align(feature_maps, rois, area, self.pool_shape, native=self.native)

    def compute_output_shape(self, input_shape: list[tuple]) -> tuple[int | None, ...]:
        return (*input_shape[0][:2], *self.pool_shape, input_shape[2][-1])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "pool_shape": self.pool_shape,
            "native": self.native,
        }
