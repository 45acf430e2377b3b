"""The weights of several losses, balanced by the norms of their gradients (GradNorm).

Chen et al. 2018, *GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep Multitask
Networks* (arXiv 1711.02257). Written for T losses L with the weights w:

- G = w * |dL/dW|, the norm of each weighted loss's gradient at the weights W of a layer that all
  losses share;
- r = (L / L0) / mean(L / L0), how slowly each loss has fallen from its initial value L0, beside
  the others;
- each G is drawn towards mean(G) * r ** alpha by gradient descent of sum |G - mean(G) * r ** alpha|
  in w, in which the target is taken as a constant; then the weights are scaled so that their sum
  is T.

The paper leaves three things open, which are decided here:

- A step of the descent moves each log w by the rate, against the sign of its slope. So it does not
  depend on the scale of the gradients (as those of Adam do not), no weight becomes
  negative, and a small one can grow again.
- L0 is the mean of the first `INITIAL_STEPS` positive values: one batch of detections is noisy.
  Until then a loss keeps its share.
- A loss of 0, or without a gradient (masks, in a batch without an object), takes no part in the
  step's means, and keeps its share.
"""

from __future__ import annotations

from typing import NamedTuple

from keras import ops

from mrcnn.ops.tensor import Tensor

INITIAL_STEPS = 20


class GradNormState(NamedTuple):
    """What GradNorm remembers of T losses, float32 [T] each."""

    log_weights: Tensor
    initial_sums: Tensor  # of the first INITIAL_STEPS positive values
    initial_counts: Tensor  # how many of them there were


def gradnorm_step(
    state: GradNormState, losses: Tensor, norms: Tensor, alpha: float, rate: float
) -> GradNormState:
    """The state after a step of training.

    Args:
        state: before.
        losses: L, float32 [T], without the weights of the state.
        norms: |dL/dW|, float32 [T], of these losses.
        alpha: exponent of r, from 0 up. With 0 all norms become equal; the larger it is, the more a
            loss that falls slowly gains.
        rate: by how much a weight moves in a step, in parts of itself.
    """
    seen = losses > 0
    known = state.initial_counts >= INITIAL_STEPS
    starts = ops.cast(ops.logical_and(seen, ops.logical_not(known)), "float32")
    sums, counts = state.initial_sums + starts * losses, state.initial_counts + starts

    active = ops.cast(ops.logical_and(known, ops.logical_and(seen, norms > 0)), "float32")
    weighted = ops.exp(state.log_weights) * norms
    mean_norm = _mean(weighted, active)
    ratios = losses / ops.where(known, sums / ops.maximum(counts, 1.0), 1.0)
    relative = ratios / _positive(_mean(ratios, active))
    targets = mean_norm * relative**alpha
    moved = state.log_weights - rate * active * ops.sign(weighted - targets)
    total = ops.sum(ops.exp(moved))
    return GradNormState(moved - ops.log(total / losses.shape[0]), sums, counts)


def _mean(values: Tensor, active: Tensor) -> Tensor:
    return ops.sum(values * active) / ops.maximum(ops.sum(active), 1.0)


def _positive(value: Tensor) -> Tensor:
    """A divisor: 1 in the place of 0."""
    return ops.where(value > 0, value, 1.0)
