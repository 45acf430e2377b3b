"""Convolutions that take over the frozen normalization behind them.

A BatchNorm with stored statistics is a factor and an offset for each channel, and a
convolution can do both: its kernel is scaled instead of its output. That spares two passes
over the output and keeps one copy of it less for the backward pass, which in training is
what fills the memory. Where the kernel is as large as the output, nothing would be won, and
the two layers compute one after the other.

Mathematically nothing changes. What a convolution returns does: where it folds, the
normalized output, which BatchNorm then passes through.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence

import keras
from keras import ops

from mrcnn.ops.tensor import Tensor

# Fold where the output is so many times larger than the kernel. Scaling a kernel takes about
# as many passes over it, forward and backward, as normalizing takes over the output.
MIN_OUTPUT_TO_KERNEL = 2


class FoldsNorm(keras.layers.Conv2D):
    """Base of the 2-D convolutions that do it, those with a linear activation; see the module."""

    _norm: weakref.ref[keras.layers.BatchNormalization] | None = None

    def fold(self, norm: keras.layers.BatchNormalization) -> None:
        """Take over a frozen normalization of this layer's output."""
        self._norm = weakref.ref(norm)  # not a sublayer: the weights belong to `norm`

    @property
    def norm(self) -> keras.layers.BatchNormalization | None:
        """The normalization that this layer takes over where it can."""
        return None if self._norm is None else self._norm()

    def folds(self, output_shape: Sequence[int | None]) -> bool:
        """Whether an output of this shape comes out normalized.

        One of open shape does, unless it is that of a fully connected layer, which has one
        position a row.
        """
        positions = [side for side in output_shape[:-1] if side is not None]
        if self._norm is None:
            return False
        if len(positions) < len(output_shape) - 1:
            return tuple(output_shape[-3:-1]) != (1, 1)
        kernel = math.prod(self.kernel.shape[:-1])
        return math.prod(positions) >= MIN_OUTPUT_TO_KERNEL * kernel

    def call(self, inputs: Tensor) -> Tensor:
        if not self.folds(self.compute_output_shape(tuple(inputs.shape))):
            return super().call(inputs)
        kernel, offset = self.folded_weights()
        outputs = self.convolution_op(inputs, ops.cast(kernel, inputs.dtype))
        # Not "+": Keras makes a bias of it, which TensorFlow fuses.
        return ops.add(outputs, ops.cast(offset, outputs.dtype))

    def folded_weights(self) -> tuple[Tensor, Tensor]:
        """Kernel and offset with which the output comes out normalized, both float32."""
        scale, offset = scale_and_offset(self.norm)
        if self.use_bias:
            offset = offset + ops.cast(self.bias, "float32") * scale
        return ops.cast(self.kernel, "float32") * scale, offset


def scale_and_offset(norm: keras.layers.BatchNormalization) -> tuple[Tensor, Tensor]:
    """What a normalization with stored statistics does to each channel: float32 [C] both."""
    mean, variance = (ops.cast(v, "float32") for v in (norm.moving_mean, norm.moving_variance))
    scale = ops.rsqrt(variance + norm.epsilon)
    if norm.scale:
        scale = scale * ops.cast(norm.gamma, "float32")
    offset = -mean * scale
    if norm.center:
        offset = offset + ops.cast(norm.beta, "float32")
    return scale, offset


@keras.saving.register_keras_serializable(package="mrcnn")
class FoldingConv2D(FoldsNorm):
    """Keras's convolution; takes over the frozen BatchNorm behind it."""
