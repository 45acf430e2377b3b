"""Built-in transforms: image, masks and boxes move together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcnn.data.augment import (
    HorizontalFlip,
    OneOf,
    RandomRotate90,
    Sequential,
    Transform,
    VerticalFlip,
    augment,
    augment_boxwise,
    is_boxwise,
)
from mrcnn.data.boxes import extract_bboxes
from mrcnn.data.masks import minimize_mask

property_test = settings(max_examples=40, deadline=None)
TRANSFORMS = [
    HorizontalFlip(1),
    VerticalFlip(1),
    HorizontalFlip(),
    RandomRotate90(),
    Sequential([HorizontalFlip(), VerticalFlip(), RandomRotate90()]),
    OneOf([HorizontalFlip(1), VerticalFlip(1), RandomRotate90()]),
]


def sample(seed=0, size=(7, 11), count=3):
    """A random image [H, W, 3], masks [H, W, N] and their boxes; no mask is empty."""
    rng = np.random.default_rng(seed)
    masks = rng.random((*size, count)) > 0.8
    masks[rng.integers(size[0]), rng.integers(size[1])] = True
    return rng.integers(0, 256, (*size, 3), np.uint8), masks, extract_bboxes(masks)


def assert_equal(moved, expected):
    for array, wanted in zip(moved, expected, strict=True):
        np.testing.assert_array_equal(array, wanted)


@property_test
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    count=st.integers(0, 3),
    seed=st.integers(0, 2**16),
    transform=st.sampled_from(TRANSFORMS),
)
def test_boxes_move_with_their_masks(size, count, seed, transform):
    image, masks, boxes = sample(seed, size, count)
    moved_image, moved_masks, moved_boxes = transform(
        image, masks, boxes, np.random.default_rng(seed)
    )
    np.testing.assert_array_equal(moved_boxes, extract_bboxes(moved_masks))
    assert moved_boxes.dtype == np.int32
    assert moved_masks.shape == (*moved_image.shape[:2], count)


@property_test
@given(seed=st.integers(0, 2**16), transform=st.sampled_from(TRANSFORMS))
def test_masks_move_with_their_image(seed, transform):
    """Channel 0 of the image paints the masks: it must still do so after the move."""
    image, masks, boxes = sample(seed)
    image[..., 0] = masks.astype(np.uint8) @ np.array([1, 2, 4], np.uint8)
    moved = transform(image, masks, boxes, np.random.default_rng(seed))
    painted = moved[1].astype(np.uint8) @ np.array([1, 2, 4], np.uint8)
    np.testing.assert_array_equal(moved[0][..., 0], painted)
    assert sorted(moved[0].reshape(-1, 3).tolist()) == sorted(image.reshape(-1, 3).tolist())


@property_test
@given(seed=st.integers(0, 2**16), transform=st.sampled_from(TRANSFORMS))
def test_mini_masks_move_as_the_full_masks(seed, transform):
    """A filled corner of each box: minimizing before the move equals minimizing after it."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((24, 24, 2), bool)
    for i in range(2):
        y, x = rng.integers(0, 16, 2)
        masks[y : y + 8, x : x + 8, i] = rng.random((8, 8)) > 0.5
        masks[y, x, i] = masks[y + 7, x + 7, i] = True
    boxes = extract_bboxes(masks)
    image = np.zeros((24, 24, 3), np.uint8)
    _, moved, moved_boxes = transform(image, masks, boxes, np.random.default_rng(seed))
    mini = minimize_mask(boxes, masks, (8, 8))
    _, moved_mini, mini_boxes = transform(image, mini, boxes, np.random.default_rng(seed))
    np.testing.assert_array_equal(mini_boxes, moved_boxes)
    np.testing.assert_array_equal(moved_mini, minimize_mask(moved_boxes, moved, (8, 8)))


@pytest.mark.parametrize("flip", [HorizontalFlip, VerticalFlip])
def test_a_mirror_of_a_mirror_is_the_identity(flip):
    original, rng = sample(), np.random.default_rng(0)
    once = flip(1)(*original, rng)
    assert (once[0] != original[0]).any()
    assert_equal(flip(1)(*once, rng), original)


def test_flips_by_hand():
    image = np.arange(6).reshape(2, 3, 1)
    masks = image == 0
    rng = np.random.default_rng(0)
    moved = HorizontalFlip(1)(image, masks, np.array([[0, 0, 1, 1]]), rng)
    assert moved[0][..., 0].tolist() == [[2, 1, 0], [5, 4, 3]]
    assert moved[2].tolist() == [[0, 2, 1, 3]]
    moved = VerticalFlip(1)(image, masks, np.array([[0, 0, 1, 1]]), rng)
    assert moved[0][..., 0].tolist() == [[3, 4, 5], [0, 1, 2]]
    assert moved[2].tolist() == [[1, 0, 2, 1]]


def test_rotations_are_the_four_quarter_turns():
    image, masks, boxes = sample()
    seen = set()
    for seed in range(40):
        moved = RandomRotate90()(image, masks, boxes, np.random.default_rng(seed))
        turns = [
            k
            for k in range(4)
            if np.array_equal(moved[0], np.rot90(image, k))
            and np.array_equal(moved[1], np.rot90(masks, k))
        ]
        assert len(turns) == 1
        seen.update(turns)
    assert seen == {0, 1, 2, 3}


@pytest.mark.parametrize("flip", [HorizontalFlip, VerticalFlip])
def test_probability(flip):
    image, masks, boxes = sample()

    def count_of_flips(probability):
        rng = np.random.default_rng(0)
        transform = flip(probability)
        moved = (transform(image, masks, boxes, rng)[0] for _ in range(400))
        return sum(not np.array_equal(result, image) for result in moved)

    assert count_of_flips(0) == 0
    assert count_of_flips(1) == 400
    assert 60 < count_of_flips(0.25) < 140


def test_one_of_uses_each_and_sequential_keeps_the_order():
    image, masks, boxes = sample()
    horizontal, vertical = image[:, ::-1], image[::-1]
    rng = np.random.default_rng(0)
    one_of = OneOf([HorizontalFlip(1), VerticalFlip(1)])
    results = [one_of(image, masks, boxes, rng)[0] for _ in range(30)]
    assert any(np.array_equal(result, horizontal) for result in results)
    assert any(np.array_equal(result, vertical) for result in results)

    class Mark(Transform):
        def __init__(self, level):
            self.level = level

        def __call__(self, image, masks, boxes, rng):
            return image // 2 + self.level, masks, boxes

    moved = Sequential([Mark(10), Mark(100)])(image, masks, boxes, rng)[0]
    np.testing.assert_array_equal(moved, (image // 2 + 10) // 2 + 100)
    assert_equal(Sequential([])(image, masks, boxes, rng), (image, masks, boxes))


class TestAugment:
    def test_none_changes_nothing(self):
        image, masks, _ = sample()
        assert_equal(augment(None, image, masks, np.random.default_rng(0)), (image, masks))

    @pytest.mark.parametrize("transform", TRANSFORMS)
    def test_same_generator_same_result(self, transform):
        image, masks, boxes = sample(size=(8, 8))
        before = image.copy(), masks.copy()
        first = augment(transform, image, masks, np.random.default_rng(3))
        second = augment(transform, image, masks, np.random.default_rng(3))
        assert_equal(first, second)
        assert_equal(first, transform(image, masks, boxes, np.random.default_rng(3))[:2])
        assert_equal((image, masks), before)
        assert first[0].flags.c_contiguous

    def test_no_instances(self):
        image, masks, _ = sample(count=0)
        _, moved = augment(HorizontalFlip(1), image, masks, np.random.default_rng(0))
        assert moved.shape == masks.shape

    @pytest.mark.parametrize("thing", [True, "fliplr", [HorizontalFlip()], lambda image: image])
    def test_unknown_kinds_are_refused(self, thing):
        image, masks, _ = sample()
        with pytest.raises(TypeError, match=rf"Transform.*HorizontalFlip.*{type(thing).__name__}"):
            augment(thing, image, masks, np.random.default_rng(0))

    def test_a_class_instead_of_an_object_is_refused(self):
        image, masks, _ = sample()
        with pytest.raises(TypeError, match="the class HorizontalFlip itself"):
            augment(HorizontalFlip, image, masks, np.random.default_rng(0))

    @pytest.mark.parametrize("lost", [np.s_[..., :1], np.s_[:3]])
    def test_a_transform_that_loses_masks_is_refused(self, lost):
        class Careless(Transform):
            def __call__(self, image, masks, boxes, rng):
                return image, masks[lost], boxes

        image, masks, _ = sample()
        with pytest.raises(ValueError, match=r"Careless returned masks of shape .*\(7, 11, 3\)"):
            augment(Careless(), image, masks, np.random.default_rng(0))


@pytest.mark.parametrize("probability", [-0.1, 1.5])
def test_impossible_probabilities_are_refused(probability):
    with pytest.raises(ValueError, match="from 0 to 1"):
        HorizontalFlip(probability)
    with pytest.raises(ValueError, match="from 0 to 1"):
        VerticalFlip(probability)


def test_lists_of_transforms_are_checked():
    with pytest.raises(TypeError, match=r"transforms\[1\].*str"):
        Sequential([HorizontalFlip(), "flip"])
    with pytest.raises(ValueError, match="at least one"):
        OneOf([])


# --- Mini masks ------------------------------------------------------------------------------


class Invert(Transform):
    """Moves nothing; but nobody says so."""

    def __call__(self, image, masks, boxes, rng):
        return 255 - image, masks, boxes


class OtherFlip(HorizontalFlip):
    def __call__(self, image, masks, boxes, rng):
        return super().__call__(image[1:], masks[1:], boxes, rng)


class RareFlip(HorizontalFlip):
    def __init__(self):
        super().__init__(0.01)


def test_only_what_says_so_is_given_mini_masks():
    assert all(map(is_boxwise, [*TRANSFORMS, RareFlip(), Sequential([])]))
    others = [Invert(), OtherFlip(), Sequential([HorizontalFlip(), Invert()]), OneOf([OtherFlip()])]
    assert not any(map(is_boxwise, [*others, None]))


@property_test
@given(seed=st.integers(0, 2**16), transform=st.sampled_from(TRANSFORMS))
def test_mini_masks_and_boxes_move_as_masks_do(seed, transform):
    image, masks, boxes = sample(seed, (9, 9))
    mini = minimize_mask(boxes, masks, (36, 36))  # each pixel is 4 or more, whole
    moved, moved_masks = augment(transform, image, masks, np.random.default_rng(seed))
    by_box = augment_boxwise(transform, image, mini, boxes, np.random.default_rng(seed))
    np.testing.assert_array_equal(by_box[0], moved)
    assert by_box[0].flags.c_contiguous
    np.testing.assert_array_equal(by_box[2], extract_bboxes(moved_masks))
    assert np.mean(by_box[1] != minimize_mask(by_box[2], moved_masks, (36, 36))) < 0.03


def test_a_boxwise_transform_that_loses_an_instance_is_refused():
    class Lossy(HorizontalFlip):
        boxwise = True

        def __call__(self, image, masks, boxes, rng):
            return image, masks[..., 1:], boxes[1:]

    image, masks, boxes = sample()
    with pytest.raises(ValueError, match="Lossy.*2 boxes and 2 mini masks of 3"):
        augment_boxwise(Lossy(), image, masks, boxes, np.random.default_rng(0))
