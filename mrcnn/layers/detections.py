"""Detections: the box head's answers, refined, filtered and thinned out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mrcnn.layers.kernel_choice import KernelChoiceLayer
from mrcnn.ops import boxes as box_ops
from mrcnn.ops.image_meta import normalized_window
from mrcnn.ops.indexing import first_largest, gather_rows
from mrcnn.ops.nms import nms_sorted
from mrcnn.ops.target_settings import STD_DEV
from mrcnn.ops.tensor import Tensor


@dataclasses.dataclass(frozen=True)
class DetectionSettings:
    """Which of the classified RoIs become detections.

    Args:
        max_instances: D, detections of an image at most.
        min_confidence: the least score; 0 keeps all.
        nms_threshold: IoU above which the weaker one of a class is dropped.
        std_dev: four numbers that multiply the predicted deltas.
    """

    max_instances: int = 100
    min_confidence: float = 0.7
    nms_threshold: float = 0.3
    std_dev: Sequence[float] | np.ndarray = STD_DEV

    def __post_init__(self) -> None:
        object.__setattr__(self, "std_dev", tuple(float(value) for value in self.std_dev))


def refine_detections(
    rois: Tensor,
    probabilities: Tensor,
    deltas: Tensor,
    window: Tensor,
    settings: DetectionSettings,
    use_tf_kernels: bool = False,
) -> Tensor:
    """Turn classified RoIs into detections.

    Each RoI votes for its best class; its box is moved by that class's deltas and
    clipped to the window; background and weak ones are dropped; boxes of one class
    suppress each other; the best ones are kept.

    Args:
        rois: [B, R, 4] normalized.
        probabilities: [B, R, C].
        deltas: [B, R, C, 4].
        window: [B, 4] normalized, the part of the image that is not padding.
        settings: what is kept.
        use_tf_kernels: see `mrcnn.tensorflow_backend`.

    Returns:
        [B, D, 6]: y1, x1, y2, x2 (normalized), class id, score; zero padded.
    """
    class_ids = first_largest(probabilities)
    scores = ops.max(probabilities, axis=-1)
    own = ops.take_along_axis(deltas, class_ids[:, :, None, None], axis=2)[:, :, 0]
    std_dev = ops.convert_to_tensor(np.array(settings.std_dev, np.float32))
    boxes = box_ops.clip(box_ops.decode(rois, own * std_dev), window[:, None, :])

    keep = class_ids > 0
    if settings.min_confidence:
        keep = keep & (scores >= settings.min_confidence)
    # Candidates first and by falling score, as nms_sorted wants them.
    order = ops.cast(ops.top_k(ops.where(keep, scores, -1.0), scores.shape[1])[1], "int32")
    boxes = gather_rows(boxes, order)
    class_ids, scores, keep = (
        ops.take_along_axis(values, order, axis=1) for values in (class_ids, scores, keep)
    )
    index, found = nms_sorted(
        boxes,
        keep,
        settings.nms_threshold,
        settings.max_instances,
        groups=class_ids,
        use_tf_kernels=use_tf_kernels,
    )
    rows = ops.concatenate(
        [boxes, ops.cast(class_ids, "float32")[..., None], scores[..., None]], axis=-1
    )
    return ops.where(found[..., None], gather_rows(rows, index), 0.0)


@keras.saving.register_keras_serializable(package="mrcnn")
class Detections(KernelChoiceLayer):
    """[rois, probabilities, deltas, image_meta] -> [B, D, 6]; see `refine_detections`."""

    def __init__(
        self,
        max_instances: int = 100,
        min_confidence: float = 0.7,
        nms_threshold: float = 0.3,
        std_dev: Sequence[float] | np.ndarray = STD_DEV,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.settings = DetectionSettings(max_instances, min_confidence, nms_threshold, std_dev)

    def call(self, inputs: list[Tensor]) -> Tensor:
        rois, probabilities, deltas, image_meta = inputs
        return refine_detections(
            rois,
            probabilities,
            deltas,
            normalized_window(image_meta),
            self.settings,
            self.use_tf_kernels,
        )

    def compute_output_shape(self, input_shape: list[tuple]) -> tuple[int | None, ...]:
        return (input_shape[0][0], self.settings.max_instances, 6)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **dataclasses.asdict(self.settings)}
