"""Greedy suppression by torchvision's kernel, where it is installed: `mrcnn.ops.nms` on PyTorch."""

from __future__ import annotations

import functools
from typing import Any

import keras

from mrcnn.ops.tensor import Tensor


@functools.cache
def kernel() -> Any:
    """`torchvision.ops.nms`; None with another backend, or without torchvision."""
    if keras.backend.backend() != "torch":
        return None
    try:
        from torchvision.ops import nms
    except ImportError:
        return None
    return nms


def nms_sorted(
    boxes: Tensor, valid: Tensor, threshold: float, count: int, groups: Tensor | None
) -> tuple[Tensor, Tensor]:
    """As `mrcnn.ops.nms.nms_sorted`, with its arguments; `kernel()` must not be None."""
    import torch

    index = torch.zeros((len(boxes), count), dtype=torch.int32, device=boxes.device)
    found = torch.zeros((len(boxes), count), dtype=torch.bool, device=boxes.device)
    for number, own in enumerate(boxes):
        places = torch.nonzero(valid[number])[:, 0]
        kept = _of_image(own[places], None if groups is None else groups[number][places], threshold)
        kept = places[kept][:count]
        index[number, : len(kept)] = kept.to(torch.int32)
        found[number, : len(kept)] = True
    return index, found


def _of_image(boxes: Tensor, groups: Tensor | None, threshold: float) -> Tensor:
    """The rows of boxes, sorted by falling score, that are kept, in order."""
    import torch

    nms = kernel()
    threshold = torch.tensor(threshold, dtype=torch.float32).item()  # as overlaps are compared
    # The kernel sorts by scores: falling numbers leave the order as it is.
    scores = torch.arange(len(boxes), 0, -1, dtype=torch.float32, device=boxes.device)
    boxes = boxes.to(torch.float32)
    if groups is None:
        return nms(boxes, scores, threshold)
    is_kept = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    for group in torch.unique(groups):
        rows = torch.nonzero(groups == group)[:, 0]
        is_kept[rows[nms(boxes[rows], scores[rows], threshold)]] = True
    return torch.nonzero(is_kept)[:, 0]
