"""The Keras models of detection: any image shape, and one fixed shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from mrcnn import network
from mrcnn.config import Config
from mrcnn.data.boxes import norm_boxes
from mrcnn.ops.tensor import Tensor
from mrcnn.tensorflow_backend.compilation import default_jit_compile
from mrcnn.tensorflow_backend.sums import with_fixed_sums
from mrcnn.weights.keras_api import MatterportFiles, known_by_its_name

if TYPE_CHECKING:
    from keras import Model as _Model
else:
    _Model = object  # a mixin: the Keras model is the class behind it


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
    x = images if molded else network.mold_layer(config)(images)
    calls = len(model._inbound_nodes)
    wrapped = FixedSumsModel([images, meta], model([x, meta, anchors]))
    # Keras lists every call of a model, and keeps the graph around it: that of each image shape.
    del model._inbound_nodes[calls:]
    wrapped.compile(jit_compile=default_jit_compile(config.JIT_COMPILE))
    return wrapped


class _FixedSums(_Model):
    """Mixin of predictions that do not depend on how busy the machine is, before a Keras model."""

    predict_function: Any

    def make_predict_function(self, force: bool = False) -> Any:
        if self.predict_function is None or force:
            super().make_predict_function(force=True)
            self.predict_function = with_fixed_sums(self.predict_function)
        return self.predict_function


class FixedSumsModel(_FixedSums, keras.Model):
    """Keras's model, whose predictions do not depend on how busy the machine is."""


class MaskBranch(_FixedSums, keras.Model):
    """The mask branch of an inference graph on boxes that are given, with the same weights.

    From [images, image_meta, normalized boxes [B, N, 4]] to mask probabilities [B, N, h, w, C].

    Args:
        model: of `build`, or of a subclass with Matterport's layer names.
        config: settings.
        molded: the images are float32 and molded already, not uint8.

    Attributes:
        slots: N; None: any number.
    """

    def __init__(self, model: keras.Model, config: Config, molded: bool) -> None:
        super().__init__(name="mask_branch")
        self.roi_align = model.get_layer("roi_align_mask")
        boxes, image_area, *feature_maps = self.roi_align.input
        self.slots: int | None = boxes.shape[1]
        self.trunk = keras.Model(model.inputs[:2], [image_area, *feature_maps])
        self.head = layers_between(self.roi_align, model.get_layer("mrcnn_mask"))
        self.mold = None if molded else network.mold_layer(config)
        self.compile(jit_compile=default_jit_compile(config.JIT_COMPILE))

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        images, meta, boxes = inputs
        x = images if self.mold is None else self.mold(images)
        image_area, *feature_maps = self.trunk([x, meta])
        x = self.roi_align([boxes, image_area, *feature_maps])
        for layer in self.head:
            x = layer(x)
        return x


def layers_between(first: keras.Layer, last: keras.Layer) -> list[keras.Layer]:
    """The layers after `first` up to `last`, of which each takes the output of the one before."""
    found = [last]
    while (source := found[-1].input._keras_history.operation) is not first:
        found.append(source)
    return found[::-1]


@known_by_its_name
@keras.saving.register_keras_serializable(package="mrcnn")
class InferenceNetwork(MatterportFiles, FixedSumsModel):
    """The inference graph of `mrcnn.network`, with Matterport's weights files.

    Attributes:
        anchors_of_shape: from (height, width) to normalized anchors float32 [A, 4]; of `build`.
    """

    anchors_of_shape: Callable[[Sequence[int]], np.ndarray] | None = None

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Run the graph, as Keras does, on Matterport's inputs.

        Args:
            x: [molded images [B, H, W, C], metas [B, ·], anchors [B, A, 4]]; without the anchors,
                as Matterport 2.0 called it, they are those of the images' shape.
            args, kwargs: of `keras.Model.predict`.

        Returns:
            Seven arrays, `mrcnn.network.INFERENCE_OUTPUTS`.
        """
        if isinstance(x, list | tuple) and len(x) == 2 and self.anchors_of_shape is not None:
            images = np.asarray(x[0])
            anchors = self.anchors_of_shape(images.shape[1:3])
            x = [*x, np.broadcast_to(anchors, (len(images), *anchors.shape))]
        return super().predict(x, *args, **kwargs)

    def _make_predict_function(self) -> None:
        """Do nothing: Keras 2 needed this call where several threads predict."""


def build(config: Config) -> InferenceNetwork:
    """The inference graph, for any image and batch size."""
    model = network.build_inference(config, InferenceNetwork)

    def anchors_of_shape(shape: Sequence[int]) -> np.ndarray:
        return norm_boxes(network.anchors_layer(config).of_shape(tuple(shape)), shape)

    model.anchors_of_shape = anchors_of_shape
    return model
