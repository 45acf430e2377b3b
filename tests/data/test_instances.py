"""Masks cut to their boxes: bit for bit what masks of the image's size give."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcnn.config import Config
from mrcnn.data.augment import HorizontalFlip, RandomRotate90, Sequential, is_boxwise
from mrcnn.data.boxes import extract_bboxes
from mrcnn.data.dataset import Dataset
from mrcnn.data.dataset_checks import SampleError
from mrcnn.data.images import scaled_size
from mrcnn.data.instances import Instances, minimize, paste, place
from mrcnn.data.masks import minimize_mask
from mrcnn.data.sample import load_sample
from mrcnn.datasets.coco import CocoDataset

property_test = settings(max_examples=60, deadline=None)


def resized_by_loop(masks, scale, padding, crop):
    """Masks of the resized image's size, [H, W, N]: the pixel in which each center lies."""
    sizes = [max(1, round(side * scale)) for side in masks.shape[:2]]
    rows, columns = (
        [(2 * i + 1) * side // (2 * size) for i in range(size)]
        for side, size in zip(masks.shape[:2], sizes, strict=True)
    )
    resized = masks[rows][:, columns]
    if crop is not None:
        y, x, height, width = crop
        resized = resized[y : y + height, x : x + width]
    return np.pad(resized, padding)


def blobs(rng, height, width, count):
    """Random masks [H, W, N]: boxes with holes, some empty, in one of three orders in memory."""
    masks = np.zeros((height, width, count), bool)
    for i in range(count):
        y1, y2 = np.sort(rng.integers(0, height + 1, 2))
        x1, x2 = np.sort(rng.integers(0, width + 1, 2))
        masks[y1:y2, x1:x2, i] = rng.random((y2 - y1, x2 - x1)) < rng.choice([0.3, 0.9, 1.0])
    order = rng.integers(3)
    if order == 1:
        return np.ascontiguousarray(masks.transpose(2, 0, 1)).transpose(1, 2, 0)
    return np.asfortranarray(masks) if order == 2 else masks


@property_test
@given(
    height=st.integers(1, 24),
    width=st.integers(1, 24),
    count=st.integers(0, 4),
    scale=st.floats(0.2, 4),
    cropped=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_masks_in_their_boxes_are_the_masks(height, width, count, scale, cropped, seed):
    rng = np.random.default_rng(seed)
    masks = blobs(rng, height, width, count)
    padding, crop = [(int(rng.integers(4)), 1), (int(rng.integers(4)), 0), (0, 0)], None
    if cropped:
        sizes = [max(1, round(side * scale)) for side in (height, width)]
        y, x = (int(rng.integers(size)) for size in sizes)
        crop, padding = (y, x, max(1, (sizes[0] - y) // 2), sizes[1] - x), [(0, 0)] * 3
    expected = resized_by_loop(masks, scale, padding, crop)
    instances = Instances.from_masks(masks, np.ones(count, np.int32))
    boxes, placed = place(instances, scaled_size((height, width), scale), padding, crop)
    np.testing.assert_array_equal(boxes, extract_bboxes(expected))
    assert boxes.dtype == np.int32
    pasted = paste(boxes, placed, expected.shape[:2])
    np.testing.assert_array_equal(pasted, expected)

    seen = np.flatnonzero(boxes[:, 2] > 0)
    mini_shape = (int(rng.integers(1, 12)), int(rng.integers(1, 12)))
    mini = minimize([placed[i] for i in seen], mini_shape)
    assert mini.shape == (len(seen), *mini_shape)
    matterports = minimize_mask(boxes[seen], expected[..., seen], mini_shape)
    np.testing.assert_array_equal(mini, matterports.transpose(2, 0, 1))


# --- Real annotations -----------------------------------------------------------------------


class Flip(HorizontalFlip):
    """The same flip, but nobody says that it may be given mini masks."""

    def __call__(self, image, masks, boxes, rng):
        assert boxes is None and masks.shape[:2] == image.shape[:2]
        return super().__call__(image, masks, boxes, rng)


class OnlyMasks(CocoDataset):
    """A user's subclass of another time: it overrides `load_mask`, and knows nothing else."""

    calls = 0

    def load_mask(self, image_id):
        self.calls += 1
        return super().load_mask(image_id)


class CocoConfig(Config):
    NAME = "coco"
    NUM_CLASSES = 81
    IMAGE_MIN_DIM = 256
    IMAGE_MAX_DIM = 320


@pytest.fixture(scope="module")
def real(shared):
    """coco_open, once read by `load_instances` and once by `load_mask`."""
    datasets = CocoDataset(), OnlyMasks()
    for dataset in datasets:
        dataset.load_coco(shared / "data/coco_open", "train")
        dataset.prepare()
    return datasets


def test_instances_of_real_annotations_are_their_masks(real):
    fast, slow = real
    for image_id in fast.image_ids:
        instances = fast.load_instances(image_id)
        masks, class_ids = slow.load_mask(image_id)
        expected = Instances.from_masks(masks, class_ids)
        assert tuple(instances.size) == masks.shape[:2]
        np.testing.assert_array_equal(instances.class_ids, class_ids)
        np.testing.assert_array_equal(instances.boxes, expected.boxes)
        for crop, mask in zip(instances.crops, expected.crops, strict=True):
            np.testing.assert_array_equal(crop, mask)


@pytest.mark.parametrize("mode", ["square", "crop", "none"])
def test_samples_of_both_ways_are_equal(real, mode):
    config = type("C", (CocoConfig,), {"IMAGE_RESIZE_MODE": mode, "IMAGE_PAD_SHAPE": (640, 640)})()
    if mode == "none":
        config.IMAGE_PAD_SHAPE, config.IMAGE_SHAPE[:2] = (640, 640), (640, 640)
    real[1].calls = 0
    for image_id in range(0, 45, 3):
        fast, slow = (
            load_sample(dataset, image_id, config, np.random.default_rng(image_id))
            for dataset in real
        )
        for name in ("image", "image_meta", "class_ids", "boxes", "masks"):
            np.testing.assert_array_equal(getattr(fast, name), getattr(slow, name))
        assert fast.ignored == slow.ignored
    assert real[1].calls == 15  # the subclass was asked


def test_flipping_mini_masks_is_flipping_masks(real):
    """But for pixels of which exactly half lies inside: rounding may decide otherwise."""
    assert is_boxwise(HorizontalFlip()) and not is_boxwise(Flip())
    different, pixels = 0, 0
    for image_id in range(0, 45, 3):
        fast, slow = (
            load_sample(real[0], image_id, CocoConfig(), np.random.default_rng(0), flip)
            for flip in (HorizontalFlip(1), Flip(1))
        )
        np.testing.assert_array_equal(fast.image, slow.image)
        np.testing.assert_array_equal(fast.boxes, slow.boxes)
        different += np.sum(fast.masks != slow.masks)
        pixels += np.sum(slow.masks)
    assert different < 0.002 * pixels


def test_quarter_turns_of_mini_masks_that_are_not_square(real):
    config = type("C", (CocoConfig,), {"MINI_MASK_SHAPE": (28, 56)})()
    turn = Sequential([RandomRotate90()])
    for seed in range(4):
        sample = load_sample(real[0], 0, config, np.random.default_rng(seed), turn)
        assert sample.masks.shape[1:] == (28, 56) and sample.masks.any(axis=(1, 2)).all()


# --- Which method is asked, and what it may return --------------------------------------------


class Given(Dataset):
    """Gives the instances it is given, of an image of 8 x 9 pixels."""

    def __init__(self, instances):
        super().__init__()
        self.instances = instances
        self.add_class("ours", 1, "thing")
        self.add_image("ours", image_id="first", path=None)
        self.prepare()

    def load_image(self, image_id):
        return np.zeros((8, 9, 3), np.uint8)

    def load_instances(self, image_id):
        return self.instances


class SmallConfig(Config):
    NAME = "small"
    NUM_CLASSES = 2
    IMAGE_MIN_DIM = IMAGE_MAX_DIM = 64


def given_instances(**changes):
    values = {
        "size": (8, 9),
        "boxes": np.array([[1, 2, 4, 4]], np.int32),
        "crops": [np.ones((3, 2), bool)],
        "class_ids": np.array([1], np.int32),
    }
    return Instances(**{**values, **changes})


def load(dataset, **arguments):
    return load_sample(dataset, 0, SmallConfig(), np.random.default_rng(0), **arguments)


def test_a_data_set_may_give_instances_alone():
    sample = load(Given(given_instances()))
    assert sample.masks.shape == (1, 56, 56) and sample.class_ids.tolist() == [1]
    from_lists = load(Given(given_instances(boxes=[[1, 2, 4, 4]], class_ids=[1])))
    for name in ("boxes", "class_ids"):
        np.testing.assert_array_equal(getattr(from_lists, name), getattr(sample, name))
        assert getattr(from_lists, name).dtype == np.int32


def test_a_method_put_on_the_object_is_asked():
    dataset = Given(given_instances())
    masks = np.ones((8, 9, 2), bool)
    dataset.load_mask = lambda image_id: (masks, np.array([1, 1], np.int32))
    assert len(load(dataset).class_ids) == 2


@pytest.mark.parametrize(
    ("instances", "expected"),
    [
        (None, "received a NoneType"),
        (given_instances(size=(9, 8)), r"size \(8, 9\); received \(9, 8\)"),
        (given_instances(boxes=np.zeros((2, 4), np.int32)), r"1 class ids.*\(2, 4\)"),
        (given_instances(crops=[]), "0 crops"),
        (given_instances(crops=[np.ones((3, 3), bool)]), r"\[1, 2, 4, 4\] and bool \(3, 3\)"),
        (given_instances(crops=[np.ones((3, 2), np.uint8)]), "uint8"),
        (given_instances(boxes=np.array([[6, 2, 9, 4]])), r"within the image.*\[6, 2, 9, 4\]"),
        (given_instances(class_ids=np.array([-2], np.int32)), "received -2.*load_instances"),
    ],
)
def test_instances_that_do_not_fit_are_refused_by_name(instances, expected):
    with pytest.raises(SampleError, match=expected) as caught:
        load(Given(instances))
    assert "image 0 (source 'ours', id 'first'" in str(caught.value)


def test_nothing_of_image_size_is_made_for_an_instance():
    side, count = 3000, 40
    polygons = [[60 * i, 50 * i, 60 * i + 90, 50 * i, 60 * i + 90, 50 * i + 80] for i in range(40)]
    dataset = CocoDataset()
    dataset.add_class("coco", 1, "thing")
    annotations = [{"id": i, "category_id": 1, "segmentation": [p]} for i, p in enumerate(polygons)]
    dataset.add_image(
        *("coco", 1, None), width=side, height=side, annotations=annotations, annotation_file="f"
    )
    dataset.prepare()
    tracemalloc.start()
    instances = dataset.load_instances(0)
    boxes, placed = place(instances, (2 * side, 2 * side), [(0, 0)] * 3)
    mini = minimize(placed, (28, 28))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert mini.shape == (count, 28, 28) and mini.any(axis=(1, 2)).all()
    assert peak < side * side / 2  # bytes: half a mask of the image's size, for all together
