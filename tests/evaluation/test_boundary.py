"""Boundary IoU and Boundary AP: against repeated erosion, and cases worked out by hand."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as mask_api

from mrcnn.datasets.coco_json import coco_api
from mrcnn.evaluation.boundary import (
    CITYSCAPES_DILATION_RATIO,
    boundary_distance,
    boundary_iou,
    boundary_metrics,
    boundary_rle,
    mask_boundary,
)
from mrcnn.evaluation.coco import METRIC_NAMES, evaluate_results
from mrcnn.evaluation.results import coco_results

few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def naive_boundary(mask: np.ndarray, distance: int) -> np.ndarray:
    """Pixel by pixel: erode so many times by a 3x3 square, background around the image."""
    eroded = mask.astype(bool)
    height, width = eroded.shape
    for _ in range(distance):
        last = np.zeros((height + 2, width + 2), bool)
        last[1:-1, 1:-1] = eroded
        eroded = np.array(
            [[last[y : y + 3, x : x + 3].all() for x in range(width)] for y in range(height)]
        )
    return mask.astype(bool) & ~eroded


def blobs(seed: int, shape=(13, 17)) -> np.ndarray:
    """A few overlapping rectangles; some touch the border, some have a hole."""
    random = np.random.default_rng(seed)
    mask = np.zeros(shape, bool)
    for value in (True, True, True, False):
        y, x = (int(random.integers(side)) for side in shape)
        mask[y : y + int(random.integers(1, 10)), x : x + int(random.integers(1, 12))] = value
    return mask


def square(y: int, x: int, side: int, shape=(100, 100)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[y : y + side, x : x + side] = True
    return mask


def encode(mask: np.ndarray) -> dict:
    return mask_api.encode(np.asfortranarray(mask, np.uint8))


class TestDistance:
    def test_share_of_the_diagonal(self):
        assert boundary_distance(480, 640) == 16
        assert boundary_distance(1024, 2048, CITYSCAPES_DILATION_RATIO) == 11
        assert boundary_distance(30, 40, 0.05) == 2  # 2.5, to the even one as in Python

    def test_at_least_one_pixel(self):
        assert boundary_distance(4, 3) == boundary_distance(1, 1, 1e-9) == 1

    @pytest.mark.parametrize("ratio", [0, -0.02, float("nan"), float("inf"), "0.02", None, True])
    def test_other_ratios_are_refused(self, ratio):
        with pytest.raises(ValueError, match="dilation_ratio: expected .* above 0") as error:
            boundary_distance(10, 10, ratio)
        assert repr(ratio) in str(error.value)


class TestBoundary:
    @given(seeds, st.integers(1, 6))
    @few
    def test_like_repeated_erosion(self, seed, distance):
        mask = blobs(seed)
        found = mask_boundary(mask, distance)
        assert found.dtype == bool
        np.testing.assert_array_equal(found, naive_boundary(mask, distance))

    @given(seeds)
    @few
    def test_noise_too(self, seed):
        mask = np.random.default_rng(seed).random((9, 8)) < 0.9
        np.testing.assert_array_equal(mask_boundary(mask, 1), naive_boundary(mask, 1))

    @given(seeds, st.integers(1, 5))
    @few
    def test_is_within_the_mask_and_grows_with_the_distance(self, seed, distance):
        mask = blobs(seed)
        near, far = mask_boundary(mask, distance), mask_boundary(mask, distance + 1)
        assert not (near & ~far).any() and not (far & ~mask).any()

    def test_the_image_ends_in_background(self):
        ring = mask_boundary(np.ones((7, 9)), 2)
        assert ring.sum() == 7 * 9 - 3 * 5 and not ring[2:5, 2:7].any()

    def test_a_hole_has_a_boundary(self):
        mask = square(10, 10, 41)
        mask[30, 30] = False
        ring = mask_boundary(mask, 3)
        assert ring[30, 33] and not ring[30, 34] and ring[27, 27] and not ring[30, 30]

    def test_the_mask_is_left_as_it_was(self):
        mask = np.ones((9, 9), np.uint8)
        mask_boundary(mask, 1)
        assert mask.all()

    @pytest.mark.parametrize("shape", [(5, 5), (0, 4), (1, 1)])
    def test_an_empty_mask_has_none(self, shape):
        assert not mask_boundary(np.zeros(shape), 1).any()

    @given(seeds, st.sampled_from([0.02, 0.1, 0.3]))
    @few
    def test_run_lengths(self, seed, ratio):
        mask = blobs(seed)
        rle = boundary_rle(encode(mask), ratio)
        assert rle["size"] == [13, 17]
        expected = naive_boundary(mask, boundary_distance(13, 17, ratio))
        np.testing.assert_array_equal(mask_api.decode(rle), expected)


class TestBoundaryIou:
    def test_a_shift_by_one_pixel(self):
        """Squares of 40, rings of 3: the moved ring covers 333 of the 444 pixels."""
        first, second = square(20, 20, 40), square(20, 21, 40)
        ring = 40**2 - 34**2
        common = np.sum(naive_boundary(first, 3) & naive_boundary(second, 3))
        # The horizontal bars overlap in 39 of 40 columns, the vertical ones in 2 of 3.
        assert common == 2 * 3 * 39 + 2 * 2 * 34
        assert boundary_iou(first, second) == pytest.approx(common / (2 * ring - common))
        assert boundary_iou(first, second) < 39 / 41  # the mask's

    def test_masks_that_share_no_outline(self):
        assert boundary_iou(square(10, 10, 80), square(30, 30, 40)) == 0

    @given(seeds, seeds)
    @few
    def test_properties(self, seed, other):
        a, b = blobs(seed), blobs(other)
        value = boundary_iou(a, b)
        assert 0 <= value <= 1
        assert (
            value == boundary_iou(b, a) == boundary_iou(a.T, b.T) == boundary_iou(a[::-1], b[::-1])
        )
        assert boundary_iou(a, a) == (1 if a.any() else 0)

    @given(seeds, seeds)
    @few
    def test_of_thin_masks_it_is_the_iou(self, seed, other):
        a, b = blobs(seed), blobs(other)
        union = (a | b).sum()
        expected = (a & b).sum() / union if union else 0
        assert boundary_iou(a, b, dilation_ratio=1) == pytest.approx(expected)

    def test_empty_masks(self):
        nothing = np.zeros((9, 9))
        assert boundary_iou(nothing, nothing) == boundary_iou(nothing, np.ones((9, 9))) == 0

    def test_masks_of_two_sizes_are_refused(self):
        with pytest.raises(ValueError, match=r"one shape \[height, width\].*\(4, 4\).*\(4, 5\)"):
            boundary_iou(np.ones((4, 4)), np.ones((4, 5)))


# --- Boundary AP ---------------------------------------------------------------------------


def ground_truth(masks, crowds=()) -> dict:
    """The masks as annotations of one image, category 5."""
    height, width = masks[0].shape
    annotations = []
    for index, mask in enumerate(masks):
        rle = encode(mask)
        annotations.append(
            {
                "id": index,
                "image_id": 1,
                "category_id": 5,
                "iscrowd": int(index in crowds),
                "area": int(mask.sum()),
                "bbox": mask_api.toBbox(rle).tolist(),
                "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
            }
        )
    return {
        "images": [{"id": 1, "height": height, "width": width}],
        "annotations": annotations,
        "categories": [{"id": 5, "name": "square"}],
    }


def results_of(masks, scores, image_id=1):
    stack = np.stack(masks, axis=2)
    boxes = np.zeros((len(masks), 4))
    return coco_results(image_id, boxes, [5] * len(masks), scores, stack)


def metrics_of(masks, found, scores=None, crowds=(), **options):
    scores = np.linspace(0.9, 0.5, len(found)) if scores is None else scores
    truth = coco_api(ground_truth(masks, crowds))
    return boundary_metrics(truth, results_of(found, scores), **options)


def test_perfect_detections_score_one():
    masks = [square(0, 0, 20), square(50, 50, 60, (200, 200)), square(0, 100, 98, (200, 200))]
    masks[0] = np.pad(masks[0], (0, 100))
    metrics = metrics_of(masks, masks)
    assert tuple(metrics) == METRIC_NAMES
    assert metrics.pop("AR1") == pytest.approx(1 / 3)
    assert list(metrics.values()) == pytest.approx([1] * 11)


@pytest.mark.parametrize("side", [31, 33, 34, 36, 38, 39])
def test_it_is_the_smaller_of_the_two(side):
    """A square of 40 found too small: the thresholds from 0.5 to 0.95 that are passed."""
    truth, found = square(20, 20, 40), square(20, 20, side)
    overlap = min(side**2 / 40**2, boundary_iou(truth, found))
    passed = sum(overlap >= threshold for threshold in np.arange(0.5, 0.96, 0.05))
    assert metrics_of([truth], [found])["AP"] == pytest.approx(passed / 10)


def test_a_ring_is_no_match_for_the_square_it_bounds():
    """Boundaries alike, masks not: the IoU of the masks counts too."""
    truth = square(20, 20, 60)
    ring = mask_boundary(truth, boundary_distance(100, 100))
    assert boundary_iou(truth, ring) == 1
    assert metrics_of([truth], [ring])["AP"] == 0


@given(seeds)
@settings(max_examples=8, deadline=None)
def test_never_above_mask_ap(seed):
    random = np.random.default_rng(seed)
    masks = [square(5, 5, 40), square(50, 50, 45), square(5, 60, 30)]
    found = [np.roll(mask, random.integers(-4, 5, 2), axis=(0, 1)) for mask in masks]
    truth = coco_api(ground_truth(masks))
    results = results_of(found, random.random(3))
    boundary = boundary_metrics(truth, results)
    segm = evaluate_results(truth, results, ("segm",))["segm"]
    assert all(boundary[name] <= segm[name] + 1e-12 for name in METRIC_NAMES)
    # A boundary as wide as the masks is the masks.
    assert boundary_metrics(truth, results, dilation_ratio=1) == segm


def test_it_sees_what_mask_ap_does_not():
    """A large object found three pixels off."""
    truth, found = square(10, 10, 80), square(13, 13, 80)
    results = results_of([found], [0.9])
    segm = evaluate_results(coco_api(ground_truth([truth])), results, ("segm",))["segm"]
    assert segm["AP75"] == pytest.approx(1)
    assert metrics_of([truth], [found])["AP50"] == 0


@pytest.mark.parametrize(
    "inside",
    [square(20, 100, 60, (100, 200)), square(35, 115, 25, (100, 200))],
    ids=["fills-it", "deep-inside"],
)
def test_a_detection_in_a_crowd_is_no_error(inside):
    """However little of its boundary is the crowd's."""
    shape = (100, 200)
    found, crowd = square(0, 0, 40, shape), square(20, 100, 60, shape)
    metrics = metrics_of([found, crowd], [inside, found], crowds=[1], dilation_ratio=0.03)
    assert metrics["AP"] == pytest.approx(1)


def test_several_detections_in_a_crowd_before_the_object():
    shape = (256, 256)
    crowd, found = square(20, 20, 216, shape), square(0, 0, 15, shape)
    inside = [square(y, x, 40, shape) for y in (40, 140) for x in (40, 140)]
    truth = coco_api(ground_truth([found, crowd], crowds=[1]))
    results = results_of([*inside, found], [0.95, 0.94, 0.93, 0.92, 0.5])
    assert evaluate_results(truth, results, ("segm",))["segm"]["AP"] == pytest.approx(1)
    assert boundary_metrics(truth, results)["AP"] == pytest.approx(1)


def test_a_detection_half_in_a_crowd_is_an_error():
    shape = (100, 200)
    found, crowd = square(0, 0, 40, shape), square(20, 100, 60, shape)
    across = square(40, 60, 60, shape)  # 20 of its 60 columns, 40 of its 60 rows
    metrics = metrics_of([found, crowd], [across, found], crowds=[1])
    assert metrics["AP"] == pytest.approx(0.5)


def test_with_an_object_the_boundary_counts_beside_a_crowd():
    """A square of 40 found as one of 36: mask IoU 0.81, boundaries have nothing in common."""
    shape = (100, 200)
    truth, crowd = square(0, 0, 40, shape), square(20, 100, 60, shape)
    small = square(2, 2, 36, shape)
    metrics = metrics_of([truth, crowd], [small], crowds=[1], dilation_ratio=0.005)
    assert metrics["AP50"] == 0


def test_only_the_hundred_surest_count():
    truth = square(0, 0, 40)
    found = [square(50, 50, 30)] * 100 + [truth]
    assert metrics_of([truth], found, np.linspace(0.9, 0.1, 101))["AP"] == 0
    scores = np.linspace(0.1, 0.9, 101)
    assert metrics_of([truth], found, scores)["AP"] == pytest.approx(1)


def test_a_detection_of_no_pixel():
    truth = square(0, 0, 40)
    assert metrics_of([truth], [np.zeros_like(truth), truth])["AP"] == pytest.approx(0.5)


def test_no_results_and_no_objects():
    content = ground_truth([square(0, 0, 40)])
    values = boundary_metrics(coco_api(content), [])
    assert values["AP"] == values["AR100"] == values["AP_M"] == 0 and values["AP_S"] == -1
    content["annotations"] = []
    values = boundary_metrics(coco_api(content), results_of([square(0, 0, 40)], [0.9]))
    assert set(values.values()) == {-1}


def test_image_ids_restrict_ground_truth_and_results():
    mask = square(0, 0, 40)
    content = ground_truth([mask])
    content["images"].append({"id": 2, "height": 100, "width": 100})
    content["annotations"].append({**content["annotations"][0], "image_id": 2, "id": 9})
    results = results_of([mask], [0.9])
    assert boundary_metrics(coco_api(content), results)["AP"] < 0.6
    assert boundary_metrics(coco_api(content), results, [1])["AP"] == pytest.approx(1)
    assert boundary_metrics(coco_api(content), results, iter([2]))["AP"] == 0


def test_a_file_and_polygons(tmp_path, capsys):
    mask = square(10, 20, 40)
    content = ground_truth([mask])
    content["annotations"] = [
        {
            **{"id": 3, "image_id": 1, "category_id": 5},
            "segmentation": [[20, 10, 60, 10, 60, 50, 20, 50]],
        }
    ]
    file = tmp_path / "instances.json"
    file.write_text(json.dumps(content))
    assert boundary_metrics(file, results_of([mask], [0.9]))["AP"] == pytest.approx(1)
    assert capsys.readouterr().out == ""


def test_ground_truth_and_results_are_left_as_they_were():
    truth = coco_api(ground_truth([square(0, 0, 40)]))
    results = results_of([square(0, 1, 40)], [0.9])
    before = copy.deepcopy((truth.dataset, results))
    boundary_metrics(truth, results)
    assert (truth.dataset, results) == before


def test_errors():
    truth = coco_api(ground_truth([square(0, 0, 40)]))
    results = results_of([square(0, 0, 40)], [0.9])
    with pytest.raises(ValueError, match="1 others, such as 9"):
        boundary_metrics(truth, results_of([square(0, 0, 40)], [0.9], image_id=9))
    with pytest.raises(ValueError, match="dilation_ratio.*received -1"):
        boundary_metrics(truth, results, dilation_ratio=-1)
    del results[0]["segmentation"]
    with pytest.raises(ValueError, match=r"Result 1 \(image 1\): .*'segmentation'"):
        boundary_metrics(truth, results)


def test_real_results(shared):
    """COCO's own example: below mask AP, and equal to it with boundaries as wide as images."""
    folder = shared / "data" / "coco_eval100"
    truth = folder / "instances_val2014_100.json"
    results = json.loads((folder / "instances_val2014_fakesegm100_results.json").read_text())
    boundary = boundary_metrics(truth, results)
    segm = evaluate_results(truth, results, ("segm",))["segm"]
    assert 0 < boundary["AP"] < segm["AP"]
    assert boundary["AP_L"] < 0.8 * segm["AP_L"] < boundary["AP_S"]
