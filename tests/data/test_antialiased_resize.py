"""Resizing that averages: Pillow's own, its weights, and the sizes of Detectron2."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mrcnn.config import Config
from mrcnn.data.antialiased_resize import (
    UNIT,
    averaged_by_taps,
    averaging_taps,
    order_of_axes,
    resize_averaging,
    size_within,
)
from mrcnn.data.fractional_resize import resize_between_pixels
from mrcnn.data.resize import Resize
from mrcnn.runs.settings import configure


def a_picture(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels)).astype(np.uint8)


@settings(max_examples=60, deadline=None)
@given(*(st.integers(1, 60) for _ in range(4)))
def test_the_taps_are_pillows(height: int, width: int, new_height: int, new_width: int):
    image, size = a_picture(height, width), (new_height, new_width)
    order = order_of_axes(image.shape[:2], size)
    by_taps = averaged_by_taps(image, size, order)
    np.testing.assert_array_equal(by_taps, resize_averaging(image, size))


def test_a_position_averages_what_it_covers():
    pixels, weights = averaging_taps(6, 2)
    weights = weights / UNIT
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    # A tent of three pixels to each side of 1.5, the middle of the second of the first three.
    first = dict(zip(pixels[0].tolist(), weights[0].tolist(), strict=True))
    total = 1 + 2 * (2 / 3 + 1 / 3) - 1 / 3
    expected = [2 / 3 / total, 1 / total, 2 / 3 / total, 1 / 3 / total]
    np.testing.assert_allclose([first[n] for n in range(4)], expected, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_channels_do_not_mix(channels: int):
    image = a_picture(40, 30, channels)
    found = resize_averaging(image, (13, 50))
    assert found.shape == (13, 50, channels) and found.dtype == np.uint8
    for channel in range(channels):
        grey = Image.fromarray(np.ascontiguousarray(image[:, :, channel]))
        expected = np.asarray(grey.resize((50, 13), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(found[:, :, channel], expected)


def test_other_values_than_bytes_are_interpolated():
    image = a_picture(20, 30).astype(np.float32) * 100
    np.testing.assert_array_equal(
        resize_averaging(image, (7, 9)), resize_between_pixels(image, (7, 9))
    )


@pytest.mark.parametrize(
    ("size", "expected"),
    [((480, 640), (800, 1067)), ((640, 480), (1067, 800)), ((500, 500), (800, 800))]
    + [((300, 1000), (400, 1333)), ((1, 4000), (1, 1333)), ((427, 640), (800, 1199))],
)
def test_sides_are_rounded_to_the_nearest(size, expected):
    # The expected sizes are those of Detectron2's `ResizeShortestEdge.get_output_shape`, but for a
    # side of 0, which it makes of the line.
    assert size_within(size, 800, 1333) == expected


def test_a_configuration_with_the_architecture_resizes_so():
    config = configure(
        Config, {"ARCHITECTURE": "detectron2", "IMAGE_MIN_DIM": 40, "IMAGE_MAX_DIM": 70}
    )
    resize = Resize.for_detection(config)
    image = a_picture(97, 61)
    found = resize(image)
    assert found.window == (0, 0, 64, 40) and found.image.shape == (64, 64, 3)
    np.testing.assert_array_equal(found.image[:, :40], resize_averaging(image, (64, 40)))
    np.testing.assert_allclose(found.image[0, 50], config.MEAN_PIXEL)
    # A cached image, scaled before, is what scaling makes of it.
    np.testing.assert_array_equal(
        resize.pad_or_crop(resize.scaled(image), image.shape[:2]).image, found.image
    )
