"""Non-maximum suppression with static shapes.

Boxes come sorted by score. The best remaining box is kept and suppresses those that
overlap it by more than the threshold (strictly); a box without area overlaps nothing.

Shape letters: B images, N candidates, K kept.
"""

from __future__ import annotations

from typing import NamedTuple

from keras import ops

from mrcnn.ops import boxes as box_ops
from mrcnn.ops import torch_nms
from mrcnn.ops.indexing import first_true_indices, gather_rows
from mrcnn.ops.tensor import Tensor
from mrcnn.tensorflow_backend import nms as tf_kernels

# Boxes that are compared with each other at once.
BLOCK = 512


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

    On PyTorch torchvision's kernel computes it, where torchvision is installed.

    Returns:
        (index [B, K] int32, found [B, K] bool), in order of score. Where fewer are
        found, index is 0.

    >>> boxes = ops.array([[[0, 0, 2, 2], [0, 0, 2, 1.9], [3, 3, 4, 4]]])
    >>> index, found = nms_sorted(boxes, ops.ones((1, 3), "bool"), threshold=0.5, count=3)
    >>> ops.convert_to_numpy(index).tolist(), ops.convert_to_numpy(found).tolist()
    ([[0, 2, 0]], [[True, True, False]])
    """
    boxes = ops.stop_gradient(ops.convert_to_tensor(boxes))
    valid = ops.convert_to_tensor(valid)
    groups = None if groups is None else ops.convert_to_tensor(groups)
    if use_tf_kernels:
        if groups is None:
            return tf_kernels.nms_sorted(boxes, valid, threshold, count)
        overlaps = ops.where(
            groups[:, :, None] == groups[:, None, :], box_ops.iou(boxes, boxes), 0.0
        )
        return tf_kernels.nms_overlaps(overlaps, valid, threshold, count)

    if torch_nms.kernel() is not None:
        return torch_nms.nms_sorted(boxes, valid, threshold, count, groups)
    if groups is None:
        groups = ops.zeros(tuple(boxes.shape[:2]), "int32")
    return _by_blocks(boxes, valid, groups, threshold, count)


class _Kept(NamedTuple):
    """What the blocks so far have kept."""

    number: Tensor  # [B] int32
    index: Tensor  # [B, K] int32, 0 where there is none yet
    boxes: Tensor  # [B, K, 4]
    groups: Tensor  # [B, K]


def _by_blocks(
    boxes: Tensor, valid: Tensor, groups: Tensor, threshold: float, count: int
) -> tuple[Tensor, Tensor]:
    """`nms_sorted` in a few parallel steps, not one step for each box that is kept.

    Block by block: boxes that an earlier block's suppress are dropped; of the others, "kept is
    what no kept better box suppresses" is repeated from "all are kept" on until nothing changes.
    After n rounds the n best boxes are as the greedy suppression leaves them, and so all that
    depends on them only; in practice a few rounds are enough. It ends when all images are full or
    through.
    """
    batch, rows = boxes.shape[0], boxes.shape[1]
    size = min(BLOCK, rows)
    blocks = -(-rows // size)
    padding = (0, blocks * size - rows)
    boxes = ops.pad(boxes, ((0, 0), padding, (0, 0)))
    valid, groups = (ops.pad(x, ((0, 0), padding)) for x in (valid, groups))
    in_blocks = [
        ops.reshape(x, (batch, blocks, size, *x.shape[2:])) for x in (boxes, valid, groups)
    ]
    used = ops.max(ops.where(valid, ops.arange(1, blocks * size + 1, dtype="int32"), 0))
    slots = ops.arange(count, dtype="int32")[None, :]
    places = ops.arange(size, dtype="int32")
    better = (places < places[:, None])[None]

    def more(block: Tensor, *kept: Tensor) -> Tensor:
        return (block * size < used) & ops.any(_Kept(*kept).number < count)

    def next_block(block: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        kept = _Kept(*state)
        own, alive, group = (ops.take(x, block, axis=1) for x in in_blocks)
        filled = slots < kept.number[:, None]
        earlier = filled[:, None, :] & (group[:, :, None] == kept.groups[:, None, :])
        alive = alive & ~ops.any(earlier & (box_ops.iou(own, kept.boxes) > threshold), axis=2)
        rivals = better & (group[:, :, None] == group[:, None, :])
        rivals = rivals & (box_ops.iou(own, own) > threshold)

        def changed(now: Tensor, before: Tensor) -> Tensor:
            return ops.any(now != before)

        def settle(now: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
            return alive & ~ops.any(now[:, None, :] & rivals, axis=2), now

        now, _ = ops.while_loop(changed, settle, (alive, alive & ~alive))
        order, _ = first_true_indices(now, size)
        found = ops.sum(ops.cast(now, "int32"), axis=1)
        row = slots - kept.number[:, None]
        fresh = (row >= 0) & (row < found[:, None])
        row = ops.take_along_axis(order, ops.clip(row, 0, size - 1), axis=1)
        return (
            block + 1,
            ops.minimum(kept.number + found, count),
            ops.where(fresh, row + block * size, kept.index),
            ops.where(fresh[..., None], gather_rows(own, row), kept.boxes),
            ops.where(fresh, ops.take_along_axis(group, row, axis=1), kept.groups),
        )

    start = _Kept(
        ops.zeros((batch,), "int32"),
        ops.zeros((batch, count), "int32"),
        ops.zeros((batch, count, 4), boxes.dtype),
        ops.zeros((batch, count), groups.dtype),
    )
    state = ops.while_loop(more, next_block, (ops.zeros((), "int32"), *start))
    kept = _Kept(*state[1:])
    return kept.index, slots < kept.number[:, None]
