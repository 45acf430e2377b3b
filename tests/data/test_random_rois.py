"""Random RoIs: inside the image, most of them around the objects."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcnn.data.boxes import compute_overlaps
from mrcnn.data.random_rois import generate_random_rois

few = settings(max_examples=40, deadline=None)


@few
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    count=st.integers(0, 60),
    objects=st.integers(0, 4),
    seed=st.integers(0, 2**16),
)
def test_rois_lie_inside_the_image_and_have_an_area(size, count, objects, seed):
    rng = np.random.default_rng(seed)
    y, x = (np.sort(rng.integers(0, side + 1, (objects, 2)), axis=1) for side in size)
    boxes = np.stack([y[:, 0], x[:, 0], y[:, 1], x[:, 1]], axis=1)  # some without an area
    class_ids = rng.integers(-1, 3, objects)
    rois = generate_random_rois((*size, 3), count, class_ids, boxes, rng)
    assert rois.dtype == np.int32 and rois.shape == (count, 4)
    assert (rois[:, :2] >= 0).all() and (rois[:, 2:] <= size).all()
    assert (rois[:, 2:] > rois[:, :2]).all()


def test_nine_tenths_lie_around_the_objects():
    boxes = np.array([[100, 100, 120, 120], [300, 300, 340, 320]])
    rng = np.random.default_rng(0)
    rois = generate_random_rois((1000, 1000, 3), 1000, np.array([1, 2]), boxes, rng)
    for box, share in zip(boxes, (450, 450), strict=True):
        size = np.tile(box[2:] - box[:2], 2) * [-1, -1, 1, 1]
        low, high = (box + size)[:2], (box + size)[2:]
        inside = (rois[:, :2] >= low).all(axis=1) & (rois[:, 2:] <= high).all(axis=1)
        assert share <= inside.sum() <= share + 5
    assert (compute_overlaps(rois, boxes).max(axis=1) >= 0.5).sum() > 10  # some are positive


def test_empty_slots_draw_nothing():
    boxes = np.array([[10, 10, 12, 12], [0, 0, 1, 1]])
    rng = np.random.default_rng(0)
    rois = generate_random_rois((64, 64, 3), 100, np.array([1, 0]), boxes, rng)
    assert ((rois[:, 2:] <= 14).all(axis=1) & (rois[:, :2] >= 8).all(axis=1)).sum() >= 90


def test_numpys_global_generator_decides_by_default():
    boxes = np.array([[10, 10, 30, 30]])
    state = np.random.get_state()
    try:
        np.random.seed(1)
        first = generate_random_rois((64, 64, 3), 9, np.array([1]), boxes)
        np.random.seed(1)
        again = generate_random_rois((64, 64, 3), 9, np.array([1]), boxes)
    finally:
        np.random.set_state(state)
    np.testing.assert_array_equal(first, again)
