"""The mask of each RoI's true class, selected once for the mask loss and the edge head."""

from __future__ import annotations

from typing import Any

import keras

from mrcnn.ops.indexing import select_class

Tensor = Any


@keras.saving.register_keras_serializable(package="mrcnn")
class OwnClassMasks(keras.layers.Layer):
    """[class masks [B, P, h, w, C], class_ids [B, P]] -> [B, P, h, w]."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})

    def call(self, inputs: list[Tensor]) -> Tensor:
        return select_class(*inputs, axis=4)

    def compute_output_shape(self, input_shape: list[tuple]) -> tuple[int | None, ...]:
        return input_shape[0][:-1]
