"""Geometry of a polygon: whether it crosses itself, has an area, and clipping it to a rectangle.

A polygon is float [P, 2]: x, y of each corner, in pixels; the last is joined to the first.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

# Pairs of edges compared in one go; bounds the memory.
BLOCK = 1 << 20
# Pairs compared at most, which takes seconds. Outlines of objects need some per edge.
MAX_PAIRS = 1 << 25
# Corners this close to a line, relative to the polygon's extent, lie on it.
ON_LINE = 1e-9
# Edges from a corner whose directions differ by less, in radians, run along each other.
SAME_DIRECTION = 1e-9


def crossing(polygon: np.ndarray) -> tuple[float, float] | None:
    """Where a polygon crosses itself: (x, y) of one such place, or None.

    Two edges cross, or the outline passes through one of its corners, from one side to the other.
    Where it only touches itself, or runs along itself, it does not cross. Of a polygon with more
    than `MAX_PAIRS` pairs of edges beside or above each other, no more are compared.
    """
    points = polygon[np.any(polygon != np.roll(polygon, 1, axis=0), axis=1)]
    if len(points) < 4:
        return None
    ends = np.roll(points, -1, axis=0)
    for i, j in _near_pairs(np.minimum(points, ends), np.maximum(points, ends)):
        a, b, c, d = points[i], ends[i], points[j], ends[j]
        apart = (_turn(a, b, c) * _turn(a, b, d) < 0) & (_turn(c, d, a) * _turn(c, d, b) < 0)
        if apart.any():
            k = int(np.argmin(np.where(apart, i * len(points) + j, len(points) ** 2)))
            to_c, to_d = _turn(a[k], b[k], c[k]), _turn(a[k], b[k], d[k])
            x, y = c[k] + (d[k] - c[k]) * (to_c / (to_c - to_d))
            return float(x), float(y)
        corner = _crossing_at_corner(points, np.concatenate([i, j]), np.concatenate([j, i]))
        if corner is not None:
            return float(points[corner, 0]), float(points[corner, 1])
    return None


def _near_pairs(low: np.ndarray, high: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of the pairs of boxes that overlap, each pair once, as indices, the lower one first.

    The boxes are sorted by where they begin along the axis on which fewer of them overlap; those
    that overlap a box there follow it directly.

    Args:
        low, high: float [N, 2], the corners of the boxes.
    """
    along = []
    for axis in (0, 1):
        order = np.argsort(low[:, axis], kind="stable")
        stop = np.searchsorted(low[order, axis], high[order, axis], side="right")
        counts = stop - np.arange(1, len(order) + 1)  # of those that follow and overlap
        along.append((int(counts.sum()), axis, order, counts))
    _, axis, order, counts = min(along, key=lambda found: found[0])
    other = 1 - axis
    before = np.concatenate([[0], np.cumsum(counts)])
    for first in range(0, min(int(before[-1]), MAX_PAIRS), BLOCK):
        pair = np.arange(first, min(first + BLOCK, int(before[-1])))
        place = np.searchsorted(before, pair, side="right") - 1
        i, j = order[place], order[place + 1 + pair - before[place]]
        near = (low[i, other] <= high[j, other]) & (low[j, other] <= high[i, other])
        if near.any():
            i, j = i[near], j[near]
            yield np.minimum(i, j), np.maximum(i, j)


def _crossing_at_corner(points: np.ndarray, corners: np.ndarray, edges: np.ndarray) -> int | None:
    """Which of some corners lies on the edge it is paired with, while the outline crosses there.

    Args:
        points: float [P, 2]; edge i goes from point i to the next one.
        corners, edges: int [K], indices of points.
    """
    ends, before = np.roll(points, -1, axis=0), np.roll(points, 1, axis=0)
    strangers = (corners - edges) % len(points) > 1
    corners, edges = corners[strangers], edges[strangers]
    corner, start, end = points[corners], points[edges], ends[edges]
    on_edge = (_turn(start, end, corner) == 0) & np.any(corner != end, axis=1)
    on_edge &= np.all(np.minimum(start, end) <= corner, axis=1)
    on_edge &= np.all(np.maximum(start, end) >= corner, axis=1)
    corners, edges = corners[on_edge], edges[on_edge]
    corner, start = points[corners], points[edges]
    # Where the corner is the edge's start, the other way through it comes from the edge before.
    came_from = np.where(np.all(corner == start, axis=1)[:, None], before[edges], start)
    crosses = _is_crossed(
        before[corners] - corner,
        ends[corners] - corner,
        came_from - corner,
        ends[edges] - corner,
    )
    return int(corners[np.argmax(crosses)]) if crosses.any() else None


def _is_crossed(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Whether ways through a point, from a to b and from c to d, cross: directions [K, 2] each."""
    from_a = [np.arctan2(v[:, 1], v[:, 0]) - np.arctan2(a[:, 1], a[:, 0]) for v in (b, c, d)]
    to_b, to_c, to_d = (angle % (2 * np.pi) for angle in from_a)
    apart = np.ones(len(a), bool)
    for first, second in ((0.0, to_b), (0.0, to_c), (0.0, to_d), (to_b, to_c), (to_b, to_d)):
        difference = np.abs(first - second)
        apart &= np.minimum(difference, 2 * np.pi - difference) > SAME_DIRECTION
    return apart & ((to_c < to_b) != (to_d < to_b))


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
