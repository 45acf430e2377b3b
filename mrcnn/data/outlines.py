"""Masks as polygons that a person can correct.

Shape letters: h, w of the part of a mask; P points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_fill_holes
from skimage.measure import approximate_polygon, find_contours

# How far a polygon may lie from the mask's border, in pixels; fewer points are easier to move.
TOLERANCE = 0.75
# A part of a mask whose polygon covers less, in pixels, is left out.
LEAST_AREA = 2.0


@dataclass(frozen=True)
class Outline:
    """A mask as polygons.

    Attributes:
        polygons: float [P, 2] of (x, y) in pixels each; the pixel (0, 0) spans 0 to 1.
        holes: that were filled, because a polygon has none.
        specks: parts too small for a polygon, which were left out.
    """

    polygons: list[np.ndarray]
    holes: int = 0
    specks: int = 0


def outline(part: np.ndarray, corner: tuple[int, int], tolerance: float = TOLERANCE) -> Outline:
    """The polygons around a mask.

    Args:
        part: bool [h, w], the mask from `corner` on.
        corner: (y, x) of its first pixel in the picture.
        tolerance: how far they may lie from its border, in pixels.
    """
    if not part.any():
        return Outline([])
    filled = binary_fill_holes(part)
    holes = _count(filled & ~part)
    polygons, specks = [], 0
    offset = np.array([corner[1], corner[0]], np.float64)
    height, width = part.shape
    for curve in find_contours(np.pad(filled, 1).astype(np.float64), 0.5):
        # Centers of pixels lie at half pixels: the padding's one less a half.
        points = approximate_polygon(curve[:, ::-1] - 0.5, tolerance)[:-1]
        points = np.clip(points, 0, [width, height])
        if len(points) < 3 or area(points) < LEAST_AREA:
            specks += 1
            continue
        polygons.append(points + offset)
    return Outline(polygons, holes, specks)


def area(points: np.ndarray) -> float:
    """The area within a polygon [P, 2]."""
    x, y = points.T
    return 0.5 * abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))))


def _count(mask: np.ndarray) -> int:
    from scipy.ndimage import label

    return int(label(mask)[1])
