"""Scale jitter: what is drawn, and where image, masks, boxes and window come to lie."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcnn.config import Config
from mrcnn.data.augment import HorizontalFlip
from mrcnn.data.dataset import Dataset
from mrcnn.data.loader import Loader
from mrcnn.data.molding import mold_inputs, parse_image_meta
from mrcnn.data.resize import Resize
from mrcnn.data.sample import load_sample
from mrcnn.data.scale_jitter import ScaleJitter, without_jitter
from mrcnn.data.shape_groups import group_shapes
from mrcnn.data.stream import SampleStream
from mrcnn.matterport.generator import DataGenerator, load_image_gt

property_test = settings(max_examples=40, deadline=None)


class JitterConfig(Config):
    NAME = "jitter"
    NUM_CLASSES = 3
    IMAGE_MIN_DIM, IMAGE_MAX_DIM = 64, 128
    IMAGES_PER_GPU = 2
    MAX_GT_INSTANCES = 4
    USE_MINI_MASK = False
    LOADER_WORKERS = 1


SIDES = {"IMAGE_MIN_DIM_RANGE": (40, 100)}
FACTORS = {"IMAGE_SCALE_RANGE": (0.2, 2.0)}
PADDED = {"IMAGE_RESIZE_MODE": "pad64", "IMAGE_PAD_SHAPE": (128, 192)}
CROPPED = {"IMAGE_RESIZE_MODE": "crop", "IMAGE_MIN_DIM_RANGE": (64, 100)}
KINDS = [
    *(SIDES, FACTORS, {**PADDED, **SIDES}, {**PADDED, **FACTORS}, CROPPED),
    {**CROPPED, "IMAGE_MIN_DIM_RANGE": None, **FACTORS},
]


def configure(**changed) -> Config:
    return type("SomeConfig", (JitterConfig,), changed)()


class Scenes(Dataset):
    """Smooth images with two objects each; sizes differ."""

    def __init__(self, sizes=((60, 100), (100, 60), (90, 90), (128, 200), (33, 47))):
        super().__init__()
        self.add_class("ours", 1, "disc")
        self.add_class("ours", 2, "square")
        for number, (height, width) in enumerate(sizes):
            self.add_image("ours", number, None, height=height, width=width)
        self.prepare()

    def size(self, image_id):
        info = self.image_info[image_id]
        return info["height"], info["width"]

    def load_image(self, image_id):
        height, width = self.size(image_id)
        y, x = np.mgrid[:height, :width]
        channels = [y * 255 // height, x * 255 // width, (y + x + 40 * image_id) % 256]
        return np.stack(channels, axis=-1).astype(np.uint8)

    def load_mask(self, image_id):
        height, width = self.size(image_id)
        y, x = np.mgrid[:height, :width]
        masks = np.zeros((height, width, 2), bool)
        masks[..., 0] = (y - height // 3) ** 2 + (x - width // 3) ** 2 < (height // 5) ** 2
        masks[height // 2 : height // 2 + 17, width // 2 : width // 2 + 13, 1] = True
        return masks, np.array([1, 2], np.int32)


# --- The naive twin: resized, cut and padded by hand ------------------------------------------


def by_hand(array: np.ndarray, size: tuple[int, int], canvas, crop, window) -> np.ndarray:
    """Each pixel of the canvas shows the stored pixel that holds its center; 0 outside."""
    result = np.zeros((*canvas, array.shape[2]), array.dtype)
    y1, x1, y2, x2 = window
    top, left = (0, 0) if crop is None else crop[:2]
    for y in range(y1, y2):
        for x in range(x1, x2):
            row = int((top + y - y1 + 0.5) * array.shape[0] / size[0])
            column = int((left + x - x1 + 0.5) * array.shape[1] / size[1])
            result[y, x] = array[row, column]
    return result


def box_by_hand(mask: np.ndarray) -> list[int]:
    y, x = np.nonzero(mask)
    return [y.min(), x.min(), y.max() + 1, x.max() + 1]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_image_masks_and_boxes_are_those_made_by_hand(kind, seed):
    dataset, config = Scenes(), configure(**kind)
    for image_id in dataset.image_ids:
        sample = load_sample(dataset, image_id, config, np.random.default_rng(seed))
        image, (masks, class_ids) = dataset.load_image(image_id), dataset.load_mask(image_id)
        # What was drawn is the first thing drawn; the rest follows from it by arithmetic.
        resized = Resize.of(config)(image, np.random.default_rng(seed))
        meta = parse_image_meta(sample.image_meta[None])
        canvas, scale = tuple(config.IMAGE_SHAPE[:2]), float(resized.scale)
        size = tuple(round(side * scale) for side in image.shape[:2])
        assert meta["scale"][0] == pytest.approx(scale)
        assert sample.image.shape[:2] == canvas
        assert tuple(meta["original_image_shape"][0]) == image.shape
        window = tuple(meta["window"][0].tolist())
        shown = [min(full, side) for full, side in zip(size, canvas, strict=True)]
        assert [window[2] - window[0], window[3] - window[1]] == shown
        expected = by_hand(masks, size, canvas, resized.crop, window)
        visible = [i for i in range(2) if expected[..., i].any()]
        np.testing.assert_array_equal(sample.masks.transpose(1, 2, 0), expected[..., visible])
        assert sample.boxes.tolist() == [box_by_hand(expected[..., i]) for i in visible]
        assert sample.class_ids.tolist() == class_ids[visible].tolist()
        assert sample.ignored["vanished"] == 2 - len(visible)
        # The picture lies where its masks do. Shrunk, nearest and bilinear show other pixels, and
        # the zeros around an enlarged image darken its border.
        nearest = by_hand(image, size, canvas, resized.crop, window)
        y1, x1, y2, x2 = window
        inner = (slice(y1 + 3, y2 - 3), slice(x1 + 3, x2 - 3), slice(0, 2))
        step = 255 / min(size) + 255 / min(image.shape[:2]) + 2
        if nearest[inner].size:
            found = sample.image[inner].astype(int) - nearest[inner]
            assert np.abs(found).max() <= step
        outside = sample.image.copy()
        outside[y1:y2, x1:x2] = 0
        assert not outside.any()


# --- What is drawn --------------------------------------------------------------------------


def scales(config: Config, size: tuple[int, int], count: int = 400) -> np.ndarray:
    jitter = ScaleJitter.of(config)
    return np.array([jitter.draw(size, np.random.default_rng(seed)) for seed in range(count)])


def test_each_length_of_the_shorter_side_is_drawn():
    config = configure(IMAGE_MIN_DIM_RANGE=(40, 43))
    sides = np.rint(60 * scales(config, (60, 80))).astype(int)
    values, counts = np.unique(sides, return_counts=True)
    assert values.tolist() == [40, 41, 42, 43] and counts.min() > 60


def test_a_long_image_is_scaled_to_what_fits():
    config = configure(**SIDES)
    found = 300 * scales(config, (100, 300))
    assert found.max() == 128 and found.min() >= 40 * 3 - 1  # 40 to 42 pixels of the shorter side
    wide = configure(**PADDED, **SIDES)
    assert (100 * scales(wide, (100, 300))).max() == pytest.approx(64)


def test_factors_are_of_the_canvas_and_uniform():
    config = configure(**{**PADDED, **FACTORS})  # 128 x 192
    found = scales(config, (64, 64)) * 64 / 128
    assert 0.2 <= found.min() < 0.25 and 1.95 < found.max() <= 2.0
    assert np.histogram(found, bins=4, range=(0.2, 2.0))[0].min() > 70


@property_test
@given(size=st.tuples(st.integers(1, 300), st.integers(1, 300)), seed=st.integers(0, 99))
def test_any_image_has_the_one_shape(size, seed):
    image = np.full((*size, 1), 7, np.uint8)
    for kind in KINDS:
        config = configure(**kind)
        resized = Resize.of(config)(image, np.random.default_rng(seed))
        y1, x1, y2, x2 = resized.window
        shape = resized.image.shape[:2]
        if config.IMAGE_RESIZE_MODE == "pad64" and "IMAGE_MIN_DIM_RANGE" in kind:
            assert shape == Resize.of(config).padded_size(size)  # later centered in the canvas
            assert shape[0] <= 128 and shape[1] <= 192
        else:
            assert shape == tuple(config.IMAGE_SHAPE[:2])
        assert (resized.image[y1:y2, x1:x2] == 7).all() and y2 > y1 and x2 > x1
        assert resized.image.sum() == 7 * (y2 - y1) * (x2 - x1)
        (top, bottom), (left, right), _ = resized.padding
        assert (top, left, shape[0] - bottom, shape[1] - right) == resized.window


@property_test
@given(size=st.tuples(st.integers(1, 300), st.integers(1, 300)), seed=st.integers(0, 99))
def test_the_group_of_an_image_holds_it_at_every_scale(size, seed):
    config = configure(**SIDES, IMAGE_SHAPE_GROUPS=[(64, 128), (128, 64)])
    resize = Resize.of(config)
    image = np.zeros((*size, 1), np.uint8)
    assert resize(image, np.random.default_rng(seed)).image.shape[:2] == resize.padded_size(size)


def test_without_a_generator_pythons_decides():
    image = np.zeros((60, 80, 3), np.uint8)
    for kind in KINDS:
        resize = Resize.of(configure(**kind))
        found = []
        for seed in (3, 3, 4, 5):
            random.seed(seed)
            found.append(resize(image).scale)
        assert found[0] == found[1] and len(set(found)) > 1


# --- Training alone, and the same for every engine ---------------------------------------------


def batches_equal(left, right) -> bool:
    return all(np.array_equal(left[name], right[name]) for name in left) and left.keys() == (
        right.keys()
    )


def stream(config: Config, **options) -> SampleStream:
    return SampleStream.of(Scenes(), config, 3, HorizontalFlip(), **options)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_batch_is_a_function_of_seed_and_step(kind, tmp_path):
    config = configure(**kind, USE_MINI_MASK=True, MINI_MASK_SHAPE=(14, 14))
    with Loader(stream(config), 0) as loader:
        expected = list(loader.batches(0, 6))
    with Loader(stream(config), 2) as loader:
        late = list(loader.batches(4, 6))  # as a run that is resumed
    assert all(map(batches_equal, late, expected[4:]))
    cached = configure(**kind, USE_MINI_MASK=True, MINI_MASK_SHAPE=(14, 14), LOADER_CACHE="ram")
    with Loader(stream(cached), 0) as loader:
        assert all(map(batches_equal, loader.batches(0, 6), expected))
    scales_seen = {float(row[11]) for batch in expected for row in batch["input_image_meta"]}
    assert len(scales_seen) > 6  # an image is seen at another scale in the next pass
    other = SampleStream.of(Scenes(), config, 4, HorizontalFlip())
    with Loader(other, 0) as loader:
        assert not batches_equal(loader.batch(0), expected[0])


def test_the_generators_of_scripts_give_the_same():
    config = configure(**SIDES, SEED=3)
    theirs = DataGenerator(Scenes(), config, augmentation=HorizontalFlip())
    ours = Loader(stream(config), 0)
    for step in range(2):
        (images, metas, match, _, class_ids, boxes, _), _ = theirs[step]
        batch = ours.batch(step)
        images = np.rint(images + config.MEAN_PIXEL)
        np.testing.assert_array_equal(images, batch["input_image"])
        np.testing.assert_array_equal(metas, batch["input_image_meta"])
        np.testing.assert_array_equal(boxes, batch["input_gt_boxes"])
        np.testing.assert_array_equal(class_ids, batch["input_gt_class_ids"])
        assert (match == 1).any(axis=(1, 2)).all()


def test_detection_and_ground_truth_are_not_jittered():
    dataset, config = Scenes(), configure(**{**PADDED, **FACTORS})
    still = configure(**PADDED)
    image = dataset.load_image(1)
    for left, right in zip(mold_inputs([image], config), mold_inputs([image], still), strict=True):
        np.testing.assert_array_equal(left, right)
    assert Resize.of(without_jitter(config)) == Resize.of(still)
    for left, right in zip(
        load_image_gt(dataset, config, 1), load_image_gt(dataset, still, 1), strict=True
    ):
        np.testing.assert_array_equal(left, right)
    assert config.IMAGE_SCALE_RANGE == (0.2, 2.0)  # the caller's own stays


def test_groups_are_known_before_the_images_are_read():
    config = configure(**SIDES, IMAGE_SHAPE_GROUPS=[(64, 128), (128, 64)])
    shapes = group_shapes(Scenes(sizes=((30, 90), (90, 30), (80, 80))), config)
    assert shapes == [(64, 128), (128, 64), (128, 128)]
    with Loader(SampleStream.of(Scenes(sizes=((30, 90), (28, 90))), config, 0), 0) as loader:
        assert loader.batch(0)["input_image"].shape == (2, 64, 128, 3)


# --- Settings ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"IMAGE_MIN_DIM_RANGE": (100, 40)}, "IMAGE_MIN_DIM_RANGE: expected None or .least, most"),
        ({"IMAGE_MIN_DIM_RANGE": (0, 40)}, "IMAGE_MIN_DIM_RANGE"),
        ({"IMAGE_MIN_DIM_RANGE": (0.5, 40)}, "IMAGE_MIN_DIM_RANGE"),
        ({"IMAGE_SCALE_RANGE": (0, 2)}, "IMAGE_SCALE_RANGE: expected None or .*factors above 0"),
        ({"IMAGE_SCALE_RANGE": 2}, "IMAGE_SCALE_RANGE"),
        ({**SIDES, **FACTORS}, "IMAGE_SCALE_RANGE: expected None, because IMAGE_MIN_DIM_RANGE"),
        ({"IMAGE_MIN_DIM_RANGE": (64, 200)}, "sides of at most 128, .*IMAGE_MAX_DIM"),
        ({**PADDED, "IMAGE_MIN_DIM_RANGE": (64, 129)}, "sides of at most 128, .*IMAGE_PAD_SHAPE"),
        ({**CROPPED, "IMAGE_MIN_DIM_RANGE": (63, 100)}, "at least IMAGE_MIN_DIM = 64"),
        ({**SIDES, "IMAGE_RESIZE_MODE": "none"}, 'IMAGE_RESIZE_MODE: expected "square"'),
        ({**SIDES, "IMAGE_MIN_SCALE": 2}, "IMAGE_MIN_SCALE: expected 0"),
        ({**FACTORS, "IMAGE_SHAPE_GROUPS": "auto"}, "IMAGE_SCALE_RANGE: .*IMAGE_SHAPE_GROUPS"),
    ],
)
def test_settings_that_do_not_fit_are_named(changed, message):
    with pytest.raises(ValueError, match=message):
        configure(**changed)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_settings_that_fit_are_accepted(kind):
    assert ScaleJitter.of(configure(**kind)) is not None
    assert ScaleJitter.of(without_jitter(configure(**kind))) is None
