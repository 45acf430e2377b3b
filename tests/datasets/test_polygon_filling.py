"""Polygons are filled as scikit-image and Pillow fill them, in bounded time and memory."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
import skimage.draw
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from mrcnn.datasets import polygon_filling
from mrcnn.datasets.polygon_filling import inside_polygon, outlines_problem, paint_polygon

SIDE = 24
# Whole and half pixels meet corners and edges; the others lie off them by almost nothing.
NEAR = (0.0, 5e-324, 1e-320, 1e-13, 9e-13, 1e-12, 2e-12, 1e-9)
coordinates = st.one_of(
    st.integers(-8, SIDE + 8),
    st.integers(-16, 2 * SIDE + 16).map(lambda n: n / 2),
    st.floats(-40, SIDE + 40),
    st.floats(-1e7, 1e7),
    st.builds(
        lambda n, off, sign: n + sign * off,
        *(st.integers(-1, SIDE), st.sampled_from(NEAR), st.sampled_from((-1, 1))),
    ),
)
corners = st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=14)


@pytest.fixture
def seconds() -> Callable[[], float]:
    """Processor time since the test began."""
    start = time.process_time()
    return lambda: time.process_time() - start


def by_scikit_image(rows, columns, height: int, width: int) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    mask[skimage.draw.polygon(np.array(rows, float), np.array(columns, float), mask.shape)] = True
    return mask


@settings(max_examples=300)
@given(corners, st.integers(1, SIDE), st.integers(1, SIDE))
@example([(2, 1), (8, 1), (8, 5), (2, 5)], 10, 12)
@example([(0, 0), (SIDE, SIDE), (0, SIDE), (SIDE, 0)], SIDE, SIDE)  # crosses itself
@example([(3, 3), (3, 3), (9, 3), (9, 3), (3, 3)], 12, 12)  # a line, there and back
@example([(-5, -5), (-3, -3), (-0.5, -4)], 4, 4)
@example([(5e-324, -3), (3, 5e-324), (-5e-324, 3)], 4, 4)
def test_pixels_are_those_of_scikit_image(points, height: int, width: int) -> None:
    columns, rows = zip(*points, strict=True)
    expected = by_scikit_image(rows, columns, height, width)
    np.testing.assert_array_equal(inside_polygon(rows, columns, height, width), expected)


def test_many_corners_and_pieces(monkeypatch) -> None:
    rng = np.random.default_rng(0)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 700))
    radii = rng.uniform(20, 75, 700)
    rows, columns = 60 + radii * np.sin(angles), 70 + radii * np.cos(angles)
    expected = by_scikit_image(rows, columns, 110, 150)
    np.testing.assert_array_equal(inside_polygon(rows, columns, 110, 150), expected)
    monkeypatch.setattr(polygon_filling, "_CROSSINGS_AT_ONCE", 97)
    np.testing.assert_array_equal(inside_polygon(rows, columns, 110, 150), expected)


def test_work_and_memory_are_those_of_pixels_and_outline(seconds) -> None:
    # scikit-image's function would compare 9 million pixels with 40,000 edges.
    angles = np.linspace(0, 2 * np.pi, 40_000, endpoint=False)
    radii = 1400 + 20 * np.sin(3000 * angles)
    rows, columns = 1500 + radii * np.sin(angles), 1500 + radii * np.cos(angles)
    tracemalloc.start()
    try:
        mask = inside_polygon(rows, columns, 3000, 3000)
        peak = tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()
    assert mask.sum() == pytest.approx(np.pi * (1400**2 + 20**2 / 2), rel=1e-3)
    assert seconds() < 10 and peak < 200


def test_a_polygon_that_goes_to_and_fro_is_refused(seconds) -> None:
    rows, columns = [0, 11_000] * 18_000, list(range(0, 36_000))
    with pytest.raises(ValueError, match="expected outlines of at most 4000000 pixels; received"):
        inside_polygon(rows, columns, 11_000, 11_000)
    assert seconds() < 1
    # What is outside the image costs nothing.
    assert inside_polygon([0, 1e7] * 1000, [0, 1] * 1000, 10, 10).any()


def test_the_limit_of_one_polygon_and_of_all() -> None:
    assert outlines_problem([4e6], 6) is None and outlines_problem([2e6, 2e6], 12) is None
    assert outlines_problem([4e6 + 1], 6) == (
        "outlines of at most 4000000 pixels; received 4000001"
    )
    assert outlines_problem([2e6] * 3, 18) == (
        "outlines of at most 4000072 pixels in all, for polygons of 18 numbers; "
        "received 6000000 in 3 polygons"
    )


# --- As Pillow does it ---------------------------------------------------------------------------


def by_pillow(points, height: int, width: int) -> np.ndarray:
    canvas = Image.new("I", (width, height), 0)
    ImageDraw.Draw(canvas).polygon(points, fill=70_001)
    return np.array(canvas)


def painted(points, height: int, width: int) -> np.ndarray:
    canvas = Image.new("I", (width, height), 0)
    paint_polygon(canvas, points, 70_001)
    return np.array(canvas)


near_border = st.one_of(
    st.integers(-SIDE, 2 * SIDE), st.floats(-SIDE, 2 * SIDE, allow_subnormal=False)
)


@settings(max_examples=300)
@given(
    st.lists(st.tuples(near_border, near_border), min_size=3, max_size=30),
    *(st.integers(1, SIDE), st.integers(1, SIDE), st.sampled_from((1, 60, 400))),
)
def test_bands_are_painted_as_the_whole(points, height: int, width: int, at_once: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(polygon_filling, "_PAIRS_OF_WHOLE", 0)
        patch.setattr(polygon_filling, "_PAIRS_OF_BAND", at_once)
        np.testing.assert_array_equal(
            painted(points, height, width), by_pillow(points, height, width)
        )


def test_a_long_outline_is_painted_as_by_pillow() -> None:
    rng = np.random.default_rng(1)
    angles = np.linspace(0, 2 * np.pi, 5000, endpoint=False)
    radii = 200 + rng.uniform(-30, 30, 5000)
    points = np.stack([250 + radii * np.cos(angles), 230 + radii * np.sin(angles)], 1)
    points = [tuple(point) for point in points.tolist()]
    np.testing.assert_array_equal(painted(points, 440, 480), by_pillow(points, 440, 480))


def test_painting_is_bounded(seconds) -> None:
    # Pillow would compare each of 60,000 edges with all the others.
    angles = np.linspace(0, 2 * np.pi, 60_000, endpoint=False)
    radii = 900 + 20 * np.sin(100 * angles)
    points = np.stack([1000 + radii * np.cos(angles), 1000 + radii * np.sin(angles)], 1)
    mask = painted([tuple(point) for point in points.tolist()], 2000, 2000) > 0
    assert mask.sum() == pytest.approx(np.pi * (900**2 + 20**2 / 2), rel=1e-2)
    assert seconds() < 5


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([(x % 2000, 1000 * (x % 2)) for x in range(10_000)], "outlines of at most 4000000 pixels"),
        ([(x % 2000, 10 + x % 2) for x in range(100_000)], "meets each row .* 100000 points"),
    ],
    ids=["long", "crowded"],
)
def test_what_cannot_be_painted_in_time_is_refused(points, message: str, seconds) -> None:
    with pytest.raises(ValueError, match=message):
        painted(points, 1000, 2000)
    assert seconds() < 3
