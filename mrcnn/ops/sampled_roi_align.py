"""RoIAlign that averages several samples a bin, over a pyramid: torchvision's and Detectron2's.

Each bin of a RoI is read at `samples` x `samples` points, evenly spread within it, and averaged
(torchvision `ops/roi_align.py`, `roi_align`, with a positive `sampling_ratio`). Between the cells
of a map the features are bilinear; beyond its outermost cells they go on for one cell, and are 0
further out. That is `mrcnn.ops.crops` on maps with one more cell on each side, a copy of its
neighbor, so both of its implementations serve. As many samples as a bin has cells take
`mrcnn.ops.adaptive_roi_align`.

Shape letters: B images, R RoIs of an image, C channels, N = B * R.
"""

from __future__ import annotations

from collections.abc import Sequence

from keras import ops

from mrcnn.ops import boxes as box_ops
from mrcnn.ops import torch_roi_align
from mrcnn.ops.adaptive_roi_align import adaptive_crop_levels
from mrcnn.ops.crops import (
    CANONICAL_LEVEL,
    CANONICAL_SIDE,
    FIRST_LEVEL,
    crop_levels,
    of_level,
    rounded_product,
)
from mrcnn.ops.tensor import Tensor

# Pixels of the image that a cell of the first map covers; twice as many in each further one.
FIRST_STRIDE = 2**FIRST_LEVEL
# What keeps a RoI of exactly the side of a level from the level below (torchvision
# `ops/poolers.py`, `LevelMapper`).
LEVEL_EPSILON = 1e-6
# In place of a number of samples: as many as a bin has cells, on each axis by itself.
ADAPTIVE = -1


def level_of_side(boxes: Tensor, levels: int = 4) -> Tensor:
    """Index of the level of each RoI: floor(4 + log2(side / 224) + 1e-6), 0 for P2.

    Args:
        boxes: [..., 4] in pixels; those without area belong to P2.
        levels: number of levels.

    Returns:
        [...] int32 in [0, levels).

    >>> sides = ops.array([[0.0, 0.0, 111.0, 112.0], [0.0, 0.0, 224.0, 224.0]])
    >>> ops.convert_to_numpy(level_of_side(sides)).tolist()
    [0, 2]
    """
    area = box_ops.area(boxes)
    side = ops.sqrt(ops.maximum(area, 1e-30))
    level = CANONICAL_LEVEL + ops.log2(side / CANONICAL_SIDE) + LEVEL_EPSILON
    return ops.cast(ops.clip(ops.floor(level) - FIRST_LEVEL, 0, levels - 1), "int32")


def sampled_pyramid_roi_align(
    feature_maps: Sequence[Tensor],
    rois: Tensor,
    size: tuple[int, int],
    samples: int,
    aligned: bool = False,
    *,
    use_tf_kernels: bool = False,
    training: bool = True,
) -> Tensor:
    """Read each RoI from the level of the pyramid that suits its side.

    Args:
        feature_maps: P2, P3, … as [B, H, W, C], of images whose sides are the strides' multiples.
        rois: [B, R, 4] in pixels, inside the image.
        size: (height, width) of the crops.
        samples: of a bin, on each axis, or `ADAPTIVE`, which needs `aligned`.
        aligned: the center of the first cell is at half a cell; False: at 0, and RoIs are taken to
            be at least one cell wide and high.
        use_tf_kernels, training: see `mrcnn.ops.crops.pyramid_roi_align`. `ADAPTIVE` has
            no kernels of TensorFlow's.

    Returns:
        [B, R, height, width, C] float32.

    Raises:
        ValueError: `ADAPTIVE` without `aligned`.
    """
    rois = ops.stop_gradient(ops.cast(rois, "float32"))
    batch, count = ops.shape(rois)[:2]
    boxes = ops.reshape(rois, (-1, 4))
    level = level_of_side(boxes, len(feature_maps))
    image = ops.arange(batch * count, dtype="int32") // count
    if samples == ADAPTIVE and not aligned:
        raise ValueError("samples: expected aligned with ADAPTIVE; received aligned = False.")
    if torch_roi_align.kernel() is not None:
        crops = torch_roi_align.sampled_crop_levels(
            [ops.cast(features, "float32") for features in feature_maps],
            *(boxes, image, level, size),
            first_stride=FIRST_STRIDE,
            samples=samples,
            aligned=aligned,
        )
        return ops.reshape(crops, (batch, count, *size, crops.shape[-1]))
    scale = 1.0 / (FIRST_STRIDE * 2.0 ** ops.cast(level, "float32"))
    edges = rounded_product(boxes * scale[:, None]) - (0.5 if aligned else 0.0)
    start, length = edges[:, :2], edges[:, 2:] - edges[:, :2]
    length = length if aligned else ops.maximum(length, 1.0)
    if samples == ADAPTIVE:
        edges = ops.concatenate([start, start + length], axis=1)
        maps = [ops.cast(features, "float32") for features in feature_maps]
        crops = adaptive_crop_levels(
            maps, edges, image, level, size, use_tf_kernels=use_tf_kernels, training=training
        )
        return ops.reshape(crops, (batch, count, *size, crops.shape[-1]))

    padded = [_with_border(ops.cast(features, "float32")) for features in feature_maps]
    heights, widths = zip(*(ops.shape(features)[1:3] for features in padded), strict=True)
    sides = of_level((heights, widths), level)
    last = ops.cast(ops.stack(sides, axis=1), "float32") - 1.0
    grid = (size[0] * samples, size[1] * samples)
    # The samples lie in the middles of so many equal parts; one cell further on, with the border.
    inset = length * (0.5 / ops.convert_to_tensor([float(n) for n in grid]))
    corners = [(start + inset + 1.0) / last, (start + length - inset + 1.0) / last]
    crops = crop_levels(
        padded,
        ops.concatenate(corners, axis=1),
        image,
        level,
        grid,
        use_tf_kernels=use_tf_kernels,
        training=training,
    )
    channels = crops.shape[-1]
    bins = ops.reshape(crops, (-1, size[0], samples, size[1], samples, channels))
    return ops.reshape(ops.mean(bins, axis=(2, 4)), (batch, count, *size, channels))


def _with_border(features: Tensor) -> Tensor:
    """[B, H, W, C] with a copy of the outermost cells around it."""
    rows = ops.concatenate([features[:, :1], features, features[:, -1:]], axis=1)
    return ops.concatenate([rows[:, :, :1], rows, rows[:, :, -1:]], axis=2)
