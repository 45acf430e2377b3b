"""The head that a backbone is pretrained with: dense layers and a softmax over whole images.

The classes are those of the detector, "no object" among them as class 0. None of its layers has a
name of the detector's, so that of a weights file the backbone alone is loaded there.

Shape letters: B images, h w features, F channels, C classes.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from mrcnn.ops.tensor import Tensor


def classifier_graph(features: Tensor, num_classes: int, fc_layers_size: int) -> Tensor:
    """Class logits of images, for one RoI each.

    Args:
        features: C5, [B, h, w, F].
        num_classes: C, "no object" included.
        fc_layers_size: units of the dense layer before them.

    Returns:
        float32 [B, 1, C].
    """
    x = layers.GlobalAveragePooling2D(name="pretrain_pool")(features)
    x = layers.Dense(fc_layers_size, activation="relu", name="pretrain_fc")(x)
    logits = layers.Dense(num_classes, dtype="float32", name="pretrain_logits")(x)
    return layers.Reshape((1, num_classes), name="pretrain_classes")(logits)


@keras.saving.register_keras_serializable(package="mrcnn")
class Accuracy(layers.Layer):
    """[class ids [B, 1], logits [B, 1, C]] -> the share whose largest logit is theirs, a scalar."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})

    def call(self, inputs: list[Tensor]) -> Tensor:
        class_ids, logits = inputs
        found = ops.cast(ops.argmax(logits, axis=-1), "int32")
        return ops.mean(ops.cast(ops.equal(found, ops.cast(class_ids, "int32")), "float32"))

    def compute_output_spec(self, inputs: list[Tensor]) -> keras.KerasTensor:
        # Keras would take the shape () of compute_output_shape for an empty structure.
        return keras.KerasTensor((), dtype=self.compute_dtype)
