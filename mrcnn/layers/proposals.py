"""Proposals: the RPN's best boxes, moved, clipped and thinned out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from mrcnn.layers.kernel_choice import KernelChoiceLayer
from mrcnn.ops import boxes as box_ops
from mrcnn.ops.indexing import gather_rows
from mrcnn.ops.nms import nms_sorted
from mrcnn.ops.target_settings import STD_DEV
from mrcnn.ops.tensor import Tensor

_WHOLE_IMAGE = np.array([0.0, 0.0, 1.0, 1.0], np.float32)


class ProposalSteps(NamedTuple):
    """What happens to the best anchors, step by step; L is at most `pre_nms_limit`."""

    anchors: Tensor  # [B, L, 4] normalized, by falling score
    refined: Tensor  # [B, L, 4], moved by their deltas
    clipped: Tensor  # [B, L, 4], and clipped to the image
    kept: Tensor  # [B, K] int32, the rows that no better box suppresses
    found: Tensor  # [B, K] bool, false where fewer than K are kept


@dataclasses.dataclass(frozen=True)
class ProposalSettings:
    """How proposals are chosen.

    Args:
        proposal_count: proposals kept at most, K.
        nms_threshold: IoU above which the weaker one is dropped.
        pre_nms_limit: anchors that are kept, best first.
        std_dev: four numbers that multiply the predicted deltas.
    """

    proposal_count: int
    nms_threshold: float
    pre_nms_limit: int = 6000
    std_dev: Sequence[float] | np.ndarray = STD_DEV

    def __post_init__(self) -> None:
        object.__setattr__(self, "std_dev", tuple(float(value) for value in self.std_dev))


def proposal_steps(
    scores: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    settings: ProposalSettings,
    use_tf_kernels: bool = False,
) -> ProposalSteps:
    """Move the best anchors, clip them, and let them suppress each other.

    Args:
        scores: [B, A], probability of an object.
        deltas: [B, A, 4], as the RPN predicts them (divided by `settings.std_dev`).
        anchors: [B, A, 4] normalized.
        settings: what is kept.
        use_tf_kernels: see `mrcnn.tensorflow_backend`.
    """
    scores, deltas = ops.stop_gradient(scores), ops.stop_gradient(deltas)
    limit = settings.pre_nms_limit
    if anchors.shape[1] is None:  # for TensorFlow's kernels only, which need no static shapes
        limit = ops.minimum(limit, ops.shape(anchors)[1])
    else:
        limit = min(limit, anchors.shape[1])
    std_dev = ops.convert_to_tensor(settings.std_dev, dtype="float32")
    index = ops.cast(ops.top_k(scores, limit)[1], "int32")
    chosen = gather_rows(anchors, index)
    refined = box_ops.decode(chosen, gather_rows(deltas, index) * std_dev)
    clipped = box_ops.clip(refined, ops.convert_to_tensor(_WHOLE_IMAGE))
    valid = ops.ones((anchors.shape[0], limit), dtype="int32") > 0
    kept, found = nms_sorted(
        clipped,
        valid,
        settings.nms_threshold,
        settings.proposal_count,
        use_tf_kernels=use_tf_kernels,
    )
    return ProposalSteps(chosen, refined, clipped, kept, found)


def propose(
    scores: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    settings: ProposalSettings,
    use_tf_kernels: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Select proposals; arguments as `proposal_steps`.

    Returns:
        (proposals [B, K, 4] normalized, zero padded, by falling score;
        the chosen anchors [B, L, 4]; the same moved and clipped).
    """
    steps = proposal_steps(scores, deltas, anchors, settings, use_tf_kernels)
    proposals = ops.where(steps.found[..., None], gather_rows(steps.clipped, steps.kept), 0.0)
    return proposals, steps.anchors, steps.clipped


@keras.saving.register_keras_serializable(package="mrcnn")
class Proposals(KernelChoiceLayer):
    """Layer over `propose`: [probabilities [B, A, 2], deltas, anchors] -> [B, K, 4].

    Boxes are float32 under any dtype policy, and no gradient flows back.
    """

    def __init__(
        self,
        proposal_count: int,
        nms_threshold: float,
        pre_nms_limit: int = 6000,
        std_dev: Sequence[float] | np.ndarray = STD_DEV,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.settings = ProposalSettings(proposal_count, nms_threshold, pre_nms_limit, std_dev)

    def call(self, inputs: list[Tensor]) -> Tensor:
        probabilities, deltas, anchors = inputs
        scores = probabilities[..., 1]
        return propose(scores, deltas, anchors, self.settings, self.use_tf_kernels)[0]

    def compute_output_shape(self, input_shape: list[tuple]) -> tuple[int | None, ...]:
        return (input_shape[0][0], self.settings.proposal_count, 4)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **dataclasses.asdict(self.settings)}
