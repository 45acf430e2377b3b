"""Resizing to fractions of grey levels, and the mode "pad32", against torchvision."""

from __future__ import annotations

import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.data.augment import HorizontalFlip
from mrcnn.data.dataset import Dataset
from mrcnn.data.fractional_resize import resize_between_pixels
from mrcnn.data.molding import mold_image, resize_to_input, unmold_image
from mrcnn.data.resize import Resize
from mrcnn.data.sample import load_sample
from mrcnn.data.shape_groups import group_shapes
from mrcnn.data.stream import SampleStream
from mrcnn.ops.image_meta import parse_image_meta
from mrcnn.runs.settings import configure

SIZES = [(97, 61), (61, 97), (30, 300), (64, 64), (1, 5), (480, 640)]

TRAINING = {
    "ARCHITECTURE": "torchvision",
    "IMAGE_MIN_DIM": 96,
    "IMAGE_MAX_DIM": 120,
    "NUM_CLASSES": 2,
    "MINI_MASK_SHAPE": (8, 8),
}


class OneImage(Dataset):
    """An image in memory whose size is known."""

    def __init__(self, image, masks, class_ids, **size):
        super().__init__()
        self.image, self.masks, self.ids = image, masks, np.array(class_ids, np.int32)
        self.add_class("ours", 1, "disc")
        height, width = image.shape[:2]
        size = size or {"height": height, "width": width}
        self.add_image("ours", image_id="first", path="nowhere.png", **size)
        self.prepare()

    def load_image(self, image_id):
        return self.image

    def load_mask(self, image_id):
        return self.masks, self.ids


def a_picture(size, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)


def naive_resize(image: np.ndarray, size) -> np.ndarray:
    result = np.zeros((*size, image.shape[2]))
    for y, x in np.ndindex(*size):
        places = []
        for place, after, before in zip((y, x), size, image.shape[:2], strict=True):
            position = min(max((place + 0.5) * before / after - 0.5, 0), before - 1)
            low = int(position)
            places.append((low, min(low + 1, before - 1), position - low))
        (top, bottom, down), (left, right, along) = places
        above = image[top, left] * (1 - along) + image[top, right] * along
        below = image[bottom, left] * (1 - along) + image[bottom, right] * along
        result[y, x] = above * (1 - down) + below * down
    return result


@pytest.mark.parametrize("size", [(7, 9), (20, 5), (13, 11), (13, 30)])
def test_it_is_bilinear_with_half_pixel_centers(size):
    image = a_picture((13, 11))
    found = resize_between_pixels(image, size)
    assert found.dtype == np.float32 and not np.shares_memory(found, image)
    np.testing.assert_allclose(found, naive_resize(image.astype(float), size), atol=1e-3)


@pytest.mark.parametrize("size", SIZES)
def test_the_mode_pads_below_and_right_with_the_mean(size):
    config = configure(
        Config, {"ARCHITECTURE": "torchvision", "IMAGE_MIN_DIM": 96, "IMAGE_MAX_DIM": 200}
    )
    resize = Resize.for_detection(config)
    image, window, scale, padding, crop = resize(a_picture(size))
    assert image.shape[:2] == resize.padded_size(size) and image.dtype == np.float32
    assert not np.any(np.array(image.shape[:2]) % 32) and crop is None
    assert window[:2] == (0, 0) and max(window) <= 200
    assert window[2:] == tuple(int(side * scale) for side in size)
    assert padding[0] == (0, image.shape[0] - window[2])
    molded = mold_image(image, config)
    assert not molded[window[2] :].any() and not molded[:, window[3] :].any()
    np.testing.assert_allclose(unmold_image(molded, config), image, atol=0.51)
    scaled = resize.scaled(a_picture(size))
    np.testing.assert_array_equal(resize.pad_or_crop(scaled, size).image, image)


@pytest.mark.parametrize("size", SIZES)
def test_as_torchvision(size):
    torch = pytest.importorskip("torch", reason="the oracle: pip install '.[bench]'")
    transform = pytest.importorskip("torchvision.models.detection.transform")
    picture = a_picture(size)
    theirs = transform.GeneralizedRCNNTransform(
        96, 200, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    )
    images, _ = theirs([torch.from_numpy(picture).permute(2, 0, 1).float() / 255])
    config = configure(
        Config, {"ARCHITECTURE": "torchvision", "IMAGE_MIN_DIM": 96, "IMAGE_MAX_DIM": 200}
    )
    resized, meta, window = resize_to_input(picture, config)
    assert window[2:] == tuple(images.image_sizes[0])
    expected = images.tensors[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(mold_image(resized, config), expected, atol=1e-4)


@pytest.mark.parametrize("size", [(97, 61), (61, 97), (100, 100), (50, 120)])
@pytest.mark.parametrize("mini", [False, True])
@pytest.mark.parametrize("augmentation", [None, HorizontalFlip(1)])
def test_in_training_images_are_padded_to_a_lying_or_an_upright_shape(size, mini, augmentation):
    config = configure(Config, {**TRAINING, "USE_MINI_MASK": mini})
    assert config.INPUT_SHAPES == ((96, 128), (128, 96))
    masks = np.zeros((*size, 2), bool)
    masks[5:30, 10:40, 0] = masks[20:48, 3:60, 1] = True
    dataset = OneImage(a_picture(size) // 2 + 1, masks, [1, 1])
    rng = np.random.default_rng(0)
    sample = load_sample(dataset, 0, config, rng, augmentation)
    assert sample.image.shape[:2] in config.INPUT_SHAPES and sample.image.dtype == np.float32
    (shape,) = group_shapes(dataset, config)
    assert shape == sample.image.shape[:2]
    # Where the image is, flipped or not, and what of it the objects cover.
    y1, x1, y2, x2 = parse_image_meta(sample.image_meta[None])["window"][0].astype(int)
    scale = min(96 / min(size), 120 / max(size))
    assert (y2 - y1, x2 - x1) == tuple(int(side * scale) for side in size)
    padding = np.ones(sample.image.shape[:2], bool)
    padding[y1:y2, x1:x2] = False
    mean = np.asarray(config.MEAN_PIXEL, np.float32)
    assert (sample.image[padding] == mean).all() and (sample.image[~padding] != mean).any()
    for box, mask in zip(sample.boxes, np.moveaxis(masks, -1, 0), strict=True):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        expected = scale * np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])
        if augmentation:
            expected[[1, 3]] = (x2 - x1) - expected[[3, 1]]
        np.testing.assert_allclose(box, expected + [y1, x1, y1, x1], atol=1.01)


def test_a_square_needs_no_other_shapes_and_nobody_need_know_the_size_before():
    config = configure(Config, {**TRAINING, "IMAGE_MIN_DIM": 120})
    assert config.INPUT_SHAPES is None and tuple(config.IMAGE_SHAPE) == (128, 128, 3)
    image = Resize.of(config)(a_picture((30, 50))).image
    assert image.shape == (128, 128, 3)
    unpadded = Resize.without_shape(config)(a_picture((30, 50))).image
    assert unpadded.shape == (96, 128, 3)


def test_batches_hold_fractions_of_one_shape():
    config = configure(Config, {**TRAINING, "IMAGES_PER_GPU": 2})
    dataset = OneImage(a_picture((61, 97)), np.ones((61, 97, 1), bool), [1])
    stream = SampleStream.of(dataset, config, seed=0)
    sample = stream.make(0, stream.image_id(0))
    assert sample.image.dtype == np.float32 and (sample.image % 1).any()
    dataset = OneImage(a_picture((61, 97)), np.ones((61, 97, 1), bool), [1], height=None)
    with pytest.raises(ValueError, match='"pad32" needs its size .*IMAGE_MIN_DIM = IMAGE_MAX_DIM'):
        SampleStream.of(dataset, config, seed=0)
