"""Layers that treat every RoI as an image of its own.

Inputs are [B, R, H, W, channels]; the first two axes are folded into one for the
convolution and unfolded again. Keras's TimeDistributed does the same, several times
slower; the layer names and weights are those of Matterport's wrapped layers.
"""

from __future__ import annotations

import math

import keras
from keras import ops

from mrcnn.layers.folded_norm import FoldsNorm
from mrcnn.ops.tensor import Tensor


class _PerRoi(keras.layers.Layer):
    """Mixin that folds the RoI axis into the batch axis around a 2-D convolution."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build((None, *input_shape[2:]))
        self.input_spec = keras.layers.InputSpec(ndim=5, axes={-1: input_shape[-1]})

    def call(self, inputs: Tensor) -> Tensor:
        batch, rois = ops.shape(inputs)[:2]
        folded = ops.reshape(inputs, (-1, *inputs.shape[2:]))
        outputs = super().call(folded)
        return ops.reshape(outputs, (batch, rois, *outputs.shape[1:]))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        if len(input_shape) == 4:  # Keras's build asks for the folded shape
            return super().compute_output_shape(input_shape)
        return (*input_shape[:2], *super().compute_output_shape((None, *input_shape[2:]))[1:])

    def compute_output_spec(self, inputs: Tensor) -> keras.KerasTensor:
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=self.compute_dtype)


@keras.saving.register_keras_serializable(package="mrcnn")
class RoiConv2D(_PerRoi, FoldsNorm):
    """2-D convolution of each RoI: [B, R, H, W, in] -> [B, R, H', W', out]."""

    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        """Write a kernel as large as its input as what it is: a fully connected layer.

        The gradient of such a convolution is many times slower than that of the product.
        """
        if self.padding != "valid" or tuple(inputs.shape[1:3]) != self.kernel_size:
            return super().convolution_op(inputs, kernel)
        rows = ops.reshape(inputs, (-1, math.prod(kernel.shape[:3])))
        outputs = ops.matmul(rows, ops.reshape(kernel, (-1, self.filters)))
        return outputs[:, None, None, :]


@keras.saving.register_keras_serializable(package="mrcnn")
class RoiConv2DTranspose(_PerRoi, keras.layers.Conv2DTranspose):
    """2-D transposed convolution of each RoI: [B, R, H, W, in] -> [B, R, 2H, 2W, out]."""
