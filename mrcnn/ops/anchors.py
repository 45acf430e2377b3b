"""Anchors: the fixed grid of boxes that the RPN classifies and moves.

Plain NumPy, because anchors depend on settings and image size only and enter the
graph as constants. Order: pyramid level (fine to coarse), row, column, ratio.
Pixel anchors are (y1, x1, y2, x2), float, and may reach outside the image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def level_anchors(
    scale: float,
    ratios: Sequence[float],
    feature_shape: Sequence[int],
    feature_stride: int | Sequence[int],
    anchor_stride: int = 1,
    rounded: bool = False,
) -> np.ndarray:
    """Anchors of one feature map.

    >>> level_anchors(scale=32, ratios=[1], feature_shape=(1, 2), feature_stride=16)
    array([[-16., -16.,  16.,  16.],
           [-16.,   0.,  16.,  32.]])

    Args:
        scale: side of the square anchor, in pixels of the image.
        ratios: width / height of each anchor of a position; the area stays scale².
        feature_shape: (height, width) of the feature map.
        feature_stride: pixels of the image a cell of the feature map covers, or (down, across).
        anchor_stride: 1 puts anchors on every cell, 2 on every other one.
        rounded: half of each side is a whole number of pixels, half to even, as torchvision's
            (`models/detection/anchor_utils.py`, `AnchorGenerator.generate_anchors`).

    Returns:
        [rows * columns * ratios, 4] float64.
    """
    root = np.sqrt(np.asarray(ratios, np.float64))
    heights, widths = scale / root, scale * root
    down, across = np.broadcast_to(feature_stride, 2).tolist()
    rows = np.arange(0, feature_shape[0], anchor_stride) * down
    columns = np.arange(0, feature_shape[1], anchor_stride) * across
    center_y, center_x = np.meshgrid(rows, columns, indexing="ij")
    centers = np.stack([center_y, center_x], axis=-1)[:, :, None, :].astype(np.float64)
    half = 0.5 * np.stack([heights, widths], axis=-1)
    half = np.round(half) if rounded else half
    return np.concatenate([centers - half, centers + half], axis=-1).reshape(-1, 4)


def pyramid_anchors(
    scales: Sequence[float],
    ratios: Sequence[float],
    feature_shapes: Sequence[Sequence[int]] | np.ndarray,
    feature_strides: Sequence[int | Sequence[int]],
    anchor_stride: int = 1,
    rounded: bool = False,
) -> np.ndarray:
    """Anchors of all levels, one scale a level: [A, 4] float64, in pixels; see `level_anchors`."""
    levels = zip(scales, feature_shapes, feature_strides, strict=True)
    return np.concatenate(
        [
            level_anchors(scale, ratios, shape, step, anchor_stride, rounded)
            for scale, shape, step in levels
        ]
    )


def steps_from_cells(
    image_shape: Sequence[int], shapes: Sequence[Sequence[int]] | np.ndarray
) -> list[list[int]]:
    """Distances (down, across) of the anchors of each level: the image's side by its cells.

    torchvision's (`models/detection/anchor_utils.py`, `AnchorGenerator.forward`): less than the
    stride where the level above has an odd number of cells.

    >>> steps_from_cells((160, 64), [(5, 2), (3, 1)])
    [[32, 32], [53, 64]]
    """
    return [[image_shape[0] // int(rows), image_shape[1] // int(cols)] for rows, cols in shapes]


def feature_shapes(image_shape: Sequence[int], strides: Sequence[int]) -> np.ndarray:
    """(height, width) of each feature map for an image of (height, width, ...).

    >>> feature_shapes((100, 64), [4, 32]).tolist()
    [[25, 16], [4, 2]]
    """
    return np.array(
        [[math.ceil(image_shape[0] / step), math.ceil(image_shape[1] / step)] for step in strides]
    )
