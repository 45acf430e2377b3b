"""Detection: images of any size through the inference graph, to boxes and masks in their pixels.

The three steps of `Detector.detect` can be taken one by one, to do them at the same time for
different images (`mrcnn.evaluation.pipeline`): `prepare`, `detect_batch`, and pasting the masks.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np

from mrcnn.config import Config
from mrcnn.data import molding, unmolding
from mrcnn.data.image_values import unusual_range
from mrcnn.data.images import Box
from mrcnn.data.masks import paste_masks
from mrcnn.inference import model as inference_model
from mrcnn.inference.frozen_graph import FrozenGraph
from mrcnn.inference.open_graph import OpenGraph, can_be_open
from mrcnn.logger import logger
from mrcnn.tensorflow_backend.compilation import tf_kernels_available

# Inference graphs kept, one for each image shape that was met.
MAX_STATIC_SHAPES = 16

_RESULT_KEYS = ("rois", "class_ids", "scores", "masks")
_PASTED_KEYS = ("box_masks", "mask_areas", "image_shape", "mask_corners")

CompactResult = dict[str, Any]
Graph: TypeAlias = keras.Model | FrozenGraph | OpenGraph


class Prepared(NamedTuple):
    """An image as the network takes it."""

    image_shape: tuple[int, ...]  # (H, W, C) of the original image
    resized: np.ndarray  # [h, w, C]
    meta: np.ndarray  # [IMAGE_META_SIZE]
    window: Box  # y1, x1, y2, x2: the part of `resized` that is not padding

    @property
    def shape(self) -> tuple[int, ...]:
        """Images of one shape can share a batch."""
        return self.resized.shape


class Detector:
    """Runs a model of `mrcnn.network.build_inference` on images.

    Args:
        model: the inference graph.
        config: the settings that it was built with.

    Attributes:
        image_shape: (height, width) of the network's input in the last run.
    """

    def __init__(self, model: keras.Model, config: Config) -> None:
        self.model = model
        self.config = config
        self.image_shape = tuple(int(side) for side in config.IMAGE_SHAPE[:2])
        self._static: OrderedDict[tuple, keras.Model | FrozenGraph] = OrderedDict()
        self._open: OpenGraph | None = None
        self._range_said = False

    @property
    def batch_size(self) -> int:
        """The most images that `detect_batch` takes."""
        return self.config.BATCH_SIZE

    def detect(self, images: Iterable[np.ndarray]) -> list[dict[str, Any]]:
        """One result for each image; see `mrcnn.model.MaskRCNN.detect`."""
        results = []
        for found in self.detect_compact(images):
            result = {name: found[name] for name in _RESULT_KEYS[:-1]}
            masks = paste_masks(*(found[name] for name in _PASTED_KEYS))
            results.append({**result, "masks": masks})
        return results

    def detect_compact(self, images: Iterable[np.ndarray]) -> list[CompactResult]:
        """Detect without pasting masks: a result takes kilobytes, whatever the image's size.

        Returns:
            A dict for each image: "rois" int32 [N, 4] pixel boxes, "class_ids" int32 [N],
            "scores" float32 [N], "box_masks" float32 [N, h, w] probabilities within the boxes,
            "boxes" [N, 4], the rois before rounding, "mask_areas" [N, 4], "mask_corners" [N, 4] or
            None, and "image_shape" (H, W, C); see `mrcnn.data.unmolding.Located`. Of box_masks,
            mask_areas, image_shape and mask_corners, `mrcnn.data.masks.paste_masks` makes masks and
            `mrcnn.data.rle.encode_in_boxes` COCO's run lengths.
        """
        results: dict[int, CompactResult] = {}
        for batch in self._batches(images):
            found = self.detect_batch([prepared for _, prepared in batch])
            results.update(zip((index for index, _ in batch), found, strict=True))
        return [results[index] for index in range(len(results))]

    def prepare(self, image: np.ndarray, index: int = 0) -> Prepared:
        """Resize an image for the network. Any thread may do it.

        Args:
            image: [H, W, IMAGE_CHANNEL_COUNT], of any finite values, in the units of MEAN_PIXEL.
            index: the image's place in the caller's list, for errors.

        Raises:
            TypeError, ValueError: the image has the wrong type or shape.
        """
        # `MaskRCNN.detect` has checked its list already, so that a wrong image is an error before
        # the first one is detected; here come the images of iterators and of other callers too.
        molding.check_image(image, self.config.IMAGE_CHANNEL_COUNT, index)
        if image.dtype != np.uint8 and not self._range_said:
            unusual = unusual_range(image, self.config.MEAN_PIXEL)
            if unusual:
                self._range_said = True
                logger.warning(f"images[{index}] has {unusual}")
        prepared = Prepared(image.shape, *molding.resize_to_input(image, self.config))
        molding.check_input_shape(prepared.shape, self.config, f"images[{index}]")
        return prepared

    def detect_batch(self, batch: Sequence[Prepared]) -> list[CompactResult]:
        """Run the network on up to `batch_size` images of one shape; see `detect_compact`."""
        inputs = np.stack([prepared.resized for prepared in batch])
        molded = inputs.dtype != np.uint8  # the graph takes bytes; others would be cut to them
        if molded:
            inputs = molding.mold_image(inputs, self.config)
        outputs = self._run(inputs, np.stack([prepared.meta for prepared in batch]), molded)
        results = []
        for k, prepared in enumerate(batch):
            found = unmolding.locate_detections(
                outputs[0][k],
                outputs[3][k],
                prepared.image_shape,
                prepared.resized.shape,
                prepared.window,
                self.config,
            )
            results.append({**found._asdict(), "image_shape": prepared.image_shape})
        return results

    def detect_molded(
        self, molded_images: np.ndarray, image_metas: np.ndarray
    ) -> list[dict[str, Any]]:
        """One result for each molded image, in its pixels."""
        if len(molded_images) == 0 or len(molded_images) != len(image_metas):
            raise ValueError(
                "molded_images: expected at least one, with one row of image_metas each; "
                f"received {len(molded_images)} and {len(image_metas)}."
            )
        molding.check_input_shape(molded_images.shape[1:], self.config, "molded_images")
        results = []
        size = self.config.BATCH_SIZE
        for first in range(0, len(molded_images), size):
            images = np.asarray(molded_images[first : first + size], np.float32)
            metas = np.asarray(image_metas[first : first + size])
            outputs = self._run(images, metas, molded=True)
            for detections, masks, image in zip(outputs[0], outputs[3], images, strict=False):
                whole = (0, 0, *image.shape[:2])
                found = unmolding.unmold_detections(
                    detections, masks, image.shape, image.shape, whole, self.config
                )
                results.append(dict(zip(_RESULT_KEYS, found, strict=True)))
        return results

    def graph(self, image_shape: tuple[int, ...], molded: bool) -> Graph:
        """The graph that images of one shape go through; its `predict_on_batch` runs it.

        One for all shapes where it can be, on TensorFlow without XLA, unless FREEZE_GRAPH is True
        or False.

        Args:
            image_shape: (height, width, channels) of the network's input.
            molded: the images are float32 and molded already, not uint8.
        """
        key, config = (image_shape, molded), self.config
        if config.FREEZE_GRAPH is None and can_be_open(self.model, config):
            self._open = self._open or OpenGraph(self.model, config)
            return self._open
        if key not in self._static:
            graph = inference_model.with_static_shape(
                self.model, image_shape, config.BATCH_SIZE, config, molded
            )
            if config.FREEZE_GRAPH:
                graph = self._frozen(graph)
            self._static[key] = graph
            if len(self._static) > MAX_STATIC_SHAPES:
                self._static.popitem(last=False)
        self._static.move_to_end(key)
        return self._static[key]

    def _frozen(self, graph: keras.Model) -> keras.Model | FrozenGraph:
        if tf_kernels_available(self.config.JIT_COMPILE) and self.config.BATCH_SIZE == 1:
            return FrozenGraph(graph)
        warnings.warn(
            "FREEZE_GRAPH has no effect here: expected TensorFlow without XLA and BATCH_SIZE 1; "
            f"received the backend {keras.backend.backend()}, JIT_COMPILE "
            f"{self.config.JIT_COMPILE} and BATCH_SIZE {self.config.BATCH_SIZE}. Set "
            "IMAGES_PER_GPU = 1, or leave FREEZE_GRAPH out.",
            stacklevel=2,
        )
        return graph

    def _batches(self, images: Iterable[np.ndarray]) -> Iterator[list[tuple[int, Prepared]]]:
        """Resize images one after the other, and group those of one shape.

        Yields:
            Up to `batch_size` tuples (place of the image among all, prepared image).
        """
        waiting: dict[tuple[int, ...], list[tuple[int, Prepared]]] = {}
        for index, image in enumerate(images):
            prepared = self.prepare(image, index)
            batch = waiting.setdefault(prepared.shape, [])
            batch.append((index, prepared))
            if len(batch) == self.batch_size:
                yield waiting.pop(prepared.shape)
        yield from waiting.values()

    def _run(self, images: np.ndarray, metas: np.ndarray, molded: bool) -> list[np.ndarray]:
        """Run the inference graph on up to BATCH_SIZE images of one shape."""
        size = self.config.BATCH_SIZE
        self.image_shape = images.shape[1:3]
        graph = self.graph(images.shape[1:], molded)
        missing = size - len(images)
        if missing:  # the graph has one batch size: fill up with the last image
            images = np.concatenate([images, np.repeat(images[-1:], missing, axis=0)])
            metas = np.concatenate([metas, np.repeat(metas[-1:], missing, axis=0)])
        outputs = graph.predict_on_batch([images, metas.astype(np.float32)])
        return [output[: len(output) - missing] for output in outputs]
