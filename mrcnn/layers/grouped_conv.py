"""A grouped convolution that is fast to train on every backend."""

from __future__ import annotations

import keras

from mrcnn.layers.folded_norm import FoldsNorm
from mrcnn.ops.grouped_conv import grouped_conv
from mrcnn.ops.tensor import Tensor


@keras.saving.register_keras_serializable(package="mrcnn")
class GroupedConv2D(FoldsNorm):
    """Keras's convolution with `groups`, written as in `mrcnn.ops.grouped_conv`.

    Its weights are those of Keras's: a kernel [height, width, channels / groups, filters], and a
    bias. It takes over the frozen BatchNorm behind it. Channels come last.
    """

    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        if self.data_format != "channels_last":
            raise ValueError(
                f"{self.name}: expected data_format 'channels_last'; received {self.data_format!r}."
            )
        return grouped_conv(inputs, kernel, self.strides, self.padding, self.dilation_rate)
