"""Masks for boxes that are given, such as those of the ground truth.

The mask branch alone, without the errors of the boxes and classes that it follows.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mrcnn.config import Config
from mrcnn.data import molding, unmolding
from mrcnn.data.boxes import extract_bboxes
from mrcnn.data.dataset import Dataset
from mrcnn.data.dataset_checks import load_mask
from mrcnn.inference.detector import MAX_STATIC_SHAPES, CompactResult, Detector, Prepared
from mrcnn.inference.model import MaskBranch

# Where the number of boxes is free it is rounded up, so that the graph meets few different shapes.
BOXES_AT_ONCE = 16
# A box that is given is certain.
SCORE = 1.0


class GivenBoxes(NamedTuple):
    """An image as the network takes it, with the boxes in which it is asked for masks."""

    image: Prepared
    boxes: np.ndarray  # float32 [N, 4], normalized
    class_ids: np.ndarray  # int32 [N]

    @property
    def shape(self) -> tuple[int, ...]:
        """Images of one shape can share a batch."""
        return self.image.shape


class MasksOfBoxes:
    """The mask branch of a detector, on boxes and classes that are given.

    `mrcnn.evaluation.detection.detect_images` runs it on the objects of a data set.

    Args:
        detector: whose network and settings are used, such as `MaskRCNN.detector`.
    """

    def __init__(self, detector: Detector) -> None:
        self.detector = detector
        self.config: Config = detector.config
        self._graphs: OrderedDict[tuple, MaskBranch] = OrderedDict()

    @property
    def batch_size(self) -> int:
        """The most images that `detect_batch` takes."""
        return self.detector.batch_size

    def prepare(self, image: np.ndarray, boxes: np.ndarray, class_ids: np.ndarray) -> GivenBoxes:
        """Resize an image for the network, and move boxes along. Any thread may do it.

        Args:
            image: [H, W, IMAGE_CHANNEL_COUNT].
            boxes: [N, 4] pixels (y1, x1, y2, x2) of the image.
            class_ids: [N], of the network; 0 is not one of them.

        Raises:
            ValueError: a class id is none of the network's, or there is not one for each box.
        """
        prepared = self.detector.prepare(image)
        boxes, class_ids = np.reshape(boxes, (-1, 4)), np.asarray(class_ids, np.int32)
        if len(boxes) != len(class_ids):
            raise ValueError(
                f"boxes: expected one class id for each; received {len(boxes)} boxes and "
                f"{len(class_ids)} class ids."
            )
        known = self.config.NUM_CLASSES
        if len(class_ids) and not (1 <= class_ids.min() and class_ids.max() < known):
            raise ValueError(
                f"class_ids: expected ids from 1 to {known - 1} (NUM_CLASSES is {known}); received "
                f"{sorted(set(class_ids.tolist()))}."
            )
        moved = unmolding.boxes_of_network(
            boxes, image.shape, prepared.resized.shape, prepared.window, self.config
        )
        return GivenBoxes(prepared, moved, class_ids)

    def prepare_labelled(self, dataset: Dataset, image_id: int, image: np.ndarray) -> GivenBoxes:
        """An image of a data set with its objects that have a mask, without crowds."""
        masks, class_ids = load_mask(dataset, image_id)
        alone = dataset.load_box_only(image_id)
        wanted = class_ids > 0
        if alone is not None:
            wanted &= ~np.asarray(alone, bool)
        if not wanted.any():  # masks may then have any size
            return self.prepare(image, np.zeros((0, 4)), np.zeros(0, np.int32))
        boxes = extract_bboxes(masks[..., wanted])
        filled = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        return self.prepare(image, boxes[filled], class_ids[wanted][filled])

    def detect_batch(self, batch: Sequence[GivenBoxes]) -> list[CompactResult]:
        """Predict the masks of up to `batch_size` images of one shape.

        Returns:
            As `mrcnn.inference.detector.Detector.detect_batch`: the given boxes and classes in
            their order, with scores of 1 and the masks of their classes.
        """
        masks = self._masks(batch)
        results = []
        for k, given in enumerate(batch):
            count = len(given.boxes)
            rows = np.concatenate(
                [given.boxes, given.class_ids[:, None], np.full((count, 1), SCORE)], axis=1
            )
            found = unmolding.locate_detections(
                rows,
                masks[k, :count],
                given.image.image_shape,
                given.image.resized.shape,
                given.image.window,
                self.config,
            )
            results.append({**found._asdict(), "image_shape": given.image.image_shape})
        return results

    def _masks(self, batch: Sequence[GivenBoxes]) -> np.ndarray:
        """Mask probabilities [images, most boxes of an image, h, w, C]."""
        images = np.stack([given.image.resized for given in batch])
        molded = images.dtype != np.uint8  # the graph takes bytes; others would be cut to them
        if molded:
            images = molding.mold_image(images, self.config)
        metas = np.stack([given.image.meta for given in batch]).astype(np.float32)
        most = max(1, *(len(given.boxes) for given in batch))
        graph = self._graph(images.shape[1:], molded)
        slots = graph.slots or -(-most // BOXES_AT_ONCE) * BOXES_AT_ONCE
        boxes = np.zeros((len(batch), -(-most // slots) * slots, 4), np.float32)
        for row, given in zip(boxes, batch, strict=True):
            row[: len(given.boxes)] = given.boxes
        missing = self.batch_size - len(batch)
        if missing:  # the graph has one batch size: fill up with the last image
            images, metas, boxes = (
                np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])
                for array in (images, metas, boxes)
            )
        # Of a graph with static shapes there may be more boxes than slots.
        parts = [
            graph.predict_on_batch([images, metas, boxes[:, first : first + slots]])
            for first in range(0, boxes.shape[1], slots)
        ]
        return np.concatenate(parts, axis=1)[: len(batch), :most]

    def _graph(self, image_shape: tuple[int, ...], molded: bool) -> MaskBranch:
        key = (image_shape, molded)
        if key not in self._graphs:
            self._graphs[key] = MaskBranch(self.detector.model, self.config, molded)
            if len(self._graphs) > MAX_STATIC_SHAPES:
                self._graphs.popitem(last=False)
        self._graphs.move_to_end(key)
        return self._graphs[key]
