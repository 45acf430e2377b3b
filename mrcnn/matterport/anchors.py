"""Anchors on the host, under the names and in the order of Matterport's package.

The formulas are those of the network's constants, `mrcnn.ops.anchors`, which is plain NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mrcnn.config import Config
from mrcnn.ops import anchors as anchor_ops


def generate_anchors(
    scales: float | Sequence[float],
    ratios: Sequence[float],
    shape: Sequence[int],
    feature_stride: int,
    anchor_stride: int,
) -> np.ndarray:
    """Return the anchors of one feature map.

    Args:
        scales: side of the square anchor in pixels of the image, or several.
        ratios: width / height of each anchor of a position; the area stays.
        shape: (height, width) of the feature map.
        feature_stride: pixels of the image that a cell of the feature map covers.
        anchor_stride: 1 puts anchors on every cell, 2 on every other one.

    Returns:
        float64 [rows * columns * ratios * scales, 4] pixels (y1, x1, y2, x2), in this order:
        row, column, ratio, scale.
    """
    of_scales = [
        anchor_ops.level_anchors(scale, ratios, shape, feature_stride, anchor_stride)
        for scale in np.atleast_1d(scales)
    ]
    return np.stack(of_scales, axis=1).reshape(-1, 4)


def generate_pyramid_anchors(
    scales: Sequence[Any],
    ratios: Sequence[float],
    feature_shapes: Sequence[Sequence[int]] | np.ndarray,
    feature_strides: Sequence[int],
    anchor_stride: int,
) -> np.ndarray:
    """Return the anchors of all levels, fine to coarse: `generate_anchors` of each.

    Args:
        scales: one for each level; levels beyond the last scale have no anchors.
        ratios: the same for all levels.
        feature_shapes: (height, width) of each level's feature map.
        feature_strides: of each level.
        anchor_stride: the same for all levels.

    Returns:
        float64 [A, 4] pixels (y1, x1, y2, x2).
    """
    levels = zip(scales, feature_shapes, feature_strides, strict=False)
    return np.concatenate(
        [
            generate_anchors(scale, ratios, shape, stride, anchor_stride)
            for scale, shape, stride in levels
        ]
    )


def image_anchors(config: Config, image_shape: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return the anchors that the network has for an image of (height, width, …).

    Returns:
        float64 [A, 4] pixels (y1, x1, y2, x2).
    """
    return generate_pyramid_anchors(
        config.RPN_ANCHOR_SCALES,
        config.RPN_ANCHOR_RATIOS,
        anchor_ops.feature_shapes([int(side) for side in image_shape[:2]], config.BACKBONE_STRIDES),
        config.BACKBONE_STRIDES,
        config.RPN_ANCHOR_STRIDE,
    )
