"""The last layer of the mask head: one mask a class, or the mask of one class."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from mrcnn.layers.per_roi import RoiConv2D
from mrcnn.ops.tensor import Tensor


@keras.saving.register_keras_serializable(package="mrcnn")
class ClassMasks(RoiConv2D):
    """Features of RoIs to mask probabilities, float32 under any dtype policy.

    A 1 x 1 convolution and a sigmoid: [B, R, h, w, in] -> [B, R, h, w, C]. Given class ids
    [B, R], computes the mask of that class only: -> [B, R, h, w], which is what training
    looks at. Ids below 0 read class 0.

    Args:
        filters: C, background included.
        logits: return what the sigmoid would be applied to.
    """

    def __init__(self, filters: int, logits: bool = False, **kwargs: Any) -> None:
        super().__init__(filters, **{"kernel_size": 1, **kwargs})
        self.logits = logits

    def call(
        self, inputs: Tensor, class_ids: Tensor | None = None, *, used: Tensor | None = None
    ) -> Tensor:
        if class_ids is None:
            logits = super().call(inputs, used=used)
        else:
            logits = self._own(inputs, class_ids)
        logits = ops.cast(logits, "float32")
        return logits if self.logits else ops.sigmoid(logits)

    def _own(self, inputs: Tensor, class_ids: Tensor) -> Tensor:
        batch, rois = ops.shape(inputs)[:2]
        height, width, channels = inputs.shape[2:]
        # A product with one-hot rows: the gradient of a gather would be a scatter.
        ids = ops.maximum(ops.cast(class_ids, "int32"), 0)
        chosen = ops.one_hot(ops.reshape(ids, (-1,)), self.filters, dtype=inputs.dtype)
        kernel = ops.matmul(chosen, ops.transpose(self.kernel[0, 0]))
        bias = ops.matmul(chosen, ops.reshape(self.bias, (-1, 1)))
        rows = ops.reshape(inputs, (-1, height * width, channels))
        logits = ops.matmul(rows, kernel[:, :, None]) + bias[:, None]
        return ops.reshape(logits, (batch, rois, height, width))

    def compute_output_spec(
        self, inputs: Tensor, class_ids: Tensor | None = None, *, used: Tensor | None = None
    ) -> keras.KerasTensor:
        shape = (*inputs.shape[:-1], self.filters) if class_ids is None else inputs.shape[:-1]
        return keras.KerasTensor(shape, dtype="float32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "logits": self.logits}
