"""The geometry of polygons."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


def test_a_crossing_is_looked_for_in_time_that_does_not_grow_with_the_square():
    angle = np.linspace(0, 2 * np.pi, 200_000, endpoint=False)
    radius = 4000 + 900 * np.sin(90 * angle)
    outline = 5000 + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    start = time.process_time()
    assert polygons.crossing(outline) is None
    outline[[120_000, 120_004]] = outline[[120_004, 120_000]]
    assert polygons.crossing(outline) is not None
    teeth = np.arange(40_000)
    comb = np.stack([teeth % 2 * 5000.0 + teeth / 9, teeth / 20 + teeth % 2 * 3000], axis=1)
    polygons.crossing(comb)  # every edge beside every other
    assert time.process_time() - start < 30


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=12))
def test_crossings_are_those_of_all_pairs(corners):
    points = np.array(corners, float)
    edges = list(zip(points, np.roll(points, -1, axis=0), strict=True))

    def turn(a, b, c):
        return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])

    expected = any(
        turn(a, b, c) * turn(a, b, d) < 0 and turn(c, d, a) * turn(c, d, b) < 0
        for a, b in edges
        for c, d in edges
    )
    found = polygons.crossing(points) is not None
    # At a corner that lies on another edge it may cross too; the cases below tell where.
    on_edge = any(
        turn(a, b, c) == 0 and (c != a).any() and (c != b).any() and (c - a) @ (c - b) <= 0
        for a, b in edges
        for c in points
    )
    again = len(set(corners)) < len(corners)
    assert found or not expected
    assert on_edge or again or found == expected


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


# The outline of `shared/cases/crossing_at_corner`: its mask has a hole.
AT_CORNER = [10, 10, 50, 10, 50, 30, 50, 50, 20, 50, 20, 30, 50, 30, 80, 30, 80, 60, 10, 60]


@pytest.mark.parametrize(
    ("values", "place"),
    [
        (AT_CORNER, (50, 30)),
        (AT_CORNER[6:] + AT_CORNER[:6], (50, 30)),  # begun at another corner
        # A corner on the middle of another edge, and the outline continues beyond it.
        ([0, 0, 20, 0, 20, 10, 10, 0, 10, -5, 0, -5], (10, 0)),
    ],
)
@pytest.mark.parametrize("reverse", [False, True])
def test_an_outline_that_crosses_itself_at_a_corner(values, place, reverse):
    corners = np.array(values, float).reshape(-1, 2)
    assert polygons.crossing(corners[::-1] if reverse else corners) == place


@pytest.mark.parametrize(
    "values",
    [
        [0, 0, 10, 0, 5, 5, 10, 10, 0, 10, 5, 5],  # two triangles that meet in a corner
        [0, 0, 20, 0, 20, 10, 10, 0, 0, 10],  # a corner that touches an edge from inside
        [0, 0, 10, 0, 10, 10, 4, 10, 4, 6, 6, 6, 6, 4, 4, 4, 4, 10, 0, 10],  # a slit to a hole
        [0, 0, 10, 0, 10, 10, 20, 10, 10, 10, 0, 10],  # there and back again
    ],
)
@pytest.mark.parametrize("reverse", [False, True])
def test_an_outline_that_only_touches_itself(values, reverse):
    corners = np.array(values, float).reshape(-1, 2)
    assert polygons.crossing(corners[::-1] if reverse else corners) is None
