"""Masks: against fixtures, scipy, and each other."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation, binary_erosion

from mrcnn.data.boxes import extract_bboxes
from mrcnn.data.images import resize
from mrcnn.data.masks import (
    expand_mask,
    full_masks,
    minimize_mask,
    paste_masks,
    resize_mask,
    unmold_mask,
)
from mrcnn.data.resize import resize_image

RESIZE_CASES = 56
UNMOLD_CASES = 7
IMAGE_SHAPE = (96, 120, 3)  # of the fixtures
PADDING = [(0, 0), (1, 1), (1, 1)]  # the image's border is an outline too
NO_PADDING = [(0, 0), (0, 0), (0, 0)]
property_test = settings(max_examples=40, deadline=None)


@pytest.fixture(scope="module")
def vectors(fixtures):
    return np.load(fixtures / "util_vectors.npz")


@pytest.fixture(scope="module")
def cases(fixtures):
    return json.loads((fixtures / "util_vectors.json").read_text())


class TestResizeMask:
    @pytest.mark.parametrize("index", range(RESIZE_CASES))
    def test_fixture(self, vectors, cases, index):
        case, prefix = cases["resize"][index], f"rs{index}_"
        random.seed(5)
        resized = resize_image(vectors[prefix + "in"], mode=case["mode"], **case["kw"])
        mask = resize_mask(vectors[prefix + "maskin"], resized.scale, resized.padding, resized.crop)
        np.testing.assert_array_equal(mask, vectors[prefix + "maskout"])
        assert mask.dtype == bool

    @property_test
    @given(
        size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
        scale=st.floats(0.1, 8),
    )
    def test_matches_scipy(self, size, scale):
        ndimage = pytest.importorskip("scipy.ndimage")
        if min(round(side * scale) for side in size) < 1:
            scale = 1.0
        mask = np.arange(1, 2 * size[0] * size[1] + 1, dtype=np.int32).reshape(*size, 2)
        expected = ndimage.zoom(mask, [scale, scale, 1], order=0)
        np.testing.assert_array_equal(resize_mask(mask, scale, NO_PADDING), expected)

    @property_test
    @given(
        size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
        mode=st.sampled_from(["none", "square", "pad64", "crop"]),
        count=st.integers(0, 2),
    )
    def test_has_the_size_of_its_image(self, size, mode, count):
        image = np.zeros((*size, 3), np.uint8)
        resized = resize_image(image, 64, 128, mode=mode, rng=np.random.default_rng(0))
        mask = resize_mask(np.ones((*size, count), bool), *resized[2:])
        assert mask.shape == (*resized.image.shape[:2], count)


class TestMiniMasks:
    @pytest.mark.parametrize("shape", [(56, 56), (28, 28), (14, 30)])
    def test_fixture(self, vectors, shape):
        name = f"{shape[0]}x{shape[1]}"
        boxes = vectors["mini_bbox"]
        mini = minimize_mask(boxes, vectors["mini_mask"], shape)
        np.testing.assert_array_equal(mini, vectors[f"mini_{name}"])
        expanded = expand_mask(boxes, vectors[f"mini_{name}"], IMAGE_SHAPE)
        np.testing.assert_array_equal(expanded, vectors[f"expand_{name}"])
        assert mini.dtype == expanded.dtype == bool

    @property_test
    @given(box=st.tuples(*[st.integers(0, 19)] * 2, *[st.integers(1, 20)] * 2))
    def test_a_filled_box_survives(self, box):
        y1, x1 = box[:2]
        y2, x2 = min(40, y1 + box[2]), min(40, x1 + box[3])
        mask = np.zeros((40, 40, 1), bool)
        mask[y1:y2, x1:x2] = True
        boxes = np.array([[y1, x1, y2, x2]])
        restored = expand_mask(boxes, minimize_mask(boxes, mask, (7, 9)), (40, 40, 3))
        np.testing.assert_array_equal(restored, mask)

    def test_a_box_of_the_mini_shape_is_copied(self):
        mask = np.random.default_rng(0).random((28, 28, 3)) > 0.5
        boxes = np.array([[0, 0, 28, 28]] * 3)
        np.testing.assert_array_equal(minimize_mask(boxes, mask, (28, 28)), mask)

    def test_one_half_is_outside(self):
        mask = np.array([[[True], [False]]])
        assert minimize_mask(np.array([[0, 0, 1, 2]]), mask, (1, 1)).tolist() == [[[False]]]

    def test_integer_masks_and_padded_boxes(self):
        mask = np.zeros((9, 9, 1), np.uint8)
        mask[2:5, 3:6] = 255
        boxes = np.array([[2, 3, 5, 6], [0, 0, 0, 0]])
        assert minimize_mask(boxes, mask, (4, 4)).all()

    def test_no_instances(self):
        none = np.zeros((0, 4), np.int32)
        assert minimize_mask(none, np.zeros((9, 9, 0), bool), (4, 5)).shape == (4, 5, 0)
        assert expand_mask(none, np.zeros((4, 5, 0), bool), (9, 8, 3)).shape == (9, 8, 0)

    @pytest.mark.parametrize("box", [[3, 3, 3, 8], [0, 0, 0, 0], [20, 0, 25, 4]])
    def test_minimizing_no_area_is_refused(self, box):
        with pytest.raises(ValueError, match=r"bbox\[1\] = .* has no area"):
            minimize_mask(np.array([[0, 0, 2, 2], box]), np.ones((9, 9, 2), bool), (4, 4))

    def test_expanding_no_area_is_empty(self):
        assert not expand_mask(np.zeros((1, 4), int), np.ones((4, 4, 1), bool), (9, 9)).any()


class TestFullMasks:
    """Scripts hand over mini masks and masks of the image, and do not say which."""

    @property_test
    @given(
        boxes=st.lists(st.tuples(*[st.integers(0, 17)] * 2, *[st.integers(3, 20)] * 2), max_size=4),
        shape=st.sampled_from([(14, 14), (5, 7), (30, 40)]),
    )
    def test_mini_masks_are_expanded_and_others_stay(self, boxes, shape):
        boxes = np.array([[y, x, min(30, y + h), min(40, x + w)] for y, x, h, w in boxes])
        boxes = boxes.reshape(-1, 4)
        masks = np.zeros((30, 40, len(boxes)), bool)
        for i, (y1, x1, y2, x2) in enumerate(boxes):
            rows, columns = np.ogrid[y1:y2, x1:x2]
            away = np.abs(rows - (y1 + y2 - 1) / 2) / (y2 - y1)
            masks[y1:y2, x1:x2, i] = away + np.abs(columns - (x1 + x2 - 1) / 2) / (x2 - x1) <= 0.5
        mini = minimize_mask(boxes, masks, shape)
        expanded = expand_mask(boxes, mini, (30, 40, 3))
        np.testing.assert_array_equal(expand_mask(boxes, masks, (30, 40, 3)), masks)
        assert full_masks(masks, boxes, (30, 40, 3)) is masks
        if shape != (30, 40):
            np.testing.assert_array_equal(full_masks(mini, boxes, (30, 40)), expanded)

    def test_mini_masks_as_large_as_the_image_are_expanded_too(self):
        masks = np.zeros((8, 8, 1), bool)
        masks[2:5, 1:7] = True
        boxes = extract_bboxes(masks)
        mini = minimize_mask(boxes, masks, (8, 8))
        assert mini.all()
        np.testing.assert_array_equal(expand_mask(boxes, mini, (8, 8, 3)), masks)

    def test_masks_of_another_image_are_refused(self):
        masks = np.zeros((8, 8, 1), bool)
        masks[2:5, 1:7] = True
        with pytest.raises(ValueError, match="16 x 16 pixels, or mini masks; received .* 8 x 8"):
            full_masks(masks, extract_bboxes(masks), (16, 16, 3))

    def test_no_instances(self):
        none = np.zeros((0, 4), np.int32)
        assert full_masks(np.zeros((4, 5, 0), bool), none, (9, 8, 3)).shape == (9, 8, 0)


class TestPasting:
    @pytest.mark.parametrize("index", range(UNMOLD_CASES))
    def test_fixture(self, vectors, cases, index):
        mask = unmold_mask(vectors["unmold_in"], cases["unmold"][index], IMAGE_SHAPE)
        np.testing.assert_array_equal(mask, vectors[f"unmold_out{index}"])
        assert mask.dtype == bool

    @property_test
    @given(seed=st.integers(0, 2**16), count=st.integers(0, 5))
    def test_many_at_once_are_each_resized_into_their_box(self, seed, count):
        rng = np.random.default_rng(seed)
        masks = rng.random((count, 7, 5), np.float32)
        corners = np.sort(rng.integers(0, 31, (count, 2, 2)), axis=1)
        boxes = corners.reshape(count, 4).astype(np.int32)
        pasted = paste_masks(masks, boxes, (30, 30, 3))
        assert pasted.shape == (30, 30, count)
        for i, (y1, x1, y2, x2) in enumerate(boxes):
            expected = np.zeros((30, 30), bool)
            if y2 > y1 and x2 > x1:
                expected[y1:y2, x1:x2] = resize(masks[i], (y2 - y1, x2 - x1)) >= 0.5
            np.testing.assert_array_equal(pasted[:, :, i], expected)
            np.testing.assert_array_equal(unmold_mask(masks[i], boxes[i], (30, 30)), expected)

    @property_test
    @given(seed=st.integers(0, 2**16), size=st.tuples(st.integers(1, 90), st.integers(1, 90)))
    def test_binary_masks_are_resized_as_an_image_is(self, seed, size):
        """Many of their pixels lie at the threshold itself, and may fall on either side."""
        rng = np.random.default_rng(seed)
        mask = rng.integers(0, 2, rng.integers(1, 30, 2)).astype(rng.choice(["f4", "f8", "?"]))
        expected = resize(mask, size)
        decided = np.abs(expected - 0.5) > 1e-6
        pasted = unmold_mask(mask, [0, 0, *size], size)
        np.testing.assert_array_equal(pasted[decided], expected[decided] >= 0.5)

    def test_half_is_inside(self):
        assert unmold_mask(np.full((3, 3), 0.5), [1, 1, 4, 4], (5, 5)).sum() == 9

    def test_certain_masks_fill_their_box_to_the_border(self):
        mask = unmold_mask(np.ones((28, 28), np.float32), [3, 4, 90, 100], IMAGE_SHAPE)
        assert extract_bboxes(mask[..., None]).tolist() == [[3, 4, 90, 100]]
        assert mask.sum() == 87 * 96

    def test_boxes_outside_the_image_are_refused(self):
        with pytest.raises(ValueError, match=r"\[0, 5, 11, 9\].*leaves the image of 10 x 20"):
            unmold_mask(np.ones((4, 4)), [0, 5, 11, 9], (10, 20))

    def test_one_box_for_each_mask(self):
        with pytest.raises(ValueError, match="1 boxes and 2 masks"):
            paste_masks(np.ones((2, 4, 4)), np.array([[0, 0, 1, 1]]), (9, 9))
        with pytest.raises(ValueError, match="1 pairs and 2 masks"):
            boxes = np.array([[0, 0, 1, 1]] * 2)
            paste_masks(np.ones((2, 4, 4)), boxes, (9, 9), boxes[:1])

    @pytest.mark.parametrize("with_corners", [False, True])
    @property_test
    @given(seed=st.integers(0, 2**16))
    def test_boxes_between_pixels_are_the_naive_twins(self, with_corners, seed):
        rng = np.random.default_rng(seed)
        masks = rng.random((3, 7, 5))
        boxes = np.sort(rng.random((3, 2, 2)) * 30, axis=1).reshape(3, 4)
        corners = boxes + rng.uniform(-3, 3, boxes.shape) if with_corners else None
        pasted = paste_masks(masks, boxes, (30, 30), corners)
        for i in range(3):
            corner = None if corners is None else corners[i]
            values = naive_values(masks[i], boxes[i], corner, (30, 30))
            decided = np.abs(values - 0.5) > 1e-9
            if corners is None and masks[i].min() >= 0.5:
                continue  # filled to the border, as Matterport's
            np.testing.assert_array_equal(pasted[..., i][decided], (values >= 0.5)[decided])

    def test_all_samples_in_one_place_fill_the_box(self):
        """A RoI of one pixel of the whole mask: its samples are all that pixel's."""
        box = np.array([[2.0, 3.0, 6.0, 7.0]])
        at_its_center = np.array([[4.0, 5.0, 4.0, 5.0]])
        pasted = paste_masks(np.full((1, 3, 3), 0.7), box, (9, 9), at_its_center)
        assert pasted.sum() == 16

    def test_as_detectron2_pastes(self, fixtures):
        """Bit for bit, where no probability is one half: the same pixels, between zeros."""
        stored = np.load(fixtures / "pasted" / "pasted.npz")
        theirs = np.unpackbits(stored["detectron2"], axis=-1, count=stored["size"][1]).astype(bool)
        ours = paste_masks(stored["masks"], stored["boxes"], stored["size"]).transpose(2, 0, 1)
        assert theirs.any(axis=(1, 2)).all() and theirs.shape == ours.shape
        np.testing.assert_array_equal(ours, theirs)

    def test_nearly_as_torchvision_pastes(self, fixtures):
        """It moves boxes to whole pixels before it pastes, so that outlines differ by a pixel."""
        stored = np.load(fixtures / "pasted" / "pasted.npz")
        large = (stored["boxes"][:, 2:] - stored["boxes"][:, :2] > 10).all(axis=1)
        theirs = np.unpackbits(stored["torchvision"], axis=-1, count=stored["size"][1]).astype(bool)
        ours = paste_masks(stored["masks"], stored["boxes"], stored["size"]).transpose(2, 0, 1)
        assert large.sum() == 20
        for mine, other in zip(
            np.pad(ours[large], PADDING), np.pad(theirs[large], PADDING), strict=True
        ):
            near = binary_dilation(mine, iterations=2) & ~binary_erosion(mine, iterations=2)
            assert not (mine ^ other)[~near].any()
            assert (mine & other).sum() > 0.9 * (mine | other).sum()


def naive_values(mask, box, corners, size):
    """The probability of each pixel of an image: loops over pixels, one bilinear reading each."""
    values = np.zeros(size)
    for y in range(size[0]):
        for x in range(size[1]):
            center = (y + 0.5, x + 0.5)
            if all(box[axis] <= center[axis] < box[axis + 2] for axis in (0, 1)):
                values[y, x] = naive_reading(mask, box, corners, center)
    return values


def naive_reading(mask, box, corners, center):
    near = []  # of each axis: two samples and their weights
    for axis in (0, 1):
        count = mask.shape[axis]
        if corners is None:
            part = (center[axis] - box[axis]) / (box[axis + 2] - box[axis])
            position = part * count - 0.5
        elif corners[axis + 2] <= corners[axis]:
            position = (count - 1) / 2
        else:
            part = (center[axis] - corners[axis]) / (corners[axis + 2] - corners[axis])
            position = min(max(part * (count - 1), 0), count - 1)
        low = int(np.floor(position))
        near.append([(low, 1 - (position - low)), (low + 1, position - low)])
    value = 0.0
    for row, of_row in near[0]:
        for column, of_column in near[1]:
            if 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1]:
                value += of_row * of_column * mask[row, column]
    return value
