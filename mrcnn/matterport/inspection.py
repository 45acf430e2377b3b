"""A look inside the network: intermediate tensors by name, their values, layers with weights.

`Inspector` is what stands behind `MaskRCNN.ancestor` and `MaskRCNN.run_graph`.

Notebooks ask for tensors by the names of Matterport's TensorFlow graph, such as
"ROI/refined_anchors:0". Here a layer is one operation, so a name means one of these:

- a layer's output, under the layer's name ("res4w_out"), its number ("res4w_out:0") or the
  name of the last operation that TensorFlow made for it ("res4w_out/Relu:0", "conv1/BiasAdd");
- a step of the proposal layer: "ROI/pre_nms_anchors", "ROI/refined_anchors",
  "ROI/refined_anchors_clipped", "ROI/rpn_non_max_suppression" (also with
  "/NonMaxSuppressionV2" to "V5" behind it);
- an output of the layer of training RoIs: "proposal_targets/rois", "/target_class_ids",
  "/target_bbox", "/target_mask".

Everything else inside a layer (such as "conv1/Conv2D", a convolution before its bias, or any
scope of "mrcnn_detection") has no tensor of its own, nor have the layers inside `rpn_model`,
which runs once for each level of the pyramid: ask for "rpn_class_logits", "rpn_class" and
"rpn_bbox" instead.

Shape letters: B images, L anchors before suppression, K proposals.
"""

from __future__ import annotations

import dataclasses
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mrcnn import batch as batch_names
from mrcnn.config import Config
from mrcnn.data import molding
from mrcnn.inference import model as inference_model
from mrcnn.layers.proposals import Proposals, proposal_steps
from mrcnn.layers.targets import RoiTargets
from mrcnn.logger import logger
from mrcnn.ops.tensor import Tensor
from mrcnn.tensorflow_backend.compilation import default_jit_compile
from mrcnn.tensorflow_backend.symbolic import let_identity_take_symbolic_tensors
from mrcnn.training import model as training_model

# Compiled graphs kept, one for each set of outputs and image shape.
MAX_GRAPHS = 16

_SUPPRESSION = "rpn_non_max_suppression"
# Names of a proposal layer's steps, by the place of the step in the outputs of `_InnerSteps`.
_STEP_NAMES = (
    ("pre_nms_anchors",),
    ("refined_anchors",),
    ("refined_anchors_clipped",),
    (_SUPPRESSION, *(f"{_SUPPRESSION}/NonMaxSuppressionV{version}" for version in (2, 3, 4, 5))),
)
_TARGET_NAMES = (("rois",), ("target_class_ids",), ("target_bbox",), ("target_mask",))

# The last operation that TensorFlow 1 and 2 make for a layer.
_LAST_OPERATIONS = (
    (keras.layers.BatchNormalization, ("batchnorm/add_1", "FusedBatchNorm", "FusedBatchNormV3")),
    (keras.layers.Add, ("add",)),
    (keras.layers.Concatenate, ("concat",)),
    (keras.layers.MaxPooling2D, ("MaxPool",)),
    (keras.layers.UpSampling2D, ("ResizeNearestNeighbor", "resize/ResizeNearestNeighbor")),
    (keras.layers.ZeroPadding2D, ("Pad",)),
    (keras.layers.Reshape, ("Reshape",)),
)
_ACTIVATIONS = {"linear": "BiasAdd", "relu": "Relu", "softmax": "Softmax", "sigmoid": "Sigmoid"}


def log(text: str, array: np.ndarray | Sequence[Any] | None = None) -> None:
    """Log a text and, if there is one, the shape, range and dtype of an array."""
    if array is not None:
        array = np.asarray(array)
        bounds = (array.min(), array.max()) if array.size else ("", "")
        low, high = (f"{float(x):10.5f}" if x != "" else " " * 10 for x in bounds)
        text = f"{text:<25}shape: {array.shape!s:<20}  min: {low}  max: {high}  {array.dtype}"
    logger.info(text)


def find_trainable_layer(layer: keras.Layer) -> keras.Layer:
    """The layer inside a wrapper, or inside several; other layers are returned as they are."""
    while isinstance(layer, keras.layers.Wrapper):
        layer = layer.layer
    return layer


def get_trainable_layers(model: keras.Model) -> list[keras.Layer]:
    """The layers of a model that have weights, frozen or not; `rpn_model` is one of them."""
    layers = map(find_trainable_layer, model.layers)
    return [layer for layer in layers if layer.get_weights()]


class Inspector:
    """Finds tensors of a network of `mrcnn.network`, and computes their values.

    Args:
        model: of `build_inference` or `build_training`.
        config: the settings that it was built with.
    """

    def __init__(self, model: keras.Model, config: Config) -> None:
        let_identity_take_symbolic_tensors()  # of a network that `MaskRCNN` has not built
        self.model = model
        self.config = config
        self._steps: dict[str, _InnerSteps] = {}
        # The tensors are held, because the key has their ids.
        self._graphs: OrderedDict[tuple, tuple[list[Tensor], keras.Model]] = OrderedDict()

    # --- Finding ------------------------------------------------------------------------------

    def ancestor(self, tensor: Tensor, name: str) -> Tensor | None:
        """The tensor of a name among those that a symbolic tensor is computed from.

        Args:
            tensor: where to start, such as `model.get_layer("ROI").output`. It counts itself,
                and so do the steps of its own layer.
            name: see the module's text; a regular expression that must match as a whole.

        Returns:
            The symbolic tensor, or None when there is none of this name.

        Raises:
            ValueError: `tensor` is no symbolic tensor of this model.
        """
        pattern = re.compile(name)
        for layer in self._graph_to({"tensor": tensor}).layers:
            for names, found in self._named_tensors(layer):
                if any(pattern.fullmatch(f"{own}{end}") for own in names for end in ("", ":0")):
                    return found() if callable(found) else found
        return None

    def _named_tensors(self, layer: keras.Layer) -> Iterator[tuple[Iterable[str], Tensor]]:
        """(names, tensor or a function that returns it) of what a layer computes."""
        if hasattr(layer, "layers"):  # a model: its tensors belong to a graph of its own
            return
        outputs = keras.tree.flatten(layer.output)
        first = [layer.name, *(f"{layer.name}/{end}" for end in _last_operations(layer))]
        yield first, outputs[0]
        for number, output in enumerate(outputs[1:], start=1):
            yield [f"{layer.name}:{number}"], output
        if isinstance(layer, Proposals):
            for number, names in enumerate(_STEP_NAMES):
                yield (
                    [f"{layer.name}/{name}" for name in names],
                    lambda number=number: self._inner_steps(layer).output[number],
                )
        if isinstance(layer, RoiTargets):
            for names, output in zip(_TARGET_NAMES, outputs, strict=False):
                yield [f"{layer.name}/{name}" for name in names], output

    def _inner_steps(self, layer: Proposals) -> _InnerSteps:
        if layer.name not in self._steps:
            self._steps[layer.name] = steps = _InnerSteps(
                **dataclasses.asdict(layer.settings),
                use_tf_kernels=layer.use_tf_kernels,
                name=f"{layer.name}_steps",
            )
            steps(layer.input)
        return self._steps[layer.name]

    def _graph_to(self, tensors: dict[str, Tensor], inputs: Any = None) -> keras.Model:
        """The part of the graph that leads from inputs, or all inputs, to named tensors."""
        for name, tensor in tensors.items():
            if not isinstance(tensor, keras.KerasTensor):
                raise ValueError(
                    f"{name}: expected a symbolic tensor of the Keras model, such as "
                    f"keras_model.get_layer('ROI').output; received {type(tensor).__name__}."
                )
        try:
            return inference_model.FixedSumsModel(
                inputs or self.model.inputs, list(tensors.values())
            )
        except ValueError as error:
            if len(tensors) > 1:  # find the first that fails
                for name, tensor in tensors.items():
                    self._graph_to({name: tensor}, inputs)
            raise ValueError(
                f"{', '.join(tensors)}: cannot be computed from "
                + (
                    "the model's inputs. Is this a tensor of another model?"
                    if inputs is None
                    else "images alone: it depends on the ground truth of a training batch, or "
                    "belongs to another model."
                )
            ) from error

    # --- Computing ----------------------------------------------------------------------------

    def run_graph(
        self,
        molded_images: np.ndarray,
        image_metas: np.ndarray,
        outputs: Sequence[tuple[str, Tensor]],
    ) -> OrderedDict[str, np.ndarray]:
        """Compute tensors for a batch of images, and `log` each.

        A training graph has one image shape and batch size; it takes up to a batch, and
        computes what depends on the images alone, not on ground truth.

        Args:
            molded_images: [B, H, W, channels] float32, of `mold_inputs`.
            image_metas: [B, ·].
            outputs: (name, symbolic tensor) pairs.

        Returns:
            The arrays by their names, in order. "ROI/rpn_non_max_suppression" is, as in the
            Matterport's, that of image 0 and without padding: int32 [K at most].
        """
        tensors = OrderedDict(outputs)
        if not tensors:
            raise ValueError("outputs: expected at least one (name, tensor) pair; received none.")
        missing = [name for name, tensor in tensors.items() if tensor is None]
        if missing:
            raise ValueError(
                f"outputs: expected symbolic tensors; received None for {', '.join(missing)}. "
                "`ancestor` returns None when it finds no tensor of the name it is given."
            )
        training = isinstance(self.model, training_model.TrainingModel)
        images, metas = np.asarray(molded_images, np.float32), np.asarray(image_metas, np.float32)
        count = len(images)
        if training:
            images, metas = self._training_batch(images, metas)
        graph = self._graph(tensors, images.shape, training)
        values = keras.tree.flatten(graph.predict_on_batch([images, metas]))
        results = OrderedDict()
        for (name, tensor), value in zip(tensors.items(), values, strict=True):
            value = np.asarray(value)
            if any(tensor is steps.output[-1] for steps in self._steps.values()):
                value = value[0][value[0] >= 0]
            elif training and value.ndim:
                value = value[:count]
            results[name] = value
            log(name, value)
        return results

    def _graph(
        self, tensors: dict[str, Tensor], shape: tuple[int, ...], training: bool
    ) -> keras.Model:
        """A compiled model from [images, image_metas] to the tensors."""
        key = (*map(id, tensors.values()), shape)
        if key not in self._graphs:
            inputs = {tensor.name: tensor for tensor in self.model.inputs}
            # Keras takes an inner model that returns its own input for a cycle.
            ends = {
                name: keras.layers.Identity()(tensor)
                if any(tensor is one for one in inputs.values())
                else tensor
                for name, tensor in tensors.items()
            }
            if training:
                images = [inputs[batch_names.IMAGE], inputs[batch_names.IMAGE_META]]
                graph = self._graph_to(ends, images)
                graph.compile(jit_compile=default_jit_compile(self.config.JIT_COMPILE))
            else:
                graph = inference_model.with_static_shape(
                    self._graph_to(ends), shape[1:], shape[0], self.config, molded=True
                )
            self._graphs[key] = list(tensors.values()), graph
            if len(self._graphs) > MAX_GRAPHS:
                self._graphs.popitem(last=False)
        self._graphs.move_to_end(key)
        return self._graphs[key][1]

    def _training_batch(
        self, images: np.ndarray, metas: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Images as the training graph takes them: not molded, and as many as it has slots."""
        batch, *shape = next(x for x in self.model.inputs if x.name == batch_names.IMAGE).shape
        fits = all(side in (None, own) for side, own in zip(shape, images.shape[1:], strict=True))
        if not fits or len(images) > batch:
            raise ValueError(
                f"images: a training graph takes up to {batch} images, which become {shape} "
                f"after resizing; received {len(images)}, which become {list(images.shape[1:])}. "
                'Use a model made with mode="inference" for others.'
            )
        images = molding.add_mean(images, self.config.MEAN_PIXEL)
        rows = np.minimum(np.arange(batch), len(images) - 1)
        return images[rows], metas[rows]


def _last_operations(layer: keras.Layer) -> list[str]:
    """Names of the last operation that TensorFlow made for a layer, without its scope."""
    names = [name for kind, ends in _LAST_OPERATIONS if isinstance(layer, kind) for name in ends]
    activation = getattr(getattr(layer, "activation", None), "__name__", None)
    if activation in _ACTIVATIONS:
        names.append(_ACTIVATIONS[activation])
    if layer.name.startswith("mrcnn_"):  # wrapped in TensorFlow, to treat each RoI by itself
        names.append("Reshape_1")
    return names


@keras.saving.register_keras_serializable(package="mrcnn")
class _InnerSteps(Proposals):
    """The steps of a proposal layer as outputs: see `mrcnn.layers.proposals.ProposalSteps`.

    [probabilities [B, A, 2], deltas, anchors] -> (anchors, refined, clipped [B, L, 4],
    kept rows int32 [B, K], -1 where fewer than K are kept).
    """

    def call(self, inputs: list[Tensor]) -> tuple[Tensor, ...]:
        probabilities, deltas, anchors = inputs
        steps = proposal_steps(
            probabilities[..., 1], deltas, anchors, self.settings, self.use_tf_kernels
        )
        return (*steps[:3], ops.where(steps.found, steps.kept, -1))

    def compute_output_spec(self, inputs: list[Tensor]) -> tuple[Any, ...]:
        batch, anchors = inputs[2].shape[:2]
        limit = None if anchors is None else min(self.settings.pre_nms_limit, anchors)
        boxes = [keras.KerasTensor((batch, limit, 4), dtype="float32") for _ in range(3)]
        return (*boxes, keras.KerasTensor((batch, self.settings.proposal_count), dtype="int32"))
