"""One inference graph for images of every shape, for TensorFlow without XLA.

Keras's graph is traced for each image shape anew, which takes seconds. This one leaves the sides
of the image open. The frozen normalizations are folded into the kernels once, not in every call.
A single image is convolved as `mrcnn.tensorflow_backend.one_image` says.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from mrcnn import network
from mrcnn.config import Config
from mrcnn.layers.batch_norm import BatchNorm
from mrcnn.layers.folded_norm import FoldingConv2D
from mrcnn.ops.tensor import Tensor
from mrcnn.tensorflow_backend import one_image
from mrcnn.tensorflow_backend.compilation import tf_kernels_available
from mrcnn.tensorflow_backend.derived import Derived
from mrcnn.tensorflow_backend.one_image import Slice

Run = Callable[[Sequence[Any]], list[np.ndarray]]

# Image shapes whose anchors are kept.
MAX_SHAPES = 16


def can_be_open(model: keras.Model, config: Config) -> bool:
    """Whether an `OpenGraph` can be made: of a functional model, for TensorFlow without XLA."""
    return _is_functional(model) and tf_kernels_available(config.JIT_COMPILE)


class OpenGraph:
    """Runs an inference graph as `predict_on_batch` does, for images of any shape.

    Args:
        model: of `mrcnn.inference.model.build`: a functional model.
        config: the settings that it was built with.
    """

    def __init__(self, model: keras.Model, config: Config) -> None:
        self.model = model
        self._config = config
        self._anchors_layer = network.anchors_layer(config)
        self._anchors: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()
        self._walk = _Walk(model, slices=config.BATCH_SIZE == 1)
        self._traced: dict[bool, Run] = {}

    def predict_on_batch(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The model's outputs for one batch.

        Args:
            inputs: images [B, H, W, C], uint8 or molded, and image_meta [B, ·].
        """
        images, metas = inputs
        molded = images.dtype != np.uint8
        self._walk.refresh()
        if molded not in self._traced:
            self._traced[molded] = self._trace(molded)
        return self._traced[molded]([images, metas, self._anchors_of(images.shape[1:3])])

    def _trace(self, molded: bool) -> Run:
        batch, channels = self._config.BATCH_SIZE, self._config.IMAGE_CHANNEL_COUNT
        dtype = "float32" if molded else "uint8"
        mold = None if molded else network.mold_layer(self._config)

        def run(inputs: list[Tensor]) -> Any:
            images, metas, anchors = inputs
            anchors = keras.ops.broadcast_to(anchors, (batch, *keras.ops.shape(anchors)[1:]))
            x = images if mold is None else mold(images)
            return self._walk([x, metas, anchors], training=False)

        shapes = (
            ((batch, None, None, channels), dtype),
            ((batch, self._config.IMAGE_META_SIZE), "float32"),
            ((1, None, 4), "float32"),
        )
        return one_image.traced(run, [keras.KerasTensor(*shape) for shape in shapes])

    def _anchors_of(self, shape: tuple[int, int]) -> np.ndarray:
        if shape not in self._anchors:
            self._anchors[shape] = self._anchors_layer.normalized(shape)[None]
            if len(self._anchors) > MAX_SHAPES:
                self._anchors.popitem(last=False)
        self._anchors.move_to_end(shape)
        return self._anchors[shape]


class _Walk(keras.Model):
    """A functional model, layer by layer, in which convolutions are computed another way.

    Args:
        model: functional; models inside are entered.
        slices: convolve single images, as slices.
    """

    def __init__(self, model: keras.Model, slices: bool) -> None:
        super().__init__(name="open_graph", dtype="float32")
        # Not a sublayer: the weights are the model's, and an assigned model would be tracked.
        self._source = lambda: model
        self._slices = slices
        folded = [(layer, norm) for layer in _convolutions(model) if (norm := _norm_of(layer))]
        self._places = {id(layer): number for number, (layer, _) in enumerate(folded)}
        self._folded = Derived(
            [[*layer.variables, *norm.variables] for layer, norm in folded],
            [_Folding(layer) for layer, _ in folded],
        )

    def refresh(self) -> None:
        """Fold anew what has changed."""
        self._folded.refresh()

    def call(self, inputs: list[Tensor]) -> Any:
        return self._through(self._source(), inputs)

    def _through(self, model: keras.Model, inputs: Sequence[Any]) -> Any:
        def step(layer: Any) -> Callable[..., Any]:
            return lambda *args, **kwargs: self._step(layer, args, kwargs)

        outputs = model._run_through_graph(inputs, operation_fn=step)
        return keras.tree.map_structure(_image, outputs)

    def _step(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if _is_functional(layer):
            return self._through(layer, keras.tree.flatten(args))
        if _is_ordinary(layer):
            return self._convolve(layer, *args)
        if isinstance(layer, BatchNorm) and id(layer.folded_into()) in self._places:
            return args[0]
        if _is_elementwise(layer):
            values = keras.tree.flatten(args)
            if any(isinstance(value, Slice) for value in values):
                volumes = keras.tree.map_structure(lambda x: Slice.of(x).volume, args)
                return Slice(layer(*volumes, **kwargs))
        args, kwargs = keras.tree.map_structure(_image, (args, kwargs))
        return layer(*args, **kwargs)

    def _convolve(self, layer: keras.layers.Conv2D, x: Any) -> Any:
        if id(layer) in self._places:
            kernel, bias = self._folded.values[self._places[id(layer)]]
        else:
            kernel, bias = layer.kernel, layer.bias
        if self._slices and layer.compute_dtype == "float32":
            x = Slice.of(x)
        of = x.volume if isinstance(x, Slice) else x
        kernel = keras.ops.cast(kernel, of.dtype)
        bias = None if bias is None else keras.ops.cast(bias, of.dtype)
        x = one_image.convolve(x, kernel, bias, layer.strides, layer.padding)
        return Slice(layer.activation(x.volume)) if isinstance(x, Slice) else layer.activation(x)


class _Folding:
    """Kernel and offset of a convolution with its normalization, in the type it computes in."""

    def __init__(self, layer: FoldingConv2D) -> None:
        self.layer = layer

    def __call__(self) -> list[Tensor]:
        weights = self.layer.folded_weights()
        return [keras.ops.cast(value, self.layer.compute_dtype) for value in weights]


def _convolutions(model: keras.Model) -> list[keras.layers.Conv2D]:
    """The ordinary convolutions of feature maps."""
    found = []
    for layer in model.layers:
        if _is_functional(layer):
            found += _convolutions(layer)
        elif _is_ordinary(layer):
            found.append(layer)
    return found


def _is_functional(model: Any) -> bool:
    return hasattr(model, "_run_through_graph")


def _is_ordinary(layer: Any) -> bool:
    return (
        type(layer) in (keras.layers.Conv2D, FoldingConv2D)
        and layer.groups == 1
        and layer.dilation_rate == (1, 1)
        and layer.data_format == "channels_last"
    )


def _norm_of(layer: Any) -> keras.layers.BatchNormalization | None:
    return layer.norm if isinstance(layer, FoldingConv2D) else None


def _is_elementwise(layer: Any) -> bool:
    if isinstance(layer, keras.layers.Activation):
        return layer.activation is keras.activations.relu
    return isinstance(layer, keras.layers.Add)


def _image(value: Any) -> Any:
    return value.image if isinstance(value, Slice) else value
