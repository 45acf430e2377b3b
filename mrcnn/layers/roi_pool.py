"""RoIPool over the pyramid (Girshick 2015, Fast R-CNN, section 2.1): what RoIAlign replaced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from mrcnn.ops.roi_pool import pyramid_roi_pool
from mrcnn.ops.tensor import Tensor


@keras.saving.register_keras_serializable(package="mrcnn")
class RoiPool(keras.layers.Layer):
    """[rois [B, R, 4], image_area, P2, P3, P4, P5] -> [B, R, *pool_shape, channels].

    As `mrcnn.layers.roi_align.RoiAlign`, but RoIs and bins are rounded to whole cells
    (`mrcnn.ops.roi_pool`); float32 under any dtype policy.

    Args:
        pool_shape: (height, width), the number of bins.
    """

    def __init__(self, pool_shape: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        height, width = pool_shape
        self.pool_shape = (height, width)

    def call(self, inputs: list[Tensor]) -> Tensor:
        rois, image_area, *feature_maps = inputs
        return pyramid_roi_pool(feature_maps, rois, image_area, self.pool_shape)

    def compute_output_shape(self, input_shape: list[tuple]) -> tuple[int | None, ...]:
        return (*input_shape[0][:2], *self.pool_shape, input_shape[2][-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pool_shape": self.pool_shape}
