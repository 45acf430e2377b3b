"""Proposals chosen from each level of the pyramid by itself, as torchvision's.

See torchvision `models/detection/rpn.py`, `RegionProposalNetwork.filter_proposals`: of each level
the best anchors are moved by their deltas in pixels, clipped to the image without its padding, and
suppress each other; the best of all levels are the proposals.

Shape letters: B images, A anchors, of which A_l belong to level l, L chosen ones of a level, K
proposals.
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
class LevelProposalSettings:
    """How proposals are chosen.

    Args:
        proposal_count: proposals of an image at most, K.
        nms_threshold: IoU above which the weaker one of a level is dropped.
        pre_nms_limit: anchors of a level that are looked at, best first.
        std_dev: four numbers that multiply the predicted deltas.
        largest_log_growth: of a side by a delta.
        least_side: in pixels; smaller boxes are left out, and those without an area.
    """

    proposal_count: int
    nms_threshold: float
    pre_nms_limit: int
    std_dev: Sequence[float] | np.ndarray
    largest_log_growth: float
    least_side: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "std_dev", tuple(float(value) for value in self.std_dev))


def propose_by_level(
    scores: Sequence[Tensor],
    deltas: Sequence[Tensor],
    anchors: Tensor,
    window: Tensor,
    settings: LevelProposalSettings,
    use_tf_kernels: bool = False,
) -> Tensor:
    """Choose proposals.

    Args:
        scores: of each level [B, A_l]; only their order counts.
        deltas: of each level [B, A_l, 4], as the RPN predicts them.
        anchors: [B, A, 4] in pixels, level after level.
        window: [B, 4] in pixels, the part of the image that is not padding.
        settings: what is kept.
        use_tf_kernels: see `mrcnn.tensorflow_backend`.

    Returns:
        [B, K, 4] in pixels, by falling score; boxes of zeros where there are fewer.
    """
    count = settings.proposal_count
    start: Any = 0
    kept_boxes, kept_scores = [], []
    for level_scores, level_deltas in zip(scores, deltas, strict=True):
        stop = start + ops.shape(level_scores)[1]
        boxes, found_scores = _of_level(
            ops.stop_gradient(level_scores),
            ops.stop_gradient(level_deltas),
            anchors[:, start:stop],
            window,
            settings,
            use_tf_kernels,
        )
        kept_boxes.append(boxes)
        kept_scores.append(found_scores)
        start = stop
    all_scores = ops.concatenate(kept_scores, axis=1)
    best, index = ops.top_k(all_scores, count)
    boxes = gather_rows(ops.concatenate(kept_boxes, axis=1), ops.cast(index, "int32"))
    return ops.where(ops.isfinite(best)[..., None], boxes, 0.0)


def _of_level(
    scores: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    window: Tensor,
    settings: LevelProposalSettings,
    use_tf_kernels: bool,
) -> tuple[Tensor, Tensor]:
    """The proposals of a level, [B, K, 4], and their scores [B, K], -inf where there is none."""
    limit: Any = settings.pre_nms_limit
    if scores.shape[1] is None:  # for TensorFlow's kernels only, which need no static shapes
        limit = ops.minimum(limit, ops.shape(scores)[1])
    else:
        limit = min(limit, scores.shape[1])
    scores, index = ops.top_k(scores, limit)
    index = ops.cast(index, "int32")
    std_dev = ops.convert_to_tensor(settings.std_dev, dtype="float32")
    boxes = box_ops.decode(
        gather_rows(anchors, index),
        gather_rows(deltas, index) * std_dev,
        settings.largest_log_growth,
    )
    boxes = box_ops.clip(boxes, window[:, None, :])
    sides = boxes[..., 2:] - boxes[..., :2]
    valid = ops.all((sides >= settings.least_side) & (sides > 0), axis=-1)
    kept, found = nms_sorted(
        boxes, valid, settings.nms_threshold, settings.proposal_count, use_tf_kernels=use_tf_kernels
    )
    kept_scores = ops.where(found, ops.take_along_axis(scores, kept, axis=1), -np.inf)
    return gather_rows(boxes, kept), kept_scores


@keras.saving.register_keras_serializable(package="mrcnn")
class LevelProposals(KernelChoiceLayer):
    """Layer over `propose_by_level`: [anchors, image_meta, *logits, *deltas] -> [B, K, 4].

    Anchors and proposals are normalized; logits [B, A_l, 1] and deltas [B, A_l, 4] come level
    after level. Boxes are float32 under any dtype policy, and no gradient flows back.

    Args:
        proposal_count, nms_threshold, pre_nms_limit, std_dev, largest_log_growth, least_side: see
            `LevelProposalSettings`.
        whole_anchors: the corners of anchors are whole pixels, and are rounded to these again: what
            they lose by being normalized may decide which of two boxes stays.
    """

    def __init__(
        self,
        proposal_count: int,
        nms_threshold: float,
        pre_nms_limit: int,
        std_dev: Sequence[float] | np.ndarray,
        largest_log_growth: float,
        least_side: float,
        whole_anchors: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.whole_anchors = whole_anchors
        self.settings = LevelProposalSettings(
            proposal_count, nms_threshold, pre_nms_limit, std_dev, largest_log_growth, least_side
        )

    def call(self, inputs: list[Tensor]) -> Tensor:
        anchors, meta, *levels = inputs
        count = len(levels) // 2
        parts = parse_image_meta(meta)
        shape = ops.cast(parts["image_shape"][0], "float32")
        anchors = box_ops.to_edges(anchors, shape)
        boxes = propose_by_level(
            [logits[..., 0] for logits in levels[:count]],
            levels[count:],
            ops.round(anchors) if self.whole_anchors else anchors,
            ops.cast(parts["window"], "float32"),
            self.settings,
            self.use_tf_kernels,
        )
        there = ops.any(boxes != 0, axis=-1, keepdims=True)
        return ops.where(there, box_ops.normalize(boxes, shape), 0.0)

    def compute_output_shape(self, input_shape: list[tuple]) -> tuple[int | None, ...]:
        return (input_shape[0][0], self.settings.proposal_count, 4)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            **dataclasses.asdict(self.settings),
            "whole_anchors": self.whole_anchors,
        }
