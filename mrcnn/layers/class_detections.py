"""Detections of every class that a RoI may be, as torchvision's.

See torchvision `models/detection/roi_heads.py`, `RoIHeads.postprocess_detections`: a RoI has a box
for each class but the background, and is a detection of each class whose probability is above the
least one. Boxes of one class suppress each other; the best of all classes are kept.

Shape letters: B images, R RoIs of an image, C classes, D detections of an image.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mrcnn.layers.kernel_choice import KernelChoiceLayer
from mrcnn.ops import boxes as box_ops
from mrcnn.ops.image_meta import parse_image_meta
from mrcnn.ops.indexing import gather_rows
from mrcnn.ops.nms import nms_sorted
from mrcnn.ops.tensor import Tensor


@dataclasses.dataclass(frozen=True)
class ClassDetectionSettings:
    """Which classes of which RoIs become detections.

    Args:
        max_instances: D, detections of an image at most.
        min_confidence: the score is above it.
        nms_threshold: IoU above which the weaker one of a class is dropped.
        std_dev: four numbers that multiply the predicted deltas.
        largest_log_growth: of a side by a delta.
        least_side: in pixels; smaller boxes are left out.
    """

    max_instances: int
    min_confidence: float
    nms_threshold: float
    std_dev: Sequence[float] | np.ndarray
    largest_log_growth: float
    least_side: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "std_dev", tuple(float(value) for value in self.std_dev))

    def most_candidates(self, rois: int, classes: int) -> int:
        """How many pairs of a RoI and a class can be above the least score.

        The probabilities of a RoI sum up to 1.
        """
        above = classes - 1
        if self.min_confidence > 0:
            above = min(above, int(1 / self.min_confidence))
        return rois * max(above, 1)


def detect_every_class(
    rois: Tensor,
    probabilities: Tensor,
    deltas: Tensor,
    window: Tensor,
    settings: ClassDetectionSettings,
) -> Tensor:
    """Turn classified RoIs into detections.

    Args:
        rois: [B, R, 4] in pixels; boxes of zeros are none.
        probabilities: [B, R, C], the background first.
        deltas: [B, R, C, 4].
        window: [B, 4] in pixels, the part of the image that is not padding.
        settings: what is kept.

    Returns:
        [B, D, 6]: y1, x1, y2, x2 (pixels), class id, score; by falling score, zero padded.
    """
    batch, count, classes = probabilities.shape
    std_dev = ops.convert_to_tensor(np.array(settings.std_dev, np.float32))
    boxes = box_ops.decode(rois[:, :, None], deltas * std_dev, settings.largest_log_growth)
    boxes = box_ops.clip(boxes, window[:, None, None, :])[:, :, 1:]
    sides = boxes[..., 2:] - boxes[..., :2]
    scores = probabilities[:, :, 1:]
    keep = (scores > settings.min_confidence) & ops.all(sides >= settings.least_side, axis=-1)
    keep = keep & ops.any(rois != 0, axis=-1)[..., None]

    candidates = count * (classes - 1)
    flat = ops.reshape(ops.where(keep, scores, -1.0), (batch, candidates))
    most = min(settings.most_candidates(count, classes), candidates)
    scores, order = ops.top_k(flat, most)
    order = ops.cast(order, "int32")
    boxes = gather_rows(ops.reshape(boxes, (batch, candidates, 4)), order)
    class_ids = order % (classes - 1) + 1
    # Block by block on every backend: TensorFlow's kernel for groups compares all with all.
    index, found = nms_sorted(
        boxes, scores > 0, settings.nms_threshold, settings.max_instances, groups=class_ids
    )
    rows = ops.concatenate(
        [boxes, ops.cast(class_ids, "float32")[..., None], scores[..., None]], axis=-1
    )
    return ops.where(found[..., None], gather_rows(rows, index), 0.0)


@keras.saving.register_keras_serializable(package="mrcnn")
class ClassDetections(KernelChoiceLayer):
    """[rois, probabilities, deltas, image_meta] -> [B, D, 6]; see `detect_every_class`.

    RoIs and detections are normalized.
    """

    def __init__(
        self,
        max_instances: int,
        min_confidence: float,
        nms_threshold: float,
        std_dev: Sequence[float] | np.ndarray,
        largest_log_growth: float,
        least_side: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.settings = ClassDetectionSettings(
            max_instances, min_confidence, nms_threshold, std_dev, largest_log_growth, least_side
        )

    def call(self, inputs: list[Tensor]) -> Tensor:
        rois, probabilities, deltas, meta = inputs
        parts = parse_image_meta(meta)
        shape = ops.cast(parts["image_shape"][0], "float32")
        there = ops.any(rois != 0, axis=-1, keepdims=True)
        found = detect_every_class(
            ops.where(there, box_ops.to_edges(rois, shape), 0.0),
            probabilities,
            deltas,
            ops.cast(parts["window"], "float32"),
            self.settings,
        )
        boxes = box_ops.normalize(found[..., :4], shape)
        rows = ops.concatenate([boxes, found[..., 4:]], axis=-1)
        return ops.where(found[..., 4:5] > 0, rows, 0.0)

    def compute_output_shape(self, input_shape: list[tuple]) -> tuple[int | None, ...]:
        return (input_shape[0][0], self.settings.max_instances, 6)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **dataclasses.asdict(self.settings)}
