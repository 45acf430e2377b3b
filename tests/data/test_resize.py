"""Resizing images to the network's input: against fixtures and what must hold of any image."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcnn.config import Config
from mrcnn.data.resize import Resize, resize_image

RESIZE_CASES = 56
property_test = settings(max_examples=40, deadline=None)


@pytest.fixture(scope="module")
def vectors(fixtures):
    return np.load(fixtures / "util_vectors.npz")


@pytest.fixture(scope="module")
def cases(fixtures):
    return json.loads((fixtures / "util_vectors.json").read_text())["resize"]


def test_it_is_made_of_the_configuration():
    class Grouped(Config):
        IMAGE_MIN_DIM, IMAGE_MAX_DIM, IMAGE_MIN_SCALE = 64, 128, 1.5
        IMAGE_SHAPE_GROUPS = [(64, 128), (128, 128)]

    assert Resize.of(Grouped()) == Resize("square", 64, 128, 1.5, ((64, 128), (128, 128)))
    config = Grouped()
    config.IMAGE_SHAPE_GROUPS, config.IMAGE_RESIZE_MODE, config.IMAGE_MIN_DIM = None, "crop", 0
    with pytest.raises(ValueError, match='min_dim: the mode "crop"'):
        Resize.of(config)


class TestResizeImage:
    @pytest.mark.parametrize("index", range(RESIZE_CASES))
    def test_fixture(self, vectors, cases, index):
        case, prefix = cases[index], f"rs{index}_"
        random.seed(5)
        resized = resize_image(vectors[prefix + "in"], mode=case["mode"], **case["kw"])
        expected = vectors[prefix + "out"]
        assert resized.image.shape == expected.shape
        assert resized.image.dtype == np.uint8
        assert np.abs(resized.image.astype(int) - expected).max() <= 1
        assert resized.window == tuple(vectors[prefix + "window"])
        assert resized.scale == vectors[prefix + "scale"]
        np.testing.assert_array_equal(resized.padding, vectors[prefix + "padding"])
        if prefix + "crop" in vectors:
            assert resized.crop == tuple(vectors[prefix + "crop"])
        else:
            assert resized.crop is None

    @property_test
    @given(
        size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
        mode=st.sampled_from(["none", "square", "pad64", "crop"]),
        channels=st.sampled_from([1, 3, 4, 7]),
        dtype=st.sampled_from([np.uint8, np.uint16, np.float32]),
    )
    def test_window_holds_the_image_and_zeros_surround_it(self, size, mode, channels, dtype):
        image = np.full((*size, channels), 200, dtype)
        resized = resize_image(image, 64, 128, 0, mode, rng=np.random.default_rng(0))
        height, width = resized.image.shape[:2]
        assert resized.image.shape[2] == channels
        assert resized.image.dtype == dtype
        expected = {"none": size, "square": (128, 128), "crop": (64, 64), "pad64": (height, width)}
        assert (height, width) == expected[mode]
        if mode == "pad64":
            assert height % 64 == width % 64 == 0
        y1, x1, y2, x2 = resized.window
        assert (resized.image[y1:y2, x1:x2] == 200).all()
        assert resized.image.sum(dtype=float) == 200.0 * channels * (y2 - y1) * (x2 - x1)
        (top, bottom), (left, right), _ = resized.padding
        assert (top, left, height - bottom, width - right) == resized.window

    def test_crop_is_the_same_for_the_same_generator(self):
        image = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
        crops = [
            resize_image(image, 64, mode="crop", rng=np.random.default_rng(seed)).crop
            for seed in (1, 1, 2)
        ]
        assert crops[0] == crops[1] != crops[2]

    def test_crop_is_cut_from_the_scaled_image(self):
        image = np.random.default_rng(0).integers(0, 256, (64, 100, 3), np.uint8)
        resized = resize_image(image, 64, mode="crop", rng=np.random.default_rng(3))
        y, x, height, width = resized.crop
        np.testing.assert_array_equal(resized.image, image[y : y + height, x : x + width])

    @pytest.mark.parametrize("mode", ["none", "square", "pad64", "crop"])
    @pytest.mark.parametrize("size", [(40, 70), (64, 64), (300, 90)])
    def test_its_halves_make_the_whole(self, mode, size):
        image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
        resize = Resize(mode, 64, 128)
        scaled = resize.scaled(image)
        assert not np.shares_memory(scaled, image)
        for half in (scaled, image):  # scaled before, or on the way
            result = resize.pad_or_crop(half, size, np.random.default_rng(3))
            assert not np.shares_memory(result.image, half)
            whole = resize(image, np.random.default_rng(3))
            np.testing.assert_array_equal(result.image, whole.image)
            assert result[1:] == whole[1:]

    def test_very_long_image_keeps_one_pixel(self):
        resized = resize_image(np.full((1, 2000, 3), 9, np.uint8), max_dim=128)
        assert resized.window == (63, 0, 64, 128)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"mode": "round"}, r"mode: expected one of .*'round'"),
            ({"mode": "square"}, "max_dim"),
            ({"mode": "crop"}, "min_dim"),
            ({"mode": "pad64", "min_dim": 100}, "multiple of 64; received 100"),
        ],
    )
    def test_impossible_settings_are_refused(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            resize_image(np.zeros((10, 10, 3), np.uint8), **arguments)

    def test_grey_image_without_channels_is_refused(self):
        with pytest.raises(ValueError, match=r"channels.*\(10, 10\)"):
            resize_image(np.zeros((10, 10), np.uint8), max_dim=64)


# --- Groups of shapes -----------------------------------------------------------------------


@property_test
@given(size=st.tuples(st.integers(1, 200), st.integers(1, 200)), min_dim=st.integers(1, 128))
def test_the_shape_of_an_image_is_known_from_its_size(size, min_dim):
    shapes = ((64, 128), (128, 64), (128, 128))
    image = np.full((*size, 1), 7, np.uint8)
    resize = Resize("square", min_dim, 128, shapes=shapes)
    resized = resize(image)
    assert resized.image.shape[:2] == resize.padded_size(size)
    square = resize_image(image, min_dim, 128, mode="square")
    assert resized.scale == square.scale
    (y1, x1, y2, x2), (top, left, bottom, right) = resized.window, square.window
    inner = square.image[top:bottom, left:right]
    np.testing.assert_array_equal(resized.image[y1:y2, x1:x2], inner)
    assert not any(
        y2 - y1 <= height and x2 - x1 <= width and height * width < resized.image[..., 0].size
        for height, width in shapes
    )


def test_an_image_that_no_shape_holds_is_refused():
    with pytest.raises(ValueError, match="at least 96 x 128"):
        Resize("square", 96, 128, shapes=((64, 128),))(np.zeros((96, 128, 1)))
