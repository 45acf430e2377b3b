"""Pixel boxes: against fixtures, against plain loops, and as inverses of each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcnn.data.boxes import (
    apply_box_deltas,
    box_refinement,
    compute_iou,
    compute_overlaps,
    compute_overlaps_masks,
    denorm_boxes,
    extract_bboxes,
    non_max_suppression,
    norm_boxes,
)

property_test = settings(max_examples=50, deadline=None)


@pytest.fixture(scope="module")
def vectors(fixtures):
    return np.load(fixtures / "util_vectors.npz")


@st.composite
def pixel_boxes(draw, max_count=8, side=64):
    """int32 [N, 4] boxes with an area, in an image of side x side."""
    edge = st.tuples(st.integers(0, side - 1), st.integers(1, side))
    pair = edge.map(lambda e: (e[0], min(side, e[0] + e[1])))
    pairs = draw(st.lists(st.tuples(pair, pair), min_size=1, max_size=max_count))
    return np.array([(y[0], x[0], y[1], x[1]) for y, x in pairs], np.int32)


def iou_of_pixels(box1, box2):
    """Count the pixels, one by one."""

    def pixels(box):
        y1, x1, y2, x2 = box
        return {(y, x) for y in range(y1, y2) for x in range(x1, x2)}

    a, b = pixels(box1), pixels(box2)
    return len(a & b) / len(a | b) if a | b else 0


class TestExtractBboxes:
    def test_fixture(self, vectors):
        np.testing.assert_array_equal(extract_bboxes(vectors["bbox_in2"]), vectors["bbox_out2"])
        boxes = extract_bboxes(vectors["mini_mask"])
        np.testing.assert_array_equal(boxes, vectors["mini_bbox"])
        assert boxes.dtype == np.int32

    @property_test
    @given(boxes=pixel_boxes())
    def test_box_of_a_filled_box_is_itself(self, boxes):
        masks = np.zeros((64, 64, len(boxes)), bool)
        for i, (y1, x1, y2, x2) in enumerate(boxes):
            masks[y1:y2, x1:x2, i] = True
        np.testing.assert_array_equal(extract_bboxes(masks), boxes)

    @property_test
    @given(
        size=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4)),
        dtype=st.sampled_from([bool, np.uint8, np.float32]),
        seed=st.integers(0, 2**16),
    )
    def test_any_type_and_any_order_in_memory(self, size, dtype, seed):
        masks = (np.random.default_rng(seed).random(size) < 0.1).astype(dtype)
        expected = []
        for mask in masks.transpose(2, 0, 1):
            y, x = np.nonzero(mask)
            edges = (min(y), min(x), max(y) + 1, max(x) + 1) if len(y) else (0, 0, 0, 0)
            expected.append([int(edge) for edge in edges])
        by_instance = np.ascontiguousarray(masks.transpose(2, 0, 1)).transpose(1, 2, 0)
        for array in (masks, by_instance, np.asfortranarray(masks), masks[:, ::-1][:, ::-1]):
            assert extract_bboxes(array).tolist() == expected

    def test_no_instances_and_empty_masks(self):
        assert extract_bboxes(np.zeros((5, 6, 0), bool)).shape == (0, 4)
        assert extract_bboxes(np.zeros((0, 0, 2), bool)).tolist() == [[0] * 4] * 2
        assert extract_bboxes(np.zeros((5, 6, 1), bool)).tolist() == [[0] * 4]

    def test_single_mask_without_instance_axis_is_refused(self):
        with pytest.raises(ValueError, match=r"instances.*\(5, 6\)"):
            extract_bboxes(np.zeros((5, 6), bool))


class TestOverlaps:
    def test_fixture(self, vectors):
        boxes1, boxes2 = vectors["ov_b1"], vectors["ov_b2"]
        np.testing.assert_allclose(compute_overlaps(boxes1, boxes2), vectors["ov_out"], atol=1e-12)
        areas = [(y2 - y1) * (x2 - x1) for y1, x1, y2, x2 in boxes1]
        area = np.prod(boxes2[0, 2:] - boxes2[0, :2])
        candidates = [
            compute_iou(boxes2[0], boxes1, area, np.array(areas)),
            compute_overlaps(boxes2[:1], boxes1)[0],
        ]
        for iou in candidates:
            np.testing.assert_allclose(iou, vectors["iou_out"], atol=1e-12)

    @property_test
    @given(boxes1=pixel_boxes(3, 12), boxes2=pixel_boxes(3, 12))
    def test_counts_pixels(self, boxes1, boxes2):
        expected = [[iou_of_pixels(a, b) for b in boxes2] for a in boxes1]
        np.testing.assert_allclose(compute_overlaps(boxes1, boxes2), expected, atol=1e-12)

    def test_no_area_is_zero_not_nan(self):
        empty = np.array([[3, 3, 3, 8]])
        assert compute_overlaps(empty, np.array([[3, 3, 3, 8], [0, 0, 9, 9]])).tolist() == [[0, 0]]

    def test_no_boxes(self):
        assert compute_overlaps(np.zeros((0, 4)), np.zeros((3, 4))).shape == (0, 3)

    def test_large_int32_boxes_do_not_overflow(self):
        box = np.array([[0, 0, 60_000, 60_000]], np.int32)
        assert compute_overlaps(box, box)[0, 0] == 1


class TestMaskOverlaps:
    def test_fixture(self, vectors):
        overlaps = compute_overlaps_masks(vectors["ovm_m1"], vectors["ovm_m2"])
        np.testing.assert_allclose(overlaps, vectors["ovm_out"], atol=1e-6)
        assert overlaps.dtype == np.float32

    def test_matches_sets_of_pixels_and_ignores_empty_masks(self):
        rng = np.random.default_rng(0)
        masks1, masks2 = rng.random((7, 5, 3)), rng.random((7, 5, 2)) > 0.4
        masks1[..., 2] = 0
        masks2[..., 1] = False
        overlaps = compute_overlaps_masks(masks1, masks2)
        for i in range(3):
            for j in range(2):
                inside1, inside2 = masks1[..., i] > 0.5, masks2[..., j]
                union = (inside1 | inside2).sum()
                expected = (inside1 & inside2).sum() / union if union else 0
                assert overlaps[i, j] == pytest.approx(expected)

    def test_no_masks(self):
        assert compute_overlaps_masks(np.zeros((4, 4, 0)), np.ones((4, 4, 2))).shape == (0, 2)
        assert compute_overlaps_masks(np.zeros((0, 0, 0)), np.ones((4, 4, 2))).shape == (0, 2)

    def test_masks_of_images_of_different_sizes_are_refused(self):
        with pytest.raises(ValueError, match=r"\(4, 4, 2\) and \(5, 4, 3\)"):
            compute_overlaps_masks(np.ones((4, 4, 2)), np.ones((5, 4, 3)))


class TestNonMaxSuppression:
    @pytest.mark.parametrize("tenths", [1, 3, 5])
    def test_fixture(self, vectors, tenths):
        kept = non_max_suppression(vectors["ov_b1"], vectors["unms_scores"], tenths / 10)
        np.testing.assert_array_equal(kept, vectors[f"unms_{tenths}"])
        assert kept.dtype == np.int32

    @property_test
    @given(boxes=pixel_boxes(), threshold=st.floats(0, 1), data=st.data())
    def test_each_box_is_kept_or_overlaps_a_better_kept_one(self, boxes, threshold, data):
        count = len(boxes)
        scores = np.array(data.draw(st.permutations(range(count))), float)
        kept = non_max_suppression(boxes, scores, threshold)
        iou = compute_overlaps(boxes, boxes)
        assert (np.diff(scores[kept]) < 0).all()
        for i in range(count):
            better = [k for k in kept if scores[k] > scores[i]]
            assert (i in kept) == all(iou[i, k] <= threshold for k in better)

    def test_equal_scores_prefer_the_higher_index(self):
        assert non_max_suppression(np.array([[0, 0, 4, 4]] * 3), np.ones(3), 0.5).tolist() == [2]

    def test_iou_at_the_threshold_is_kept(self):
        boxes = np.array([[0, 0, 2, 4], [0, 0, 4, 4]])
        assert len(non_max_suppression(boxes, np.array([1, 0.5]), 0.5)) == 2
        assert len(non_max_suppression(boxes, np.array([1, 0.5]), 0.49)) == 1

    def test_no_boxes(self):
        assert non_max_suppression(np.zeros((0, 4)), np.zeros(0), 0.5).shape == (0,)


class TestDeltas:
    def test_fixture(self, vectors):
        boxes, targets = vectors["ov_b1"][:15], vectors["ov_b2"]
        deltas = box_refinement(boxes, targets)
        np.testing.assert_allclose(deltas, vectors["br_out"], rtol=1e-6, atol=1e-6)
        moved = apply_box_deltas(boxes, deltas)
        np.testing.assert_allclose(moved, vectors["abd_out"], rtol=1e-6)
        moved = apply_box_deltas(boxes, vectors["abd_deltas2"])
        np.testing.assert_allclose(moved, vectors["abd_out2"], rtol=1e-6, atol=1e-5)
        assert deltas.dtype == moved.dtype == np.float32

    @property_test
    @given(boxes=pixel_boxes(), targets=pixel_boxes())
    def test_applying_undoes_refinement(self, boxes, targets):
        count = min(len(boxes), len(targets))
        boxes, targets = boxes[:count], targets[:count]
        moved = apply_box_deltas(boxes, box_refinement(boxes, targets))
        np.testing.assert_allclose(moved, targets, atol=1e-3)


class TestNormalization:
    def test_fixture(self, vectors):
        normalized = norm_boxes(vectors["ov_b1"], (128, 192))
        np.testing.assert_allclose(normalized, vectors["norm_out"], atol=1e-6)
        assert normalized.dtype == np.float32
        pixels = denorm_boxes(vectors["norm_out"], (128, 192))
        np.testing.assert_array_equal(pixels, vectors["denorm_out"])
        pixels = denorm_boxes(vectors["denorm_in2"], (129, 193))
        np.testing.assert_array_equal(pixels, vectors["denorm_out2"])
        pixels = denorm_boxes(vectors["denorm_half_in"], (128, 128))
        np.testing.assert_array_equal(pixels, vectors["denorm_half_out"])

    @property_test
    @given(boxes=pixel_boxes(), extra=st.tuples(st.integers(0, 2000), st.integers(0, 2000)))
    def test_denormalizing_undoes_normalizing(self, boxes, extra):
        shape = 64 + extra[0], 64 + extra[1]
        restored = denorm_boxes(norm_boxes(boxes, shape), shape)
        np.testing.assert_array_equal(restored, boxes)
        assert restored.dtype == np.int32

    def test_corners(self):
        boxes = np.array([[0, 0, 10, 20], [0, 0, 1, 1], [9, 19, 10, 20]])
        expected = [[0, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1]]
        np.testing.assert_array_equal(norm_boxes(boxes, (10, 20)), np.array(expected, np.float32))

    def test_box_of_zeros_becomes_the_first_pixel(self):
        assert denorm_boxes(np.zeros((1, 4)), (10, 20)).tolist() == [[0, 0, 1, 1]]

    def test_half_rounds_to_even(self):
        boxes = np.array([[0.5, 1.5, 2.5, 3.5]]) / 4
        assert denorm_boxes(boxes, (5, 5)).tolist() == [[0, 2, 4, 4]]

    def test_image_of_one_pixel(self):
        box = np.array([[0, 0, 1, 1]])
        assert denorm_boxes(norm_boxes(box, (1, 1)), (1, 1)).tolist() == box.tolist()
