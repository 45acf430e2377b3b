"""Proposals: the RPN's best boxes, moved, clipped and thinned out."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from mrcnn.ops import boxes as box_ops
from mrcnn.ops.indexing import gather_rows
from mrcnn.ops.nms import nms_sorted
from mrcnn.ops.tensor import Tensor

_WHOLE_IMAGE = np.array([0.0, 0.0, 1.0, 1.0], np.float32)


class ProposalSteps(NamedTuple):
    """What happens to the best anchors, step by step; L is at most `pre_nms_limit`."""

    anchors: Tensor  # [B, L, 4] normalized, by falling score
    refined: Tensor  # [B, L, 4], moved by their deltas
    clipped: Tensor  # [B, L, 4], and clipped to the image
    kept: Tensor  # [B, K] int32, the rows that no better box suppresses
    found: Tensor  # [B, K] bool, false where fewer than K are kept


def proposal_steps(
    scores: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    *,
    pre_nms_limit: int,
    proposal_count: int,
    nms_threshold: float,
    std_dev: Tensor,
    native: bool = False,
) -> ProposalSteps:
    """Move the best anchors, clip them, and let them suppress each other.

    Args:
        scores: [B, A], probability of an object.
        deltas: [B, A, 4], as the RPN predicts them (divided by `std_dev`).
        anchors: [B, A, 4] normalized.
        pre_nms_limit: anchors that go on, best first.
        proposal_count: proposals kept at most, K.
        nms_threshold: IoU above which the weaker one is dropped.
        std_dev: [4].
        native: see `mrcnn.ops.nms.nms_sorted`.
    """
    scores, deltas = ops.stop_gradient(scores), ops.stop_gradient(deltas)
    limit = min(pre_nms_limit, anchors.shape[1])
    index = ops.cast(ops.top_k(scores, limit)[1], "int32")
    chosen = gather_rows(anchors, index)
    refined = box_ops.decode(chosen, gather_rows(deltas, index) * std_dev)
    clipped = box_ops.clip(refined, ops.convert_to_tensor(_WHOLE_IMAGE))
    valid = ops.ones((anchors.shape[0], limit), dtype="int32") > 0
    kept, found = nms_sorted(clipped, valid, nms_threshold, proposal_count, native=native)
    return ProposalSteps(chosen, refined, clipped, kept, found)


def propose(
    scores: Tensor, deltas: Tensor, anchors: Tensor, **settings: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Select proposals; arguments as `proposal_steps`.

    Returns:
        (proposals [B, K, 4] normalized, zero padded, by falling score;
        the chosen anchors [B, L, 4]; the same moved and clipped).
    """
    steps = proposal_steps(scores, deltas, anchors, **settings)
    proposals = ops.where(steps.found[..., None], gather_rows(steps.clipped, steps.kept), 0.0)
    return proposals, steps.anchors, steps.clipped


@keras.saving.register_keras_serializable(package="mrcnn")
class Proposals(keras.layers.Layer):
    """Layer over `propose`: [probabilities [B, A, 2], deltas, anchors] -> [B, K, 4].

    Boxes are float32 under any dtype policy, and no gradient flows back.
    """

    def __init__(
        self,
        proposal_count: int,
        nms_threshold: float,
        pre_nms_limit: int = 6000,
        std_dev: Any = (0.1, 0.1, 0.2, 0.2),
        native: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.proposal_count = proposal_count
        self.nms_threshold = nms_threshold
        self.pre_nms_limit = pre_nms_limit
        self.std_dev = tuple(float(value) for value in std_dev)
        self.native = native

    def call(self, inputs: list[Tensor]) -> Tensor:
        probabilities, deltas, anchors = inputs
        return propose(probabilities[..., 1], deltas, anchors, **self._settings())[0]

    def _settings(self) -> dict[str, Any]:
        """The keywords of `proposal_steps`."""
        return {
            "pre_nms_limit": self.pre_nms_limit,
            "proposal_count": self.proposal_count,
            "nms_threshold": self.nms_threshold,
            "std_dev": ops.convert_to_tensor(self.std_dev, dtype="float32"),
            "native": self.native,
        }

    def compute_output_shape(self, input_shape: list[tuple]) -> tuple[int | None, ...]:
        return (input_shape[0][0], self.proposal_count, 4)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "proposal_count": self.proposal_count,
            "nms_threshold": self.nms_threshold,
            "pre_nms_limit": self.pre_nms_limit,
            "std_dev": self.std_dev,
            "native": self.native,
        }
