"""The Keras models of detection: any image shape, and one fixed shape."""

from __future__ import annotations

from typing import Any

import keras

from mrcnn import network
from mrcnn.config import Config
from mrcnn.layers.molding import MoldImage
from mrcnn.tensorflow_backend.compilation import default_jit_compile
from mrcnn.tensorflow_backend.sums import with_fixed_sums
from mrcnn.weights.keras_api import MatterportFiles


def with_static_shape(
    model: keras.Model, image_shape: tuple[int, ...], batch_size: int, config: Config, molded: bool
) -> keras.Model:
    """Wrap an inference graph for one batch size and image shape.

    Static shapes are what the layers compute with and what XLA compiles. The wrapper
    also makes the anchors, and subtracts the mean when images are not molded yet.

    Returns:
        A model from [images, image_meta] to the outputs of `model`.
    """
    dtype = "float32" if molded else "uint8"
    images = keras.Input(batch_shape=(batch_size, *image_shape), dtype=dtype)
    meta = keras.Input(batch_shape=(batch_size, config.IMAGE_META_SIZE))
    anchors = network.anchors_layer(config)(images)
    x = images if molded else MoldImage(config.MEAN_PIXEL)(images)
    calls = len(model._inbound_nodes)
    wrapped = StaticShapeNetwork([images, meta], model([x, meta, anchors]))
    # Keras lists every call of a model, and keeps the graph around it: that of each image shape.
    del model._inbound_nodes[calls:]
    wrapped.compile(jit_compile=default_jit_compile(config.JIT_COMPILE))
    return wrapped


class StaticShapeNetwork(keras.Model):
    """Keras's model, whose sums do not depend on how busy the machine is."""

    predict_function: Any

    def make_predict_function(self, force: bool = False) -> Any:
        if self.predict_function is None or force:
            super().make_predict_function(force=True)
            self.predict_function = with_fixed_sums(self.predict_function)
        return self.predict_function


@keras.saving.register_keras_serializable(package="mrcnn")
class InferenceNetwork(MatterportFiles, keras.Model):
    """The inference graph of `mrcnn.network`, with Matterport's weights files."""


def build(config: Config) -> InferenceNetwork:
    """The inference graph, for any image and batch size."""
    return network.build_inference(config, InferenceNetwork)
