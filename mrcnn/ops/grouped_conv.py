"""Grouped convolutions, written as each backend computes them fastest.

In a grouped convolution each group of output channels sees its own group of input channels only.
Keras compiles it with XLA on TensorFlow, and XLA's gradient of the kernel takes seconds a layer on
a CPU, where the others take milliseconds (`python -m benchmarks.kernels grouped`). So:

- TensorFlow uses its own convolution, on a CPU oneDNN's (`mrcnn.tensorflow_backend.grouped_conv`);
- without oneDNN, and on other backends on a CPU, the kernel is written out as that of an ordinary
  convolution, with zeros between the groups: one convolution, of more operations;
- on an accelerator, other backends use theirs.
"""

from __future__ import annotations

from typing import Literal

import keras
import numpy as np
from keras import ops

from mrcnn.ops.convolution import only_cpus
from mrcnn.ops.tensor import Tensor
from mrcnn.tensorflow_backend import grouped_conv as tf_kernels


def grouped_conv(
    inputs: Tensor,
    kernel: Tensor,
    strides: tuple[int, int] = (1, 1),
    padding: Literal["valid", "same"] = "valid",
    dilation: tuple[int, int] = (1, 1),
) -> Tensor:
    """Convolve group by group; the numbers of channels tell how many groups there are.

    Args:
        inputs: [B, H, W, channels].
        kernel: [h, w, channels / groups, filters], the filters of the first group first.
        strides, padding, dilation: as Keras's.

    Returns:
        [B, H', W', filters].
    """
    if tf_kernels.available():
        return tf_kernels.grouped_conv(inputs, kernel, strides, padding, dilation)
    if keras.backend.backend() == "tensorflow" or only_cpus():
        kernel = block_diagonal(kernel, inputs.shape[-1] // kernel.shape[2])
    return ops.conv(
        inputs, kernel, strides, padding, data_format="channels_last", dilation_rate=dilation
    )


def block_diagonal(kernel: Tensor, groups: int) -> Tensor:
    """The kernel of an ordinary convolution that computes a grouped one.

    Args:
        kernel: [h, w, channels / groups, filters].
        groups: how many.

    Returns:
        [h, w, channels, filters], 0 where filter and channel are of different groups.
    """
    height, width, inside, filters = kernel.shape
    own = np.repeat(np.eye(groups), filters // groups, axis=1)[:, None, :]  # [groups, 1, filters]
    written_out = kernel[:, :, None] * ops.cast(own, kernel.dtype)
    return ops.reshape(written_out, (height, width, groups * inside, filters))
