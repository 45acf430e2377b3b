"""Geometry of a polygon: whether it crosses itself, has an area, and clipping it to a rectangle.

A polygon is float [P, 2]: x, y of each corner, in pixels; the last is joined to the first.
"""

from __future__ import annotations

import numpy as np

# Pairs of edges compared in one go; bounds the memory.
BLOCK = 1 << 20
# Corners this close to a line, relative to the polygon's extent, lie on it.
ON_LINE = 1e-9


def crossing(polygon: np.ndarray) -> tuple[float, float] | None:
    """Where two edges of a polygon cross: (x, y) of one such place, or None.

    Edges that only touch do not cross.
    """
    points = polygon[np.any(polygon != np.roll(polygon, 1, axis=0), axis=1)]
    count = len(points)
    if count < 4:
        return None
    ends = np.roll(points, -1, axis=0)
    low, high = np.minimum(points, ends), np.maximum(points, ends)
    step = max(1, BLOCK // count)
    for first in range(0, count, step):
        rows = slice(first, first + step)
        near = np.all(low[rows, None] <= high[None], axis=-1)
        near &= np.all(high[rows, None] >= low[None], axis=-1)
        i, j = np.nonzero(near)
        i += first
        i, j = i[j > i + 1], j[j > i + 1]  # each pair once, neighbours left out
        a, b, c, d = points[i], ends[i], points[j], ends[j]
        apart = (_turn(a, b, c) * _turn(a, b, d) < 0) & (_turn(c, d, a) * _turn(c, d, b) < 0)
        if apart.any():
            k = int(np.argmax(apart))
            to_c, to_d = _turn(a[k], b[k], c[k]), _turn(a[k], b[k], d[k])
            x, y = c[k] + (d[k] - c[k]) * (to_c / (to_c - to_d))
            return float(x), float(y)
    return None


def has_area(polygon: np.ndarray) -> bool:
    """Whether the corners do not all lie on one line."""
    from_first = polygon - polygon[0]
    extent = np.abs(from_first).max()
    if extent == 0:
        return False
    farthest = from_first[np.argmax(np.sum(from_first**2, axis=1))]
    off = farthest[0] * from_first[:, 1] - farthest[1] * from_first[:, 0]
    return bool(np.abs(off).max() > ON_LINE * extent**2)


def clip(polygon: np.ndarray, width: float, height: float) -> np.ndarray:
    """The part of a polygon inside the rectangle (0, 0) to (width, height).

    Sutherland and Hodgman's way: parts that lie apart stay joined by edges along the border.

    Returns:
        float [Q, 2]; Q is 0 where nothing is inside.
    """
    for axis, limit, sign in ((0, 0.0, 1), (0, width, -1), (1, 0.0, 1), (1, height, -1)):
        kept = []
        for start, end in zip(np.roll(polygon, 1, axis=0), polygon, strict=True):
            from_start, from_end = sign * (start[axis] - limit), sign * (end[axis] - limit)
            if from_start * from_end < 0:
                corner = start + (end - start) * (from_start / (from_start - from_end))
                corner[axis] = limit
                kept.append(corner)
            if from_end >= 0:
                kept.append(end)
        polygon = np.array(kept).reshape(-1, 2)
    return polygon


def _turn(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Above 0 where c lies left of the line from a to b, below 0 where right."""
    return (b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1]) - (b[..., 1] - a[..., 1]) * (
        c[..., 0] - a[..., 0]
    )
