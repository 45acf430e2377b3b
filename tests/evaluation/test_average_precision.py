"""Matterport's single-image metrics: its numbers, and cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcnn.data.boxes import extract_bboxes
from mrcnn.data.masks import minimize_mask
from mrcnn.evaluation.average_precision import (
    compute_ap,
    compute_ap_range,
    compute_matches,
    compute_recall,
)


@pytest.fixture(scope="module")
def vectors(fixtures):
    with np.load(fixtures / "util_vectors.npz") as file:
        return {key: file[key] for key in file.files if key.startswith("ap")}


def case(vectors, number: int) -> list[np.ndarray]:
    names = (
        "gt_boxes",
        "gt_ids",
        "gt_masks",
        "pred_boxes",
        "pred_ids",
        "pred_scores",
        "pred_masks",
    )
    return [vectors[f"ap{number}_{name}"] for name in names]


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("percent", [50, 75])
def test_matches_and_ap_are_matterports(vectors, number, percent):
    key = f"ap{number}_{percent}"
    arguments = case(vectors, number)
    gt_match, pred_match, overlaps = compute_matches(*arguments, iou_threshold=percent / 100)
    for ours, name in ((gt_match, "gt_match"), (pred_match, "pred_match")):
        np.testing.assert_array_equal(ours, vectors[f"{key}_{name}"])
        assert ours.dtype == vectors[f"{key}_{name}"].dtype
    np.testing.assert_allclose(overlaps, vectors[f"{key}_overlaps"], atol=1e-6)

    average, precisions, recalls, overlaps = compute_ap(*arguments, iou_threshold=percent / 100)
    assert average == pytest.approx(float(vectors[f"{key}_mAP"]), abs=1e-6)
    np.testing.assert_allclose(precisions, vectors[f"{key}_prec"], atol=1e-6)
    np.testing.assert_allclose(recalls, vectors[f"{key}_rec"], atol=1e-6)
    np.testing.assert_allclose(overlaps, vectors[f"{key}_overlaps"], atol=1e-6)


@pytest.mark.parametrize("number", range(4))
def test_ap_range_and_recall_are_matterports(vectors, number):
    arguments = case(vectors, number)
    mean = compute_ap_range(*arguments, verbose=0)
    assert mean == pytest.approx(float(vectors[f"ap{number}_range"]), abs=1e-6)
    recall, ids = compute_recall(arguments[3], arguments[0], 0.5)
    assert recall == pytest.approx(float(vectors[f"ap{number}_recall"]), abs=1e-6)
    np.testing.assert_array_equal(ids, vectors[f"ap{number}_recall_ids"])


def test_no_predictions_are_matterports(vectors):
    boxes, ids, masks, *_ = case(vectors, 0)
    average, precisions, recalls, overlaps = compute_ap(
        boxes, ids, masks, np.zeros((0, 4)), np.zeros(0), np.zeros(0), masks[..., :0]
    )
    assert average == float(vectors["ap_nopred"])
    np.testing.assert_array_equal(precisions, vectors["ap_nopred_prec"])
    np.testing.assert_array_equal(recalls, vectors["ap_nopred_rec"])
    assert overlaps.shape == (0, 4)


# --- Mini masks ------------------------------------------------------------------------------


def rectangles() -> tuple[np.ndarray, np.ndarray]:
    boxes = np.array([[2, 3, 60, 90], [30, 40, 70, 60]])
    masks = np.zeros((80, 100, 2), bool)
    for i, (y1, x1, y2, x2) in enumerate(boxes):
        masks[y1:y2, x1:x2, i] = True
    return boxes, masks


@pytest.mark.parametrize("mini", ["gt", "pred"])
def test_mini_masks_of_one_side_are_expanded(mini):
    boxes, masks = rectangles()
    small = minimize_mask(boxes, masks, (56, 56))
    found = np.roll(masks, 4, axis=0)[..., ::-1]
    found_boxes = extract_bboxes(found)
    small_found = minimize_mask(found_boxes, found, (28, 28))
    gt, pred = (small, found) if mini == "gt" else (masks, small_found)
    classes, scores = np.array([1, 2]), np.array([0.9, 0.8])
    arguments = (found_boxes, classes[::-1], scores)
    expected = compute_ap(boxes, classes, masks, *arguments, found)
    for ours, whole in zip(compute_ap(boxes, classes, gt, *arguments, pred), expected, strict=True):
        np.testing.assert_array_equal(ours, whole)
    assert compute_ap_range(boxes, classes, gt, *arguments, pred, verbose=0) == compute_ap_range(
        boxes, classes, masks, *arguments, found, verbose=0
    )


def test_masks_of_images_of_two_sizes_are_refused():
    boxes, masks = rectangles()
    larger = np.pad(masks, ((0, 20), (0, 0), (0, 0)))
    with pytest.raises(ValueError, match="100 x 100 pixels|80 x 100 pixels"):
        compute_ap(boxes, [1, 2], masks, boxes, [1, 2], [0.9, 0.8], larger)


# --- By hand: masks on a strip of pixels -------------------------------------------------


def strip(*ranges: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Boxes [N, 4] and masks [1, 100, N] of columns from .. to."""
    masks = np.zeros((1, 100, len(ranges)), bool)
    for index, (first, last) in enumerate(ranges):
        masks[0, first:last, index] = True
    boxes = np.array([[0, first, 1, last] for first, last in ranges]).reshape(-1, 4)
    return boxes, masks


def test_better_prediction_matches_first_and_takes_the_instance():
    gt_boxes, gt_masks = strip((0, 10))
    boxes, masks = strip((0, 9), (0, 10))
    gt_match, pred_match, _ = compute_matches(
        gt_boxes, [1], gt_masks, boxes, [1, 1], [0.9, 0.2], masks
    )
    assert gt_match.tolist() == [0] and pred_match.tolist() == [0, -1]


def test_most_overlapping_instance_of_the_same_class():
    gt_boxes, gt_masks = strip((0, 10), (1, 11), (2, 12))
    boxes, masks = strip((0, 10))
    arguments = (gt_masks, boxes, [1], [0.9], masks)
    _, match, _ = compute_matches(gt_boxes, [1, 1, 1], *arguments)
    assert match.tolist() == [0]
    _, match, _ = compute_matches(gt_boxes, [2, 1, 1], *arguments)
    assert match.tolist() == [1]
    _, match, _ = compute_matches(gt_boxes, [2, -1, 1], *arguments)  # a crowd between
    assert match.tolist() == [2]


@pytest.mark.parametrize("tenths", range(5, 10))
def test_an_iou_of_exactly_the_threshold_matches(tenths):
    gt_boxes, gt_masks = strip((0, 10))
    boxes, masks = strip((0, tenths))
    arguments = (gt_boxes, [1], gt_masks, boxes, [1], [0.9], masks)
    for threshold in (tenths / 10, np.arange(0.5, 1.0, 0.05)[2 * (tenths - 5)]):
        assert compute_matches(*arguments, iou_threshold=threshold)[0].tolist() == [0]
    assert compute_matches(*arguments, iou_threshold=tenths / 10 + 0.01)[0].tolist() == [-1]
    assert compute_matches(*arguments, score_threshold=0.95)[0].tolist() == [-1]


def test_padding_is_cut_off():
    gt_boxes, gt_masks = strip((0, 10))
    boxes, masks = strip((0, 10))
    pad = ((0, 2), (0, 0))
    gt_match, pred_match, overlaps = compute_matches(
        np.pad(gt_boxes, pad),
        [1, 0, 0],
        np.pad(gt_masks, ((0, 0), (0, 0), (0, 2))),
        np.pad(boxes, pad),
        [1, 0, 0],
        [0.3, 0.9, 0.9],
        np.pad(masks, ((0, 0), (0, 0), (0, 2))),
    )
    assert gt_match.tolist() == [0] and pred_match.tolist() == [0] and overlaps.shape == (1, 1)


def test_an_empty_box_between_others_is_an_instance():
    """So that the indices in the result are those of the arrays that were passed in."""
    gt_boxes, gt_masks = strip((0, 0), (20, 30))
    gt_boxes[0] = 0
    boxes, masks = strip((20, 30))
    gt_match, pred_match, _ = compute_matches(gt_boxes, [1, 1], gt_masks, boxes, [1], [0.9], masks)
    assert gt_match.tolist() == [-1, 0] and pred_match.tolist() == [1]


def test_ap_by_hand():
    """Hit, miss, hit of three instances: precision 1 up to recall 1/3, 2/3 up to 2/3."""
    gt_boxes, gt_masks = strip((0, 10), (20, 30), (40, 50))
    boxes, masks = strip((0, 10), (60, 70), (20, 30))
    average, precisions, recalls, _ = compute_ap(
        gt_boxes, [1, 1, 1], gt_masks, boxes, [1, 1, 1], [0.9, 0.8, 0.7], masks
    )
    assert average == pytest.approx(1 / 3 + 2 / 9)
    np.testing.assert_allclose(precisions, [1, 1, 2 / 3, 2 / 3, 0])
    np.testing.assert_allclose(recalls, [0, 1 / 3, 1 / 3, 2 / 3, 1])


@pytest.mark.parametrize("predictions", [0, 2])
def test_no_ground_truth_is_zero_and_finite(predictions):
    gt_boxes, gt_masks = strip()
    boxes, masks = strip(*[(0, 10)] * predictions)
    average, precisions, recalls, _ = compute_ap(
        gt_boxes, [], gt_masks, boxes, [1] * predictions, [0.5] * predictions, masks
    )
    assert average == 0 and np.isfinite(precisions).all() and np.isfinite(recalls).all()


def test_ap_range_prints_on_request(capsys):
    boxes, masks = strip((0, 10))
    arguments = (boxes, [1], masks, boxes, [1], [0.9], masks)
    assert compute_ap_range(*arguments, iou_thresholds=[0.5, 0.75]) == 1
    assert capsys.readouterr().out.count("1.000") == 3
    assert compute_ap_range(*arguments, verbose=0) == 1
    assert capsys.readouterr().out == ""


def test_recall_by_hand():
    gt_boxes, _ = strip((0, 10), (20, 30), (40, 50), (60, 70))
    boxes, _ = strip((0, 10), (1, 10), (20, 24), (80, 90), (61, 70))
    recall, ids = compute_recall(boxes, gt_boxes, 0.5)
    assert recall == 0.5 and ids.tolist() == [0, 1, 4]
    assert compute_recall(boxes, np.pad(gt_boxes, ((0, 3), (0, 0))), 0.5)[0] == 0.5


@pytest.mark.parametrize(("pred", "gt"), [(0, 2), (2, 0), (0, 0)])
def test_recall_of_nothing(pred, gt):
    recall, ids = compute_recall(np.ones((pred, 4)), np.ones((gt, 4)), 0.5)
    assert recall == 0 and ids.shape == (0,)


ranges = st.tuples(st.integers(0, 80), st.integers(1, 20)).map(lambda r: (r[0], r[0] + r[1]))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(ranges, st.integers(1, 2)), max_size=5),
    st.lists(st.tuples(ranges, st.integers(1, 2), st.floats(0, 1)), max_size=6),
)
def test_matches_are_mutual_of_one_class_and_above_the_threshold(instances, predictions):
    gt_boxes, gt_masks = strip(*[r for r, _ in instances])
    boxes, masks = strip(*[r for r, *_ in predictions])
    gt_ids = [c for _, c in instances]
    scores = np.array([s for *_, s in predictions])
    gt_match, pred_match, overlaps = compute_matches(
        gt_boxes, gt_ids, gt_masks, boxes, [c for _, c, _ in predictions], scores, masks
    )
    classes = np.array([c for _, c, _ in predictions])[np.argsort(scores, kind="stable")[::-1]]
    for pred, gt in enumerate(pred_match.astype(int)):
        free = [
            g
            for g in range(len(gt_ids))
            if gt_ids[g] == classes[pred]
            and overlaps[pred, g] >= 0.5
            and not 0 <= gt_match[g] < pred
        ]
        if gt < 0:
            assert not free
        else:
            assert gt_match[gt] == pred
            assert overlaps[pred, gt] == max(overlaps[pred, g] for g in free)
    assert (gt_match >= 0).sum() == (pred_match >= 0).sum()
    average, precisions, recalls, _ = compute_ap(
        gt_boxes, gt_ids, gt_masks, boxes, [c for _, c, _ in predictions], scores, masks
    )
    assert 0 <= average <= 1
    assert (np.diff(precisions) <= 0).all() and (np.diff(recalls) >= 0).all()
