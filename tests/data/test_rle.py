"""Run lengths from boxes equal those of pasted masks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as mask_api

from mrcnn.data.masks import paste_masks
from mrcnn.data.rle import encode_in_boxes, run_lengths

property_test = settings(max_examples=100, deadline=None)


@property_test
@given(
    seed=st.integers(0, 2**16),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    full_height=st.booleans(),
    whole_pixels=st.booleans(),
    with_corners=st.booleans(),
    noise=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_byte_for_byte_those_of_the_pasted_masks(
    seed, size, full_height, whole_pixels, with_corners, noise
):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(0, 4))
    masks = np.clip(rng.random((count, 7, 5)) * noise + rng.random((count, 1, 1)), 0, 1)
    y, x = (np.sort(rng.random((count, 2)) * side, axis=1) for side in size)
    if whole_pixels:
        y, x = np.rint(y).astype(int), np.rint(x).astype(int)
    if full_height:
        y[:] = 0, size[0]
    boxes = np.stack([y[:, 0], x[:, 0], y[:, 1], x[:, 1]], axis=1)
    corners = boxes + rng.uniform(-1, 1, boxes.shape) if with_corners else None
    pasted = paste_masks(masks, boxes, size, corners)
    expected = [mask_api.encode(np.asfortranarray(pasted[..., i], np.uint8)) for i in range(count)]
    assert encode_in_boxes(masks, boxes, size, corners) == expected


def test_runs_go_on_from_column_to_column():
    assert run_lengths(np.ones((3, 2), bool), (0, 1), (3, 4)).tolist() == [3, 6, 3]
    assert run_lengths(np.ones((3, 4), bool), (0, 0), (3, 4)).tolist() == [0, 12]
    assert run_lengths(np.ones((1, 2), bool), (1, 0), (3, 4)).tolist() == [1, 1, 2, 1, 7]
    assert run_lengths(np.zeros((2, 2), bool), (1, 0), (3, 4)).tolist() == [12]


def test_boxes_outside_the_image_are_refused():
    with pytest.raises(ValueError, match=r"\[0, 5, 11, 9\].*leaves the image of 10 x 20"):
        encode_in_boxes(np.ones((1, 4, 4)), np.array([[0, 5, 11, 9]]), (10, 20))
    with pytest.raises(ValueError, match="2 boxes and 1 masks"):
        encode_in_boxes(np.ones((1, 4, 4)), np.zeros((2, 4), int), (10, 20))
