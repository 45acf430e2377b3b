"""From what the host sends to what the network computes with.

The host sends images of bytes (or of any values, as float32) and pixel boxes; the network works
on mean-subtracted images and normalized boxes.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from mrcnn.ops import boxes as box_ops
from mrcnn.ops import image_meta
from mrcnn.ops.tensor import Tensor


@keras.saving.register_keras_serializable(package="mrcnn")
class MoldImage(keras.layers.Layer):
    """Subtracts the mean pixel: [B, H, W, channels] uint8 or float -> float.

    Args:
        mean_pixel: one value, or one a channel.
        std_pixel: likewise, what the result is divided by; None: it is not.
    """

    def __init__(self, mean_pixel: Any, std_pixel: Any = None, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.mean_pixel = [float(value) for value in np.atleast_1d(mean_pixel)]
        self.std_pixel = None
        if std_pixel is not None:
            self.std_pixel = [float(value) for value in np.atleast_1d(std_pixel)]

    def call(self, images: Tensor) -> Tensor:
        mean = ops.convert_to_tensor(self.mean_pixel, dtype="float32")
        centered = ops.cast(images, "float32") - mean
        if self.std_pixel is None:
            return centered
        return centered / ops.convert_to_tensor(self.std_pixel, dtype="float32")

    def compute_output_spec(self, images: Tensor) -> keras.KerasTensor:
        return keras.KerasTensor(images.shape, dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "mean_pixel": self.mean_pixel,
            "std_pixel": self.std_pixel,
        }


@keras.saving.register_keras_serializable(package="mrcnn")
class NormalizeBoxes(keras.layers.Layer):
    """[pixel boxes [B, G, 4], image [B, H, W, ·]] -> normalized boxes [B, G, 4]."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})

    def call(self, inputs: list[Tensor]) -> Tensor:
        boxes, image = inputs
        # Empty slots stay zero boxes: normalizing would move their corners.
        normalized = box_ops.normalize(boxes, ops.shape(image)[1:3])
        return ops.where(ops.any(boxes != 0, axis=-1, keepdims=True), normalized, 0.0)

    def compute_output_shape(self, input_shape: list[tuple]) -> tuple[int | None, ...]:
        return input_shape[0]


@keras.saving.register_keras_serializable(package="mrcnn")
class ImageArea(keras.layers.Layer):
    """image_meta [B, ·] -> pixels of the network's input, a float32 scalar."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})

    def call(self, meta: Tensor) -> Tensor:
        return image_meta.image_area(meta)

    def compute_output_spec(self, meta: Tensor) -> keras.KerasTensor:
        # Keras would take the shape () of compute_output_shape for an empty structure.
        return keras.KerasTensor((), dtype=self.compute_dtype)
