"""Grouped convolutions by TensorFlow's own kernels; twin of `mrcnn.ops.grouped_conv`."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Literal

import keras

if TYPE_CHECKING:
    import tensorflow as tf


def grouped_conv(
    inputs: tf.Tensor,
    kernel: tf.Tensor,
    strides: tuple[int, int],
    padding: Literal["valid", "same"],
    dilation: tuple[int, int],
) -> tf.Tensor:
    """Twin of `mrcnn.ops.grouped_conv.grouped_conv`."""
    import tensorflow as tf

    return tf.nn.conv2d(inputs, kernel, strides, padding.upper(), dilations=dilation)


@cache
def available() -> bool:
    """Whether TensorFlow is the backend and has the gradients, which are oneDNN's on a CPU.

    Without it (`TF_ENABLE_ONEDNN_OPTS=0`, some processors) they are an error, so one is tried.
    """
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    options = {"strides": [1, 1, 1, 1], "padding": "SAME"}
    with tf.init_scope():  # at once, whatever graph is being made; tapes record nothing
        x, kernel = tf.ones((1, 4, 4, 4)), tf.ones((3, 3, 2, 4))
        try:
            tf.raw_ops.Conv2DBackpropInput(
                input_sizes=x.shape, filter=kernel, out_backprop=x, **options
            )
            tf.raw_ops.Conv2DBackpropFilter(
                input=x, filter_sizes=kernel.shape, out_backprop=x, **options
            )
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError):
            return False
    return True
