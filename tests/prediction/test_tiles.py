"""Tiles: they cover the picture, and what comes out is what a look at the whole would give."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcnn.prediction.prediction import Prediction
from mrcnn.prediction.tiles import Tiled, Tiling, cut_by_border
from tests.prediction.disc_detector import DiscDetector, discs


def masks_of(detector, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    (found,) = detector.detect_batch([detector.prepare(image)])
    prediction = Prediction.of("x", None, found, ["background", "disc", "green"])
    assert (np.diff(prediction.scores) <= 0).all() or not isinstance(detector, Tiled)
    return prediction.masks, prediction.class_ids


def matched(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """IoU of each wanted mask with its best found one."""
    found, wanted = (m.reshape(-1, m.shape[2]).astype(np.float64) for m in (found, wanted))
    shared = wanted.T @ found
    union = wanted.sum(axis=0)[:, None] + found.sum(axis=0)[None] - shared
    return (shared / union).max(axis=1)


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.integers(0, 39))
def test_tiles_cover_every_pixel_and_overlap_enough(height, width, side, overlap):
    overlap = min(overlap, side - 1)
    corners = Tiling(side, overlap).corners(height, width)
    seen = np.zeros((height, width), int)
    for y, x in corners:
        assert 0 <= y <= max(0, height - side) and 0 <= x <= max(0, width - side)
        seen[y : y + side, x : x + side] += 1
    assert seen.min() == 1 or len(corners) > 1 and seen.min() >= 1
    for axis in (0, 1):
        starts = sorted({corner[axis] for corner in corners})
        assert all(b - a <= side - overlap for a, b in zip(starts, starts[1:], strict=False))
    assert len(set(corners)) == len(corners)


@pytest.mark.parametrize("settings", [(64, 64), (0, 0), (10, 10), (10, -1)])
def test_tiles_that_would_not_advance_are_refused(settings):
    with pytest.raises(ValueError, match="tile and overlap"):
        Tiled(DiscDetector(), Tiling(*settings))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_objects_at_borders_are_found_once_and_whole(batch_size: int):
    generator = np.random.default_rng(0)
    centers = [
        (y + int(generator.integers(-4, 5)), x + int(generator.integers(-4, 5)))
        for y in range(20, 330, 33)
        for x in range(20, 250, 33)
    ]
    image = discs(350, 270, centers, green=20)
    small = DiscDetector(batch_size)
    tiled = Tiled(small, Tiling(100, 30))
    found, classes = masks_of(tiled, image)
    wanted, wanted_classes = masks_of(DiscDetector(1), image)
    assert found.shape == wanted.shape
    assert matched(found, wanted).min() > 0.95
    assert sorted(classes) == sorted(wanted_classes)
    assert small.largest <= 100 * 100 * 3  # never more than a tile at a time
    assert max(small.batches) == batch_size


def test_a_picture_smaller_than_a_tile_is_seen_whole():
    image = discs(50, 60, [(20, 20), (30, 45)], radius=8)
    detector = DiscDetector(1)
    found, _ = masks_of(Tiled(detector, Tiling(100, 20)), image)
    np.testing.assert_array_equal(
        np.sort(found.sum(axis=(0, 1))), np.sort(masks_of(DiscDetector(1), image)[0].sum((0, 1)))
    )
    assert detector.batches == [1]


def test_neighbours_of_one_class_that_overlap_in_boxes_only_both_stay():
    # Two diagonal bars: their boxes overlap much, their masks not at all.
    image = np.zeros((120, 120, 3), np.uint8)
    for k in range(60):
        image[20 + k, 20 + k : 26 + k] = 255
        image[20 + k, 38 + k : 44 + k] = 255
    found, _ = masks_of(Tiled(DiscDetector(1), Tiling(90, 80)), image)
    assert found.shape[2] == 2


def test_objects_larger_than_the_overlap_are_said(caplog):
    caplog.set_level(logging.WARNING, "mrcnn")
    image = discs(200, 200, [(100, 100)], radius=60)
    tiled = Tiled(DiscDetector(1), Tiling(100, 10))
    for _ in range(2):
        masks_of(tiled, image)
    said = [r.getMessage() for r in caplog.records if "--overlap" in r.getMessage()]
    assert len(said) == 1 and "10 pixels" in said[0]


def test_nothing_found_is_an_empty_result():
    found, classes = masks_of(Tiled(DiscDetector(1), Tiling(64, 8)), np.zeros((100, 90, 3), "u1"))
    assert found.shape == (100, 90, 0) and classes.shape == (0,)


def test_borders_of_the_picture_cut_nothing():
    boxes = np.array([[0, 0, 5, 5], [0, 20, 5, 32], [10, 10, 20, 20], [20, 3, 32, 9]])
    shape = (32, 32)
    assert cut_by_border(boxes, (0, 0), shape, shape).tolist() == [False] * 4
    assert cut_by_border(boxes, (0, 0), shape, (32, 99)).tolist() == [False, True, False, False]
    assert cut_by_border(boxes, (40, 0), shape, (99, 32)).tolist() == [True, True, False, True]
