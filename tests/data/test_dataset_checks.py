"""What a data set gives of an image: what is taken, and what is refused by name."""

from __future__ import annotations

import numpy as np
import pytest

from mrcnn.data.dataset_checks import SampleError
from mrcnn.data.molding import parse_image_meta
from tests.data.test_sample import OneImage, SquareConfig, boxes_of_masks, load, scene


@pytest.mark.parametrize("shape", [(60, 100), (60, 100, 1)])
def test_grey_images(shape):
    class GreyConfig(SquareConfig):
        IMAGE_CHANNEL_COUNT = 1
        MEAN_PIXEL = np.array([110.0])

    grey = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    sample = load(OneImage(grey, boxes_of_masks((60, 100), (1, 2, 30, 40)), [1]), GreyConfig())
    assert sample.image.shape == (128, 128, 1)
    assert parse_image_meta(sample.image_meta[None])["original_image_shape"].tolist() == [
        [60, 100, 1]
    ]


@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.uint16])
def test_whole_values_of_other_types_are_taken_as_they_are(dtype):
    dataset = scene((128, 128))
    expected = load(dataset).image
    dataset.image = dataset.image.astype(dtype)
    actual = load(dataset).image
    assert actual.dtype == np.float32
    np.testing.assert_array_equal(actual, expected)


def test_any_finite_values_are_taken_as_they_are():
    dataset = scene((128, 128))
    dataset.image = dataset.image * np.float64(-13.5) + 0.25
    np.testing.assert_array_equal(load(dataset).image, dataset.image.astype(np.float32))


def test_true_and_false_are_bytes():
    dataset = scene((128, 128))
    dataset.image = dataset.image > 0
    image = load(dataset).image
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, dataset.image)


MASKS = np.zeros((60, 100, 2), bool)


@pytest.mark.parametrize(
    "image, masks, class_ids, expected",
    [
        (np.zeros((60, 100, 4), np.uint8), MASKS, [1, 1], r"\(60, 100, 4\)"),
        (np.zeros((60, 100), np.uint8), MASKS, [1, 1], "IMAGE_CHANNEL_COUNT"),
        (np.zeros((0, 100, 3), np.uint8), MASKS, [1, 1], r"\(0, 100, 3\)"),
        (np.full((60, 100, 3), "a"), MASKS, [1, 1], "an image of numbers.*received <U1"),
        (np.full((60, 100, 3), 1j), MASKS, [1, 1], "an image of numbers.*received complex128"),
        (np.full((60, 100, 3), np.nan), MASKS, [1, 1], "18000 of 18000 values NaN or infinite"),
        (np.full((60, 100, 3), -np.inf), MASKS, [1, 1], "NaN or infinite.*Correct.*load_image"),
        (np.zeros((60, 100, 3), np.uint8), MASKS, [1], r"expected masks \(60, 100, 1\)"),
        (np.zeros((61, 100, 3), np.uint8), MASKS, [1, 1], r"received \(60, 100, 2\)"),
        (np.zeros((60, 100, 3), np.uint8), MASKS, [1, 3], "received 3"),
        (np.zeros((60, 100, 3), np.uint8), MASKS, [1, -4], "received -4"),
    ],
)
def test_what_does_not_fit_together_is_refused_by_name(image, masks, class_ids, expected):
    with pytest.raises(SampleError, match=expected) as caught:
        load(OneImage(image, masks, class_ids))
    assert "image 0 (source 'ours', id 'first', path 'folder/first.png')" in str(caught.value)


def test_a_data_set_must_tell_of_every_instance():
    dataset = scene()
    dataset.load_box_only = lambda image_id: np.array([True])
    with pytest.raises(SampleError, match="each of the 2 instances"):
        load(dataset)
