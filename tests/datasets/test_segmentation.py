"""Polygons and run lengths: the same pixels by every form, and refusals of broken ones."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as mask_api

from mrcnn.datasets.segmentation import (
    annotation_to_image_rle,
    annotation_to_mask,
    annotation_to_rle,
    box_rle,
    rle_crop,
    unpack_run_lengths,
)

masks = hnp.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def annotation(segmentation, **kwargs):
    return {"id": 7, "segmentation": segmentation, **kwargs}


def naive_runs(mask: np.ndarray) -> list[int]:
    runs, value = [0], False
    for pixel in mask.ravel(order="F"):
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


def compressed(mask: np.ndarray) -> dict:
    return mask_api.encode(np.asfortranarray(mask, np.uint8))


@settings(max_examples=60, deadline=None)
@given(masks)
def test_all_forms_of_run_lengths_give_the_mask(mask):
    rle = compressed(mask)
    forms = [
        {"size": list(mask.shape), "counts": naive_runs(mask)},
        {"size": list(mask.shape), "counts": rle["counts"]},
        {"size": list(mask.shape), "counts": rle["counts"].decode()},
    ]
    for form in forms:
        np.testing.assert_array_equal(annotation_to_mask(annotation(form), *mask.shape), mask)
    np.testing.assert_array_equal(unpack_run_lengths(rle["counts"]), naive_runs(mask))


@pytest.mark.parametrize("runs", [[0, 70_000, 30_000], [5, 1, 99_994], [1] * 100_000])
def test_long_and_many_runs_unpack(runs):
    rle = mask_api.frPyObjects({"size": [1000, 100], "counts": runs}, 1000, 100)
    np.testing.assert_array_equal(unpack_run_lengths(rle["counts"]), runs)


def test_polygon_covers_the_pixels_between_its_corners():
    expected = np.zeros((6, 8), bool)
    expected[1:4, 2:7] = True
    mask = annotation_to_mask(annotation([[2, 1, 7, 1, 7, 4, 2, 4]]), 6, 8)
    np.testing.assert_array_equal(mask, expected)


def test_polygons_of_an_annotation_are_united():
    square, other = [0, 0, 2, 0, 2, 2, 0, 2], [1, 1, 4, 1, 4, 4, 1, 4]
    assert annotation_to_mask(annotation([square, other]), 5, 5).sum() == 4 + 9 - 1


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 80), st.integers(0, 2**32))
def test_any_number_of_polygons_is_united_as_pycocotools_does(count, seed):
    corners = np.random.default_rng(seed).uniform(-3, 43, (count, 6))
    corners[:, 2:] = corners[:, :2].repeat(2, 0).reshape(count, 4) + corners[:, 2:] % 9
    polygons = corners.tolist()
    expected = mask_api.merge(mask_api.frPyObjects(polygons, 30, 40))
    assert annotation_to_rle(annotation(polygons), 30, 40) == expected


def test_time_grows_with_the_number_of_polygons_and_not_with_its_square():
    place = np.random.default_rng(0).integers(0, 999, (60_000, 1, 2))
    squares = (place + [[0, 0], [1, 0], [1, 1], [0, 1]]).reshape(-1, 8).tolist()
    start = time.process_time()
    mask = annotation_to_mask(annotation(squares), 1000, 1000)
    assert time.process_time() - start < 5  # merging one after the other takes a minute
    expected = np.zeros((1000, 1000), np.uint8)
    expected[place[:, 0, 1], place[:, 0, 0]] = 1
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize(
    "box", [[1.4, 2.6, 3, 2], [-5, -5, 100, 100], [0, 0, 1, 1], [7, 5, 1, 1], [50, 50, 3, 3]]
)
def test_a_box_covers_the_pixels_between_its_rounded_edges(box):
    x1, y1, x2, y2 = np.round([box[0], box[1], box[0] + box[2], box[1] + box[3]]).astype(int)
    expected = np.zeros((6, 8), bool)
    expected[max(0, y1) : max(0, y2), max(0, x1) : max(0, x2)] = True
    np.testing.assert_array_equal(mask_api.decode(box_rle(box, 6, 8)), expected)


def test_polygon_that_strays_over_the_border_is_cut():
    mask = annotation_to_mask(annotation([[-2, -2, 3, -2, 3, 3, -2, 3]]), 6, 6)
    assert mask.sum() == 9 and mask[:3, :3].all()


def test_crowd_of_another_size_covers_the_image():
    crowd = annotation({"size": [3, 3], "counts": [4, 1, 4]}, iscrowd=1)
    assert annotation_to_rle(crowd, 5, 4)["size"] == [3, 3]
    mask = mask_api.decode(annotation_to_image_rle(crowd, 5, 4))
    assert mask.shape == (5, 4) and mask.all()


def test_crowd_of_the_images_size_and_crowd_polygon_keep_their_pixels():
    rle = annotation({"size": [3, 3], "counts": [4, 1, 4]}, iscrowd=1)
    assert mask_api.area(annotation_to_image_rle(rle, 3, 3)) == 1
    polygon = annotation([[0, 0, 2, 0, 2, 2, 0, 2]], iscrowd=1)
    assert mask_api.area(annotation_to_image_rle(polygon, 3, 3)) == 4


DIAGONAL = compressed(np.eye(3, dtype=bool))["counts"].decode()

BROKEN = {
    "no polygon": [],
    "nothing": None,
    "flat list": [1, 1, 4, 1, 4, 4],
    "two points": [[1, 1, 4, 4]],
    "second polygon too short": [[1, 1, 4, 1, 4, 4], [1, 1]],
    "odd number": [[1, 1, 4, 1, 4, 4, 2]],
    "not a number": [[1, 1, 4, float("nan"), 4, 4]],
    "infinite": [[1, 1, float("inf"), 1, 4, 4]],
    "far away": [[1, 1, 1e9, 1, 4, 4]],
    "text": [[1, 1, "4", 1, 4, 4]],
    "no size": {"counts": [9]},
    "size of one number": {"size": [3], "counts": [9]},
    "size of zero": {"size": [0, 3], "counts": []},
    "no counts": {"size": [3, 3]},
    "another size": {"size": [4, 4], "counts": [16]},
    "too short": {"size": [3, 3], "counts": [4, 1]},
    "too long": {"size": [3, 3], "counts": [4, 1, 99]},
    "negative run": {"size": [3, 3], "counts": [12, -3]},
    "run of text": {"size": [3, 3], "counts": ["9"]},
    "compressed: empty": {"size": [3, 3], "counts": ""},
    "compressed: too short": {"size": [3, 3], "counts": DIAGONAL[:-2]},
    "compressed: ends within a number": {"size": [3, 3], "counts": DIAGONAL + "P"},
    "compressed: foreign characters": {"size": [3, 3], "counts": DIAGONAL + "~"},
    "compressed: endless number": {"size": [3, 3], "counts": "o" * 40 + "0"},
}


@pytest.mark.parametrize("segmentation", BROKEN.values(), ids=BROKEN.keys())
def test_broken_segmentation_is_refused_with_file_and_id(segmentation):
    with pytest.raises(ValueError, match=r"a\.json: annotation 7, field 'segmentation'.*expected"):
        annotation_to_rle(annotation(segmentation), 3, 3, "a.json")


# --- Crops ---------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(mask=masks.filter(np.any))
def test_a_crop_is_the_mask_within_its_tightest_box(mask):
    rows, columns = np.nonzero(mask)
    (y1, x1, y2, x2), crop = rle_crop(compressed(mask))
    assert (y1, x1, y2, x2) == (min(rows), min(columns), max(rows) + 1, max(columns) + 1)
    assert crop.dtype == bool
    np.testing.assert_array_equal(crop, mask[y1:y2, x1:x2])


def test_runs_of_no_length_do_not_widen_the_box():
    # 4 x 5 pixels; the run inside in column 0 is empty, as is the one at the end.
    runs = [2, 0, 7, 2, 3, 1, 5, 0]
    rle = annotation_to_rle(annotation({"size": [4, 5], "counts": runs}), 4, 5)
    box, crop = rle_crop(rle)
    mask = annotation_to_mask(annotation({"size": [4, 5], "counts": runs}), 4, 5).astype(bool)
    rows, columns = np.nonzero(mask)
    assert box == (min(rows), min(columns), max(rows) + 1, max(columns) + 1)
    np.testing.assert_array_equal(crop, mask[box[0] : box[2], box[1] : box[3]])
