"""Convolutions of one image by kernels in the layout that suits the processor.

A CPU convolves fastest with a kernel in blocks that fit its cache. oneDNN arranges it so in every
call, which costs little, but where TensorFlow's 2-D convolution is given a single image in float32
whose kernel is no constant, it forbids that. TensorFlow's 3-D convolution does not. So an image
[1, H, W, C] passes as a volume of one slice, [1, 1, H, W, C], through all that follows a
convolution and is fused with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mrcnn.tensorflow_backend.sums import with_fixed_sums

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


class Slice:
    """A volume [1, 1, H, W, C] that stands for the image [1, H, W, C]."""

    def __init__(self, volume: tf.Tensor) -> None:
        self.volume = volume

    @classmethod
    def of(cls, image: tf.Tensor | Slice) -> Slice:
        """The slice of an image."""
        import tensorflow as tf

        return image if isinstance(image, Slice) else cls(tf.expand_dims(image, 1))

    @property
    def image(self) -> tf.Tensor:
        import tensorflow as tf

        return tf.squeeze(self.volume, [1])


def convolve(
    x: tf.Tensor | Slice,
    kernel: tf.Tensor,
    bias: tf.Tensor | None,
    strides: Sequence[int],
    padding: str,
) -> tf.Tensor | Slice:
    """A 2-D convolution of images [B, H, W, in], or of the slice that is one image.

    Args:
        x: as wide as the kernel.
        kernel: [h, w, in, out].
        bias: [out], or None.
        strides: of rows and columns.
        padding: "same" or "valid".
    """
    import tensorflow as tf

    if tuple(kernel.shape[:2]) == (1, 1):
        padding = "same"  # it is the same, and TensorFlow then knows that the shape stays
    if isinstance(x, Slice):
        outputs = tf.nn.conv3d(x.volume, kernel[None], [1, 1, *strides, 1], padding.upper())
    else:
        outputs = tf.nn.conv2d(x, kernel, strides, padding.upper())
    if bias is not None:
        outputs = tf.nn.bias_add(outputs, bias)
    return Slice(outputs) if isinstance(x, Slice) else outputs


def traced(
    function: Callable[..., Any], inputs: Sequence[keras.KerasTensor]
) -> Callable[[Sequence[np.ndarray]], list[np.ndarray]]:
    """`predict_on_batch` of a function on tensors, whose shapes may be open.

    Args:
        function: from tensors to a list of tensors; it is traced once.
        inputs: their shapes and dtypes.
    """
    import tensorflow as tf

    specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in inputs]
    run = tf.function(lambda *x: function(list(x)), autograph=False, jit_compile=False)
    graph = with_fixed_sums(run.get_concrete_function(*specs))

    def predict(arrays: Sequence[Any]) -> list[np.ndarray]:
        tensors = [tf.convert_to_tensor(x, s.dtype) for x, s in zip(arrays, specs, strict=True)]
        return [output.numpy() for output in graph(*tensors)]

    return predict
