"""The layer of RoIAlign with several samples a bin; see `mrcnn.ops.sampled_roi_align`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mrcnn.layers.kernel_choice import KernelChoiceLayer
from mrcnn.ops import boxes as box_ops
from mrcnn.ops.sampled_roi_align import FIRST_STRIDE, sampled_pyramid_roi_align
from mrcnn.ops.tensor import Tensor


@keras.saving.register_keras_serializable(package="mrcnn")
class SampledRoiAlign(KernelChoiceLayer):
    """[rois [B, R, 4] normalized, image_area, P2, P3, P4, P5] -> [B, R, *pool_shape, channels].

    The image's area is not used: it is an input of every way to read RoIs.

    Args:
        pool_shape: (height, width) of the crops.
        samples, aligned: see `mrcnn.ops.sampled_roi_align`.
    """

    def __init__(
        self, pool_shape: Sequence[int], samples: int, aligned: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        height, width = pool_shape
        self.pool_shape = (height, width)
        self.samples, self.aligned = samples, aligned

    def call(self, inputs: list[Tensor], training: bool | None = None) -> Tensor:
        rois, _, *feature_maps = inputs
        image_shape = [FIRST_STRIDE * side for side in ops.shape(feature_maps[0])[1:3]]
        return sampled_pyramid_roi_align(
            feature_maps,
            box_ops.to_edges(rois, image_shape),
            self.pool_shape,
            self.samples,
            self.aligned,
            use_tf_kernels=self.use_tf_kernels,
            training=training is not False,
        )

    def compute_output_shape(self, input_shape: list[tuple]) -> tuple[int | None, ...]:
        return (*input_shape[0][:2], *self.pool_shape, input_shape[2][-1])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "pool_shape": self.pool_shape,
            "samples": self.samples,
            "aligned": self.aligned,
        }
