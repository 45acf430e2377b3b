"""Resizing to fractions of grey levels, and the mode "pad32", against torchvision."""

from __future__ import annotations

import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.data.fractional_resize import resize_between_pixels
from mrcnn.data.molding import mold_image, resize_to_input, unmold_image
from mrcnn.data.resize import Resize
from mrcnn.runs.settings import configure

SIZES = [(97, 61), (61, 97), (30, 300), (64, 64), (1, 5), (480, 640)]


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
