"""Shapes that annotators draw, as polygons: lists of points [x, y] in pixels."""

from __future__ import annotations

import math
from typing import Any

from mrcnn.files.untrusted import is_finite

LIMIT = 1e7  # pixels; what lies further out was not drawn
_MOST_POINTS = 360
_LEAST_POINTS = 24

Polygon = list[list[float]]


def numbers(values: Any, count: int) -> list[float] | None:
    """So many finite numbers, of numbers or their texts; None: they are others."""
    if not isinstance(values, (list, tuple)) or len(values) != count:
        return None
    found = []
    for value in values:
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                return None
        if not is_finite(value) or abs(value) > LIMIT:
            return None
        found.append(float(value))
    return found


def points(values: Any, least: int, most: int | None = None) -> Polygon | None:
    """Points [x, y] of finite numbers, from `least` to `most` of them; None: they are others."""
    if not isinstance(values, list) or len(values) < least:
        return None
    if most is not None and len(values) > most:
        return None
    found = [numbers(value, 2) for value in values]
    return None if None in found else [point for point in found if point is not None]


def rectangle(x1: float, y1: float, x2: float, y2: float) -> Polygon:
    """The corners of an upright rectangle.

    >>> rectangle(1, 2, 4, 3)
    [[1, 2], [4, 2], [4, 3], [1, 3]]
    """
    return [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]


def turned(polygon: Polygon, degrees: float, around: tuple[float, float]) -> Polygon:
    """A polygon turned clockwise, as y points down.

    >>> turned([[2, 0]], 90, (1, 0))
    [[1.0, 1.0]]
    """
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    if degrees % 90 == 0:  # exactly
        sine, cosine = round(sine), round(cosine)
    x0, y0 = around
    return [
        [
            float(x0 + (x - x0) * cosine - (y - y0) * sine),
            float(y0 + (x - x0) * sine + (y - y0) * cosine),
        ]
        for x, y in polygon
    ]


def ellipse(cx: float, cy: float, rx: float, ry: float, degrees: float = 0) -> Polygon:
    """An ellipse as a polygon that leaves it by less than a hundredth of a pixel, if it is small.

    Its area is that of the ellipse; the more points, the larger it is.
    """
    radius = max(abs(rx), abs(ry), 1e-6)
    # The sagitta of a chord is r (1 - cos(pi / n)), about r (pi / n)² / 2.
    count = math.ceil(math.pi * math.sqrt(radius / 0.02))
    count = min(max(count, _LEAST_POINTS), _MOST_POINTS)
    step = 2 * math.pi / count
    grown = math.sqrt(step / math.sin(step))  # so that the polygon has the ellipse's area
    polygon = [
        [cx + rx * grown * math.cos(i * step), cy + ry * grown * math.sin(i * step)]
        for i in range(count)
    ]
    return turned(polygon, degrees, (cx, cy)) if degrees else polygon
