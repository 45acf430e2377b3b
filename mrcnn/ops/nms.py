"""Non-maximum suppression with static shapes.

Boxes come sorted by score. The best remaining box is kept and suppresses those that
overlap it by more than the threshold (strictly); a box without area overlaps nothing.

Shape letters: B images, N candidates, K kept.
"""

from __future__ import annotations

from keras import ops

from mrcnn.ops import boxes as box_ops
from mrcnn.ops.tensor import Tensor
from mrcnn.tensorflow_backend import nms as tf_kernels


def nms_sorted(
    boxes: Tensor,
    valid: Tensor,
    threshold: float,
    count: int,
    *,
    groups: Tensor | None = None,
    use_tf_kernels: bool = False,
) -> tuple[Tensor, Tensor]:
    """Greedy suppression of boxes sorted by falling score.

    Args:
        boxes: [B, N, 4].
        valid: [B, N] bool; others are neither kept nor suppress.
        threshold: IoU above which the weaker box is dropped.
        count: K, the number kept at most.
        groups: [B, N] int or None; only boxes of the same group suppress each other.
        use_tf_kernels: see `mrcnn.tensorflow_backend`; not compilable by XLA.

    Returns:
        (index [B, K] int32, found [B, K] bool), in order of score. Where fewer are
        found, index is 0.

    >>> boxes = ops.array([[[0, 0, 2, 2], [0, 0, 2, 1.9], [3, 3, 4, 4]]])
    >>> index, found = nms_sorted(boxes, ops.ones((1, 3), "bool"), threshold=0.5, count=3)
    >>> ops.convert_to_numpy(index).tolist(), ops.convert_to_numpy(found).tolist()
    ([[0, 2, 0]], [[True, True, False]])
    """
    boxes = ops.stop_gradient(boxes)
    if use_tf_kernels:
        if groups is None:
            return tf_kernels.nms_sorted(boxes, valid, threshold, count)
        overlaps = ops.where(
            groups[:, :, None] == groups[:, None, :], box_ops.iou(boxes, boxes), 0.0
        )
        return tf_kernels.nms_overlaps(overlaps, valid, threshold, count)

    batch, rows = boxes.shape[0], boxes.shape[1]
    numbers = ops.arange(rows, dtype="int32")[None, :]
    slots = ops.arange(count, dtype="int32")[None, :]
    group_ids = ops.zeros((batch, rows), "int32") if groups is None else groups

    def more(k: Tensor, remaining: Tensor, index: Tensor, found: Tensor) -> Tensor:
        return (k < count) & ops.any(remaining)

    def keep_best(k: Tensor, remaining: Tensor, index: Tensor, found: Tensor):
        best = ops.cast(ops.argmax(ops.cast(remaining, "int32"), axis=1), "int32")[:, None]
        exists = ops.any(remaining, axis=1, keepdims=True)
        box = ops.take_along_axis(boxes, best[..., None], axis=1)
        same_group = group_ids == ops.take_along_axis(group_ids, best, axis=1)
        suppressed = (box_ops.iou(box, boxes)[:, 0] > threshold) & same_group
        remaining = remaining & ~suppressed & (numbers != best)
        here = (slots == k) & exists
        return k + 1, remaining, ops.where(here, best, index), found | here

    state = (
        ops.zeros((), dtype="int32"),
        valid,
        ops.zeros((batch, count), dtype="int32"),
        ops.zeros((batch, count), dtype="int32") > 0,
    )
    _, _, index, found = ops.while_loop(more, keep_best, state)
    return index, found
