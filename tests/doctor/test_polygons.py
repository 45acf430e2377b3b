"""The geometry of polygons."""

from __future__ import annotations

import numpy as np
import pytest

from mrcnn.doctor import polygons


def polygon(*values: float) -> np.ndarray:
    return np.array(values, float).reshape(-1, 2)


@pytest.mark.parametrize(
    ("corners", "place"),
    [
        ((0, 0, 10, 0, 10, 10, 0, 10), None),
        ((0, 0, 10, 10, 10, 0, 0, 10), (5, 5)),
        ((0, 0, 10, 0, 5, 5), None),
        ((0, 0, 10, 0, 10, 0, 10, 10, 0, 10, 0, 10), None),  # corners twice
        ((0, 0, 10, 0, 10, 10, 5, 0, 0, 10), None),  # touches its own edge
        ((0, 0, 10, 0, 10, 10, 5, -1, 0, 10), (5.45, 0)),
        ((0, 0, 10, 0, 10, 5, 0, 5, 0, 0), None),  # closed by its first corner
        ((3, 3, 3, 3, 3, 3), None),
    ],
)
def test_crossings(corners, place):
    found = polygons.crossing(polygon(*corners))
    assert found == (None if place is None else pytest.approx(place, abs=0.01))


def test_crossings_are_found_in_large_polygons_too(monkeypatch):
    angle = np.linspace(0, 2 * np.pi, 300, endpoint=False)
    circle = 50 + 40 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    monkeypatch.setattr(polygons, "BLOCK", 1000)  # several blocks
    assert polygons.crossing(circle) is None
    circle[[250, 251]] = circle[[251, 250]]
    assert polygons.crossing(circle) is not None


@pytest.mark.parametrize(
    ("corners", "area"),
    [
        ((0, 0, 4, 0, 0, 3), True),
        ((0, 0, 10, 10, 10, 0, 0, 10), True),  # a bow: no sum, but an area
        ((1, 1, 1, 1, 1, 1), False),
        ((0, 0, 5, 5, 10, 10), False),
        ((0.1, 0.1, 0.2, 0.2, 0.3, 0.3), False),  # up to rounding
        ((7, 2, 7, 9, 7, 5, 7, 4), False),
    ],
)
def test_areas(corners, area):
    assert polygons.has_area(polygon(*corners)) == area


def area_of(corners: np.ndarray) -> float:
    x, y = corners.T
    return abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) / 2


@pytest.mark.parametrize(
    ("corners", "area"),
    [
        ((2, 2, 8, 2, 8, 8, 2, 8), 36),  # inside
        ((-5, -5, 5, -5, 5, 5, -5, 5), 25),  # over a corner
        ((-10, -10, 30, -10, 30, 30, -10, 30), 200),  # all around
        ((25, 0, 30, 0, 30, 5), 0),  # outside
        ((0, 0, 20, 0, 20, 10, 0, 10), 200),  # the border itself
        ((10, -5, 20, 5, 10, 15, 0, 5), 150),  # two corners cut
    ],
)
def test_clipping_to_a_rectangle(corners, area):
    clipped = polygons.clip(polygon(*corners), width=20, height=10)
    if len(clipped):
        assert clipped.min() >= 0 and (clipped <= (20, 10)).all()
        assert area_of(clipped) == pytest.approx(area)
    else:
        assert area == 0
