"""One image as a training sample: geometry, instances, augmentation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcnn.config import Config
from mrcnn.data.augment import HorizontalFlip, RandomRotate90
from mrcnn.data.boxes import extract_bboxes
from mrcnn.data.dataset import Dataset
from mrcnn.data.dataset_checks import SampleError
from mrcnn.data.masks import expand_mask, resize_mask
from mrcnn.data.molding import parse_image_meta
from mrcnn.data.resize import resize_image
from mrcnn.data.sample import limit_instances, load_sample, place_masks


class SquareConfig(Config):
    NAME = "test"
    NUM_CLASSES = 3
    IMAGE_MIN_DIM = 64
    IMAGE_MAX_DIM = 128
    USE_MINI_MASK = False


class PaddedConfig(SquareConfig):
    IMAGE_RESIZE_MODE = "pad64"
    IMAGE_PAD_SHAPE = (192, 256)


class UnscaledConfig(PaddedConfig):
    IMAGE_RESIZE_MODE = "none"


class CropConfig(SquareConfig):
    IMAGE_RESIZE_MODE = "crop"


ALL_MODES = [SquareConfig, PaddedConfig, UnscaledConfig, CropConfig]


class OneImage(Dataset):
    """One image in memory, of the source "ours" with the classes 1 and 2."""

    def __init__(self, image, masks, class_ids):
        super().__init__()
        self.image, self.masks, self.ids = image, masks, np.array(class_ids, np.int32)
        self.add_class("ours", 1, "disc")
        self.add_class("ours", 2, "square")
        self.add_image("ours", image_id="first", path="folder/first.png")
        self.prepare()

    def load_image(self, image_id):
        return self.image

    def load_mask(self, image_id):
        return self.masks, self.ids


def boxes_of_masks(shape, *boxes):
    masks = np.zeros((*shape, len(boxes)), bool)
    for i, (y1, x1, y2, x2) in enumerate(boxes):
        masks[y1:y2, x1:x2, i] = True
    return masks


def scene(shape=(60, 100), boxes=((10, 20, 50, 40), (5, 50, 30, 95)), class_ids=(1, 2)):
    """A data set whose image shows its masks: 200 inside any, 0 outside."""
    masks = boxes_of_masks(shape, *boxes)
    image = np.repeat(masks.any(axis=2)[..., None] * np.uint8(200), 3, axis=2)
    return OneImage(image, masks, class_ids)


def load(dataset, config=None, seed=0, augmentation=None):
    return load_sample(
        dataset, 0, config or SquareConfig(), np.random.default_rng(seed), augmentation
    )


# --- Geometry ----------------------------------------------------------------------------


@pytest.mark.parametrize("config_class", ALL_MODES)
@pytest.mark.parametrize("shape", [(60, 100), (100, 60), (80, 80), (64, 128)])
def test_sample_has_one_static_shape_and_masks_lie_on_the_image(config_class, shape):
    config = config_class()
    boxes = (10, 20, 50, 40), (5, 42, 30, 58)
    sample = load(scene(shape, boxes), config)
    assert sample.image.dtype == np.uint8 and sample.image.shape == tuple(config.IMAGE_SHAPE)
    assert sample.image_meta.dtype == np.float32
    assert sample.image_meta.shape == (config.IMAGE_META_SIZE,)
    assert sample.class_ids.dtype == np.int32 and sample.boxes.dtype == np.int32
    assert sample.masks.dtype == np.uint8 and sample.masks.max() == 1
    assert sample.masks.shape == (len(sample.class_ids), *config.IMAGE_SHAPE[:2])
    # Where bilinear resizing mixes inside and outside half and half, either is right; the
    # corners of the two boxes mix four pixels.
    gray = sample.image[..., 0].astype(int)
    wrong = (gray >= 100) != sample.masks.any(axis=0)
    assert np.sum(wrong & (np.abs(gray - 100) > 10)) <= 8
    np.testing.assert_array_equal(sample.boxes, extract_bboxes(sample.masks.transpose(1, 2, 0)))


@pytest.mark.parametrize("config_class", ALL_MODES)
def test_meta_describes_the_image(config_class):
    config = config_class()
    sample = load(scene((70, 100)), config)
    meta = {k: v[0].tolist() for k, v in parse_image_meta(sample.image_meta[None]).items()}
    window = {
        "none": [61, 78, 131, 178],
        "pad64": [61, 78, 131, 178],
        "square": [29, 14, 99, 114],
        "crop": [0, 0, 64, 64],
    }[config.IMAGE_RESIZE_MODE]
    assert meta == {
        "image_id": 0,
        "original_image_shape": [70, 100, 3],
        "image_shape": config.IMAGE_SHAPE.tolist(),
        "window": window,
        "scale": 1,
        "active_class_ids": [1, 1, 1],
    }


@pytest.mark.parametrize("shape", [(31, 45), (64, 64), (100, 190), (192, 256), (1, 1)])
def test_static_shape_is_pad64_moved_to_the_center(shape):
    image = np.random.default_rng(0).integers(1, 255, (*shape, 3), dtype=np.uint8)
    config = PaddedConfig()
    config.IMAGE_MIN_DIM = None
    sample = load(OneImage(image, boxes_of_masks(shape, (0, 0, *shape)), [1]), config)
    y1, x1, y2, x2 = parse_image_meta(sample.image_meta[None])["window"][0]
    np.testing.assert_array_equal(sample.image[y1:y2, x1:x2], image)
    assert sample.image.sum() == image.sum()
    assert (y1, x1) == ((192 - shape[0]) // 2, (256 - shape[1]) // 2)
    assert sample.boxes.tolist() == [[y1, x1, y2, x2]]


@pytest.mark.parametrize("config_class", [PaddedConfig, UnscaledConfig])
@pytest.mark.parametrize("shape, needed", [((193, 64), "(256, 256)"), ((64, 300), "(192, 320)")])
def test_image_that_does_not_fit_the_static_shape_says_what_to_set(config_class, shape, needed):
    with pytest.raises(SampleError) as caught:
        load(scene(shape, [(0, 0, 5, 5)], [1]), config_class())
    for part in ("image 0", "'first'", "first.png", "192 x 256", "IMAGE_PAD_SHAPE", needed):
        assert part in str(caught.value)


@pytest.mark.parametrize("mini", [False, True])
@pytest.mark.parametrize("shape", [(61, 100), (100, 33)])
@pytest.mark.parametrize("augmentation", [None, HorizontalFlip(1), RandomRotate90()])
def test_where_border_anchors_are_ignored_the_window_moves_with_the_image(
    mini, shape, augmentation
):
    """The photograph has no black pixel, so that it can be told from its padding."""
    image = np.random.default_rng(0).integers(1, 255, (*shape, 3), dtype=np.uint8)
    dataset = OneImage(image, boxes_of_masks(shape, (10, 20, 50, 30)), [1])
    chosen = {"USE_MINI_MASK": mini, "MINI_MASK_SHAPE": (8, 8), "IMAGE_MIN_DIM": None}
    kept = type("Kept", (SquareConfig,), chosen)()
    ignored = type("Ignored", (SquareConfig,), {**chosen, "RPN_BORDER_ANCHORS": "ignore"})()
    windows = set()
    for seed in range(6):
        sample = load(dataset, ignored, seed, augmentation)
        window = parse_image_meta(sample.image_meta[None])["window"][0].tolist()
        np.testing.assert_array_equal(
            [window], extract_bboxes((sample.image > 0).any(axis=-1)[..., None])
        )
        other = load(dataset, kept, seed, augmentation)
        for name in ("image", "boxes", "masks", "class_ids"):
            np.testing.assert_array_equal(getattr(sample, name), getattr(other, name))
        assert sample.ignored == other.ignored
        windows.add(tuple(window))
    assert len(windows) > 1 or not isinstance(augmentation, RandomRotate90)


def test_crop_is_decided_by_the_generator_alone():
    dataset = scene((90, 200))
    config = CropConfig()
    first, again = load(dataset, config, 3), load(dataset, config, 3)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.masks, again.masks)
    images = {load(dataset, config, seed).image.tobytes() for seed in range(8)}
    assert len(images) > 4


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    scale=st.floats(0.1, 4),
    top=st.integers(0, 3),
    right=st.integers(0, 3),
    seed=st.integers(0, 1000),
)
def test_place_masks_takes_the_pixel_that_holds_the_center(height, width, scale, top, right, seed):
    masks = np.random.default_rng(seed).random((height, width, 2)) < 0.5
    placed = place_masks(masks, scale, [(top, 0), (0, right), (0, 0)])
    new_height, new_width = max(1, round(height * scale)), max(1, round(width * scale))
    assert placed.dtype == bool and placed.shape == (new_height + top, new_width + right, 2)
    assert not placed[:top].any() and not placed[:, new_width:].any()
    for y in range(new_height):
        for x in range(new_width):
            source = (
                int((2 * y + 1) * height / (2 * new_height) + 1e-9),
                int((2 * x + 1) * width / (2 * new_width) + 1e-9),
            )
            np.testing.assert_array_equal(placed[top + y, x], masks[source])


def test_place_masks_lies_closer_to_the_image_than_resize_mask():
    y, x = np.mgrid[:40, :60]
    masks = ((y - 33) ** 2 + (x - 50) ** 2 < 36)[..., None]  # a disc near the corner
    image = masks * np.uint8(255)
    resized, _, scale, padding, crop = resize_image(image, 128, 192, None, "square")
    shown = resized[..., 0] >= 128

    def wrong(placed):
        return np.sum(placed[..., 0] != shown)

    ours, matterports = place_masks(masks, scale, padding), resize_mask(masks, scale, padding)
    assert wrong(ours) < 0.05 * shown.sum() < wrong(matterports)


def test_place_masks_follows_a_crop():
    masks = np.random.default_rng(0).random((30, 40, 3)) < 0.5
    whole = place_masks(masks, 2, [(0, 0)] * 3)
    part = place_masks(masks, 2, [(0, 0)] * 3, (5, 7, 32, 16))
    np.testing.assert_array_equal(part, whole[5:37, 7:23])


# --- Instances ---------------------------------------------------------------------------


def test_crowds_keep_their_negative_id_and_get_the_box_of_their_mask():
    sample = load(scene((128, 128), [(10, 20, 50, 40), (5, 50, 30, 95)], [1, -2]))
    assert sample.class_ids.tolist() == [1, -2]
    assert sample.boxes.tolist() == [[10, 20, 50, 40], [5, 50, 30, 95]]
    assert sample.ignored == {"vanished": 0, "background": 0}


def test_vanished_and_background_instances_are_left_out_and_counted():
    boxes = [(0, 0, 9, 9), (3, 3, 3, 9), (1, 2, 8, 9), (5, 5, 5, 5), (20, 20, 40, 60)]
    sample = load(scene((128, 128), boxes, [1, 1, 0, 2, 2]))
    assert sample.class_ids.tolist() == [1, 2]
    assert sample.boxes.tolist() == [[0, 0, 9, 9], [20, 20, 40, 60]]
    assert sample.ignored == {"vanished": 2, "background": 1}


def test_instances_outside_the_crop_vanish():
    dataset = scene((64, 400), [(0, 0, 64, 400), (0, 0, 20, 20), (0, 380, 20, 400)], [1, 1, 2])
    sample = load(dataset, CropConfig())
    assert len(sample.class_ids) + sample.ignored["vanished"] == 3
    assert sample.ignored["vanished"] >= 1
    assert sample.boxes[0].tolist() == [0, 0, 64, 64]


@pytest.mark.parametrize("mini", [True, False])
@pytest.mark.parametrize("masks_shape", [(0, 0, 0), (60, 100, 0)])
def test_image_without_objects(mini, masks_shape):
    config = SquareConfig()
    config.USE_MINI_MASK = mini
    sample = load(OneImage(np.ones((60, 100, 3), np.uint8), np.zeros(masks_shape), []), config)
    assert sample.class_ids.shape == (0,) and sample.boxes.shape == (0, 4)
    assert sample.masks.shape == ((0, 56, 56) if mini else (0, 128, 128))


def test_mini_masks_are_the_full_masks_within_their_boxes():
    y, x = np.mgrid[:100, :120]
    discs = [(y - 40) ** 2 + (x - 50) ** 2 < 900, (y - 70) ** 2 + 2 * (x - 70) ** 2 < 500]
    masks = np.stack(discs, axis=2)
    dataset = OneImage(np.zeros((100, 120, 3), np.uint8), masks, [1, 2])
    full_config, mini_config = SquareConfig(), SquareConfig()
    mini_config.USE_MINI_MASK = True
    full, mini = load(dataset, full_config), load(dataset, mini_config)
    assert mini.masks.shape == (2, 56, 56) and set(np.unique(mini.masks)) == {0, 1}
    np.testing.assert_array_equal(mini.boxes, full.boxes)
    expanded = expand_mask(mini.boxes, mini.masks.transpose(1, 2, 0), full.image.shape)
    agreement = np.mean(expanded.transpose(2, 0, 1) == full.masks.astype(bool))
    assert agreement > 0.995


def test_active_classes_are_those_of_the_images_source():
    class TwoSources(OneImage):
        def __init__(self):
            super().__init__(np.ones((60, 60, 3), np.uint8), np.zeros((60, 60, 0)), [])
            self.add_class("theirs", 7, "triangle")
            self.add_image("theirs", image_id=9, path=None)
            self.prepare()

    config = SquareConfig()
    config.NUM_CLASSES = 4
    metas = [
        load_sample(TwoSources(), i, config, np.random.default_rng(0)).image_meta for i in (0, 1)
    ]
    assert metas[0][12:].tolist() == [1, 1, 1, 0] and metas[0][0] == 0
    assert metas[1][12:].tolist() == [1, 0, 0, 1] and metas[1][0] == 1


def test_wrong_number_of_classes_is_refused():
    config = SquareConfig()
    config.NUM_CLASSES = 5
    with pytest.raises(SampleError, match="has 3 classes .* NUM_CLASSES is 5"):
        load(scene(), config)


@pytest.mark.parametrize("limit", [1, 2, 3, 9])
def test_limit_instances_keeps_a_subset_in_order(limit):
    boxes = [(5 * i, 0, 5 * i + 4, 10 + i) for i in range(4)]
    sample = load(scene((128, 128), boxes, [1, 2, -1, 2]))
    limited = limit_instances(sample, limit, np.random.default_rng(2))
    kept = [sample.boxes.tolist().index(box) for box in limited.boxes.tolist()]
    assert kept == sorted(kept) and len(kept) == min(limit, 4)
    np.testing.assert_array_equal(limited.class_ids, sample.class_ids[kept])
    np.testing.assert_array_equal(limited.masks, sample.masks[kept])
    assert limited.ignored.get("overflow", 0) == max(0, 4 - limit)
    assert limited.ignored["vanished"] == 0


# --- Augmentation ------------------------------------------------------------------------


@pytest.mark.parametrize("mini", [True, False])
def test_augmentation_moves_image_masks_and_boxes_together(mini):
    config = SquareConfig()
    config.USE_MINI_MASK = mini
    dataset = scene((128, 128), [(10, 20, 50, 40)], [2])
    dataset.masks[10:20, 20:25] = False  # not symmetric
    plain, flipped = load(dataset, config), load(dataset, config, augmentation=HorizontalFlip(1))
    np.testing.assert_array_equal(flipped.image, plain.image[:, ::-1])
    np.testing.assert_array_equal(flipped.masks, plain.masks[:, :, ::-1])
    assert flipped.boxes.tolist() == [[10, 128 - 40, 50, 128 - 20]]
    assert (plain.masks != flipped.masks).any()


def test_augmentation_is_decided_by_the_generator_alone():
    dataset = scene((128, 128))
    images = [load(dataset, seed=s, augmentation=RandomRotate90()).image for s in (*range(20), 0)]
    np.testing.assert_array_equal(images[0], images[-1])
    assert len({image.tobytes() for image in images}) == 4


def test_augmentation_must_keep_the_shape():
    with pytest.raises(
        SampleError, match=r"\(192, 256, 3\) after the augmentation.*\(256, 192, 3\)"
    ):
        for seed in range(9):
            load(scene(), PaddedConfig(), seed, RandomRotate90())


# --- Real images -------------------------------------------------------------------------------


def test_boxes_of_real_annotations(shared):
    from mrcnn.datasets.coco import CocoDataset

    class CocoConfig(Config):
        NAME = "coco"
        NUM_CLASSES = 81
        IMAGE_MIN_DIM = IMAGE_MAX_DIM = 640

    dataset = CocoDataset()
    dataset.load_coco(shared / "data/coco_open", "val", year="2017")
    dataset.prepare()
    config = CocoConfig()
    for image_id in dataset.image_ids[:8]:
        sample = load_sample(dataset, int(image_id), config, np.random.default_rng(0))
        meta = parse_image_meta(sample.image_meta[None])
        y1, x1 = meta["window"][0][:2]
        annotated = [a["bbox"] for a in dataset.image_info[image_id]["annotations"]]
        boxes = [
            np.array([y, x, y + height, x + width]) * meta["scale"][0] + [y1, x1, y1, x1]
            for x, y, width, height in annotated
        ]
        assert len(sample.boxes) + sample.ignored["vanished"] <= len(boxes)
        for box in sample.boxes:  # each is an annotated one, but for the annotator's slack
            assert min(np.abs(np.subtract(boxes, box)).max(axis=1)) < 3


# --- Boxes without masks -----------------------------------------------------------------


class BoxOnly(OneImage):
    box_only = (True, False)

    def load_box_only(self, image_id):
        return np.array(self.box_only)


@pytest.mark.parametrize("mini", [False, True])
def test_an_instance_without_a_mask_is_marked_in_its_mask(mini):
    plain = scene()
    dataset = BoxOnly(plain.image, plain.masks, plain.ids)
    config = type("C", (SquareConfig,), {"USE_MINI_MASK": mini})()
    sample, expected = load(dataset, config), load(plain, config)
    np.testing.assert_array_equal(sample.masks[0], 2 * expected.masks[0])
    np.testing.assert_array_equal(sample.masks[1], expected.masks[1])
    np.testing.assert_array_equal(sample.boxes, expected.boxes)


def test_the_mark_follows_its_instance_when_another_vanishes():
    dataset = BoxOnly(*(lambda d: (d.image, d.masks.copy(), d.ids))(scene()))
    dataset.masks[..., 0] = False
    dataset.box_only = (False, True)
    assert load(dataset).masks.max() == 2
