"""Batches of one shape: a pure function of (seed, step), and every image once in a pass."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from mrcnn.data.dataset_checks import SampleError
from mrcnn.data.loader import Loader
from mrcnn.data.shape_groups import ShapeGroups, height_and_width
from mrcnn.data.stream import SampleStream

WIDE, HIGH, SQUARE = (64, 128), (128, 64), (128, 128)


def by_seed(number: int, images: int = 11) -> np.ndarray:
    return np.random.default_rng([5, number]).permutation(images)


def stream(groups: ShapeGroups, steps: int) -> np.ndarray:
    positions = range(steps * groups.batch_size)
    return np.array([groups.image_at(p) for p in positions]).reshape(steps, -1)


def one_after_the_other(shapes, batch_size, order, passes):
    """The rule itself: fill the groups image by image; a full one is a batch."""
    waiting, batches = {shape: [] for shape in shapes}, []
    for number in range(passes):
        for image in order(number).tolist():
            waiting[shapes[image]].append(image)
            if len(waiting[shapes[image]]) == batch_size:
                batches.append(waiting[shapes[image]])
                waiting[shapes[image]] = []
    return batches


@settings(max_examples=60, deadline=None)
@given(
    kinds=st.lists(st.sampled_from([WIDE, HIGH, SQUARE]), min_size=1, max_size=20),
    batch_size=st.integers(1, 7),
)
def test_any_step_is_what_filling_the_groups_one_after_the_other_gives(kinds, batch_size):
    def order(number):
        return by_seed(number, len(kinds))

    expected = one_after_the_other(kinds, batch_size, order, passes=9)
    groups = ShapeGroups(kinds, batch_size, order)
    if expected:
        np.testing.assert_array_equal(stream(groups, len(expected)), expected)


def test_each_group_holds_each_of_its_images_once_in_a_pass():
    kinds = [WIDE] * 6 + [HIGH] * 3 + [SQUARE] * 2
    groups = ShapeGroups(kinds, 2, by_seed)
    batches = stream(groups, 66)  # twelve passes, whose remainders are used up
    assert all(len({kinds[image] for image in batch}) == 1 for batch in batches.tolist())
    assert set(Counter(batches.ravel().tolist()).values()) == {12}
    wide = batches[batches[:, 0] < 6].ravel()
    for first in range(0, len(wide), 6):
        assert sorted(wide[first : first + 6].tolist()) == list(range(6))


class Pictures(Dataset):
    """Images of noise with a square; `sizes` is what they say, `true_sizes` what they are."""

    def __init__(self, sizes, true_sizes=None):
        super().__init__()
        self.add_class("noise", 1, "square")
        for number, (height, width) in enumerate(sizes):
            self.add_image("noise", f"name-{number}", None, height=height, width=width)
        self.true_sizes = true_sizes or sizes
        self.prepare()

    def load_image(self, image_id):
        rng = np.random.default_rng(image_id)
        return rng.integers(0, 256, (*self.true_sizes[image_id], 3)).astype(np.uint8)

    def load_mask(self, image_id):
        mask = np.zeros((*self.true_sizes[image_id], 1), bool)
        mask[8:40, 8:40] = True
        return mask, np.ones(1, np.int32)


class GroupedConfig(Config):
    NAME = "grouped"
    NUM_CLASSES = 2
    IMAGES_PER_GPU = 2
    IMAGE_MIN_DIM = 64
    IMAGE_MAX_DIM = 128
    IMAGE_SHAPE_GROUPS = [WIDE, HIGH]


SIZES = [(64, 128), (128, 64), (128, 128), (40, 80), (90, 128)]


def test_batches_of_the_loader_have_one_shape_and_hang_on_the_step_alone():
    config = GroupedConfig()
    with Loader(SampleStream.of(Pictures(SIZES), config, seed=3), workers=2) as loader:
        batches = list(loader.batches(0, 15))
        later = list(loader.batches(9, 15))
    alone = Loader(SampleStream.of(Pictures(SIZES), config, seed=3), workers=0)
    for step, batch in enumerate(batches):
        shape = batch["input_image"].shape[1:3]
        assert shape in config.INPUT_SHAPES
        assert (batch["input_image_meta"][:, 4:6] == shape).all()
        for other in (alone.batch(step), *(later[step - 9 : step - 8] if step >= 9 else ())):
            for name, array in batch.items():
                np.testing.assert_array_equal(other[name], array)
    seen = Counter(int(i) for b in batches for i in b["input_image_meta"][:, 0])
    assert set(seen) == set(range(5)) and max(seen.values()) - min(seen.values()) <= 2
    assert {b["input_image"].shape[1:3] for b in batches} == set(config.INPUT_SHAPES)


def test_shards_are_parts_of_one_batch():
    config = GroupedConfig()
    stream = SampleStream.of(Pictures(SIZES), config, seed=3)
    whole = Loader(stream, workers=0).batch(4)["input_image"]
    parts = [Loader(stream, workers=0, shard=(k, 2)).batch(4)["input_image"] for k in range(2)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_full_masks_have_the_shape_of_their_image():
    config = type("Full", (GroupedConfig,), {"USE_MINI_MASK": False})()
    batch = Loader(SampleStream.of(Pictures(SIZES[:1]), config, seed=3), workers=0).batch(0)
    assert batch["input_gt_masks"].shape == (2, config.MAX_GT_INSTANCES, *WIDE)


def test_an_image_of_another_size_than_it_says_is_named():
    dataset = Pictures([(64, 128)], [(128, 128)])
    loader = Loader(SampleStream.of(dataset, GroupedConfig(), seed=3), workers=0)
    with pytest.raises(SampleError, match=r"'name-0'.*expected \(64, 128\).*received \(128, 128\)"):
        loader.batch(0)


def test_sizes_come_from_the_entry_or_the_file(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (7, 5)).save(path)
    assert height_and_width({"path": str(path)}, Config()) == (5, 7)
    assert height_and_width({"path": str(path), "height": 3, "width": 4}, Config()) == (3, 4)
    for info in ({"path": None}, {"path": str(tmp_path / "missing.png")}, {}):
        with pytest.raises(ValueError, match=r"Image 'x'.*Pass height=… and width=… to add_image"):
            height_and_width({"id": "x", **info}, Config())


def test_worker_processes_make_the_same_batches():
    config = GroupedConfig()
    expected = Loader(SampleStream.of(Pictures(SIZES), config, seed=3), workers=0).batch(2)
    config.LOADER_PROCESSES = True
    with Loader(SampleStream.of(Pictures(SIZES), config, seed=3), workers=1) as loader:
        (batch,) = loader.batches(2, 3)
    for name, array in expected.items():
        np.testing.assert_array_equal(batch[name], array)
