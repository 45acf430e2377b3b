"""RoIAlign by torchvision's kernel, where it is installed, for `mrcnn.ops.sampled_roi_align`.

`mrcnn.ops.crops`, the ancestor's RoIAlign, has none: a sample beyond the outermost cell reads 0
there, in torchvision that cell, and of a box that ends at the border rounding decides which it is.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import keras

from mrcnn.ops.tensor import Tensor


@functools.cache
def kernel() -> Any:
    """`torchvision.ops.roi_align`; None with another backend, or without torchvision."""
    if keras.backend.backend() != "torch":
        return None
    try:
        from torchvision.ops import roi_align
    except ImportError:
        return None
    return roi_align


def sampled_crop_levels(
    feature_maps: Sequence[Tensor],
    boxes: Tensor,
    image: Tensor,
    level: Tensor,
    size: tuple[int, int],
    *,
    first_stride: int,
    samples: int,
    aligned: bool,
) -> Tensor:
    """Crop each box from a map of its own image and level; `kernel()` must not be None.

    Args:
        feature_maps: one [B, H, W, C] for each level, float32.
        boxes: [N, 4] in pixels of the image.
        image, level: [N] int32.
        size: (height, width) of the crops.
        first_stride: pixels that a cell of the first map covers; twice as many in each further one.
        samples: of a bin, on each axis; -1: as many as it has cells.
        aligned: the center of the first cell is at half a cell.

    Returns:
        [N, height, width, C] float32.
    """
    import torch

    corners = torch.stack([boxes[:, k] for k in (1, 0, 3, 2)], dim=1)
    given = torch.cat([image[:, None].to(boxes.dtype), corners], dim=1)
    crops, places = [], []
    for number, features in enumerate(feature_maps):
        rows = torch.nonzero(level == number)[:, 0]
        scale = 1.0 / (first_stride * 2**number)
        channels_first = features.permute(0, 3, 1, 2)
        crops.append(kernel()(channels_first, given[rows], size, scale, samples, aligned))
        places.append(rows)
    order = torch.argsort(torch.cat(places))
    return torch.cat(crops)[order].permute(0, 2, 3, 1)
