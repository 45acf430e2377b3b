"""RoIAlign over the pyramid (He et al. 2017, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from mrcnn.layers.kernel_choice import KernelChoiceLayer
from mrcnn.ops.crops import pyramid_roi_align
from mrcnn.ops.image_meta import image_area
from mrcnn.ops.leading import on_leading
from mrcnn.ops.tensor import Tensor


@keras.saving.register_keras_serializable(package="mrcnn", name="PyramidRoiAlign")
class RoiAlign(KernelChoiceLayer):
    """[rois [B, R, 4], image_area, P2, P3, P4, P5] -> [B, R, *pool_shape, channels].

    The level of a RoI depends on the pixels of the image, the scalar `image_area`. Told how many
    leading RoIs are `used`, a scalar, it reads little more than those (`mrcnn.ops.leading`), and
    what it returns for the others is of no account; not with TensorFlow's kernels.

    Args:
        pool_shape: (height, width) of the crops.
    """

    def __init__(self, pool_shape: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        height, width = pool_shape
        self.pool_shape = (height, width)

    def call(
        self, inputs: list[Tensor], training: bool | None = None, used: Tensor | None = None
    ) -> Tensor:
        rois, image_area, *feature_maps = inputs

        def align(rois: Tensor, *feature_maps: Tensor) -> Tensor:
            return pyramid_roi_align(
                feature_maps,
                rois,
                image_area,
                self.pool_shape,
                use_tf_kernels=self.use_tf_kernels,
                training=training is not False,
            )

        if used is None:
            return align(rois, *feature_maps)
        return on_leading(align, used, [rois], feature_maps)

    def compute_output_shape(self, input_shape: list[tuple]) -> tuple[int | None, ...]:
        return (*input_shape[0][:2], *self.pool_shape, input_shape[2][-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pool_shape": self.pool_shape}


# The name under which models were saved whose heads were given `image_meta`.
@keras.saving.register_keras_serializable(package="mrcnn", name="RoiAlign")
class RoiAlignFromMeta(RoiAlign):
    """`RoiAlign` of [rois, image_meta [B, ·], P2, P3, P4, P5], as in Matterport's package."""

    def call(
        self, inputs: list[Tensor], training: bool | None = None, used: Tensor | None = None
    ) -> Tensor:
        rois, meta, *feature_maps = inputs
        return super().call([rois, image_area(meta), *feature_maps], training, used)
