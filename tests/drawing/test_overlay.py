"""Overlays: what is painted, and what is left as it was."""

from __future__ import annotations

import numpy as np
import pytest

from mrcnn.drawing.overlay import MASK_ALPHA, draw_overlay


def test_masks_boxes_and_captions():
    image = np.full((200, 300, 3), 40, np.uint8)
    boxes = np.array([[50, 60, 110, 160], [100, 100, 190, 290]])
    parts = [((50, 60), np.ones((60, 100), bool)), ((100, 100), np.ones((90, 190), bool))]
    before = image.copy()
    drawn = draw_overlay(image, boxes, parts, ["date 0.98", "fig 0.70"])
    np.testing.assert_array_equal(image, before)
    assert drawn.shape == image.shape and drawn.dtype == np.uint8
    # The small one lies on top where both are.
    assert (drawn[105, 130] != drawn[150, 200]).any()
    red = drawn[80, 100].astype(float)
    np.testing.assert_allclose(
        red, 40 * (1 - MASK_ALPHA) + MASK_ALPHA * np.array([255, 25, 25]), atol=2
    )
    outside = drawn[20:28, 200:].reshape(-1, 3)
    assert (outside == 40).all()
    # A caption above the first box.
    assert (drawn[36:48, 62:100] != 40).any()


def test_captions_do_not_cover_each_other_and_crowds_are_drawn():
    image = np.zeros((100, 100, 3), np.uint8)
    boxes = np.repeat([[40, 40, 60, 60]], 80, axis=0)
    parts = [((40, 40), np.ones((20, 20), bool))] * 80
    drawn = draw_overlay(image, boxes, parts, ["object 0.99"] * 80)
    assert (drawn[:20] == 0).all()  # three places at the box, and no more


def test_grey_images_empty_masks_and_objects_at_the_border():
    drawn = draw_overlay(
        np.zeros((30, 40), np.uint8),
        np.array([[0, 0, 30, 40], [29, 39, 30, 40]]),
        [((0, 0), np.zeros((30, 40), bool)), ((29, 39), np.ones((1, 1), bool))],
        ["ä 漢 \U0001f34e", ""],
    )
    assert drawn.shape == (30, 40, 3)
    assert draw_overlay(np.zeros((5, 5, 3), "u1"), np.zeros((0, 4), int), [], []).max() == 0


def test_counts_must_agree():
    with pytest.raises(ValueError, match="2 boxes, 0 masks and 1 captions"):
        draw_overlay(np.zeros((5, 5, 3), "u1"), np.zeros((2, 4), int), [], ["a"])
