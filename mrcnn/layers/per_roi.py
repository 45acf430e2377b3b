"""Layers that treat every RoI as an image of its own.

Inputs are [B, R, H, W, channels]; the first two axes are folded into one for the
convolution and unfolded again. Keras's TimeDistributed does the same, several times
slower; the layer names and weights are those of Matterport's wrapped layers.

Told how many leading slots are `used`, a scalar, a layer computes little more than those
(`mrcnn.ops.leading`); what it returns for the others is of no account.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from mrcnn.layers.folded_norm import FoldsNorm
from mrcnn.ops.convolution import doubling_conv, same_conv
from mrcnn.ops.leading import on_leading
from mrcnn.ops.tensor import Tensor


class _PerRoi(keras.layers.Layer):
    """Mixin that folds the RoI axis into the batch axis around a 2-D convolution."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build((None, *input_shape[2:]))
        self.input_spec = keras.layers.InputSpec(ndim=5, axes={-1: input_shape[-1]})

    def call(self, inputs: Tensor, *, used: Tensor | None = None) -> Tensor:
        if used is None and not self.written_out:
            return _each(super().call, inputs)
        kernel, offset = self.parts(inputs)
        kernel = ops.cast(kernel, inputs.dtype)

        def linear(rows: Tensor, kernel: Tensor) -> Tensor:
            return _each(lambda folded: self.convolve(folded, kernel), rows)

        if used is None:
            outputs = linear(inputs, kernel)
        else:
            outputs = on_leading(linear, used, [inputs], [kernel])
        if offset is not None:
            outputs = outputs + ops.cast(offset, outputs.dtype)
        return outputs if self.activation is None else self.activation(outputs)

    @property
    def written_out(self) -> bool:
        """Whether `convolve` is better than Keras's own convolution, on all slots too."""
        return False

    def parts(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """The kernel, and what is added to its output."""
        return self.kernel, self.bias if self.use_bias else None

    def convolve(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        """Folded rows [N, H, W, in] to [N, H', W', out], before anything is added."""
        raise NotImplementedError

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        if len(input_shape) == 4:  # Keras's build asks for the folded shape
            return super().compute_output_shape(input_shape)
        return (*input_shape[:2], *super().compute_output_shape((None, *input_shape[2:]))[1:])

    def compute_output_spec(self, inputs: Tensor, *args: Any, **kwargs: Any) -> keras.KerasTensor:
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

    def convolve(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        odd = all(side % 2 for side in self.kernel_size)
        if self.padding == "same" and odd and {*self.strides, *self.dilation_rate} == {1}:
            return same_conv(inputs, kernel)
        return self.convolution_op(inputs, kernel)

    def parts(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        shape = (math.prod(inputs.shape[:2]), *inputs.shape[2:])
        if self.folds(self.compute_output_shape(shape)):
            return self.folded_weights()
        return super().parts(inputs)


@keras.saving.register_keras_serializable(package="mrcnn")
class RoiConv2DTranspose(_PerRoi, keras.layers.Conv2DTranspose):
    """2-D transposed convolution of each RoI: [B, R, H, W, in] -> [B, R, 2H, 2W, out]."""

    @property
    def written_out(self) -> bool:
        """TensorFlow has a fast kernel."""
        return keras.backend.backend() != "tensorflow"

    def convolve(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        if self.strides == self.kernel_size and set(self.dilation_rate) == {1}:
            return doubling_conv(inputs, kernel)
        return ops.conv_transpose(
            inputs,
            kernel,
            self.strides,
            self.padding,
            self.output_padding,
            self.data_format,
            self.dilation_rate,
        )


def _each(function: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """A function of [N, ...] of each RoI [B, R, ...]."""
    batch, rois = ops.shape(inputs)[:2]
    outputs = function(ops.reshape(inputs, (-1, *inputs.shape[2:])))
    return ops.reshape(outputs, (batch, rois, *outputs.shape[1:]))
