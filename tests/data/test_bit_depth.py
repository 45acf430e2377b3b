"""Grey images of more than 8 bits keep their grey levels, and the brightness of one to another."""

from __future__ import annotations

import logging
import pickle

import numpy as np
import pytest
from PIL import Image

from mrcnn.config import Config
from mrcnn.data import bit_depth
from mrcnn.data.dataset import Dataset, grey_depths
from mrcnn.data.images import read_image
from mrcnn.data.orientation import load_image


def write(folder, name, values, dtype=np.uint16, **options):
    Image.fromarray(np.asarray(values).astype(dtype)).save(folder / name, **options)
    return str(folder / name)


def ramp(largest):
    return np.linspace(0, largest, 32 * 32).round().reshape(32, 32)


def dataset_of(*paths, source="x"):
    dataset = Dataset()
    for number, path in enumerate(paths):
        dataset.add_image(source, number, path)
    dataset.prepare()
    return dataset


@pytest.mark.parametrize(
    ("largest", "depth"),
    [(0, 8), (254, 8), (255, 8), (256, 10), (1023, 10), (4095, 12), (4096, 14), (65_535, 16)],
)
def test_the_depth_is_the_smallest_that_holds_the_largest_value(tmp_path, largest, depth):
    assert bit_depth.depth_of(largest) == depth
    values = ramp(largest).astype(int)
    for name, dtype in (("a.png", np.uint16), ("a.tif", np.uint16), ("b.tif", np.int32)):
        path = write(tmp_path, name, values, dtype)
        read = read_image(path)
        assert read.dtype == np.uint8
        np.testing.assert_array_equal(read, np.stack([values >> (depth - 8)] * 3, axis=-1))
        np.testing.assert_array_equal(dataset_of(path).load_image(0), read)


def test_a_set_has_one_depth_which_is_said_once(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    dark, bright = ramp(200).astype(int), ramp(4000).astype(int)
    dataset = dataset_of(
        write(tmp_path, "dark.png", dark),
        write(tmp_path, "bright.png", bright),
        write(tmp_path, "color.png", np.zeros((4, 4, 3)), np.uint8),
        str(tmp_path / "missing.png"),
        None,
    )
    for _ in range(2):
        np.testing.assert_array_equal(dataset.load_image(0)[..., 0], dark >> 4)
        np.testing.assert_array_equal(dataset.load_image(1)[..., 0], bright >> 4)
    (message,) = caplog.messages
    assert "'x' have more than 8 bits, the largest value of 2 of them is 4000" in message
    assert "taken as 12 bits and divided by 16" in message
    copy = pickle.loads(pickle.dumps(dataset))  # as worker processes get it
    np.testing.assert_array_equal(copy.load_image(0)[..., 0], dark >> 4)


def test_the_tags_of_a_file_come_first(tmp_path):
    path = write(tmp_path, "a.tif", ramp(200), tiffinfo={281: 4095})
    np.testing.assert_array_equal(read_image(path)[..., 0], ramp(200).astype(int) >> 4)
    other = write(tmp_path, "b.tif", ramp(65_535))
    np.testing.assert_array_equal(
        dataset_of(path, other).load_image(0)[..., 0], ramp(200).astype(int) >> 4
    )


def test_a_value_above_those_of_the_sample_is_said_and_becomes_white(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(bit_depth, "SAMPLED", 1)
    paths = [write(tmp_path, f"{k}.png", ramp(largest)) for k, largest in enumerate((4095, 9000))]
    dataset = dataset_of(*paths)
    for _ in range(2):
        read = dataset.load_image(1)[..., 0]
    assert (read[ramp(9000) >= 4096] == 255).all()
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "1.png holds values up to 9000, more than the 12 bits" in record.message
    assert "Set GREY_BIT_DEPTH to 14" in record.message


def test_what_16_bits_do_not_hold_is_refused(tmp_path):
    for value in (70_000, -1):
        path = write(tmp_path, "wide.tif", np.full((3, 3), value), np.int32)
        with pytest.raises(ValueError, match=r"wide\.tif.*do not fit 16 bits"):
            dataset_of(path).load_image(0)


def test_the_setting_holds_for_all_images_or_for_a_source(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    dark = ramp(200).astype(int)
    dataset = dataset_of(write(tmp_path, "dark.png", dark))
    for setting, depth in ((12, 12), ({"x": 16}, 16), ({"y": 16}, 8), (None, 8)):
        config = type("Some", (Config,), {"NAME": "x", "GREY_BIT_DEPTH": setting})()
        read = load_image(dataset, 0, config)[..., 0]
        np.testing.assert_array_equal(read, dark >> (depth - 8))
    (message,) = caplog.messages  # of what was found, not of what was given
    assert "taken as 8 bits" in message
    tagged = dataset_of(write(tmp_path, "tagged.tif", ramp(200), tiffinfo={281: 4095}))
    config = type("Some", (Config,), {"NAME": "x", "GREY_BIT_DEPTH": 16})()
    np.testing.assert_array_equal(load_image(tagged, 0, config)[..., 0], dark >> 4)


@pytest.mark.parametrize("value", [7, 17, 12.5, True, "12", {"x": 7}, {1: 12}, [12]])
def test_the_setting_is_checked(value):
    with pytest.raises(ValueError, match="GREY_BIT_DEPTH: expected None, an integer from 8 to 16"):
        type("Some", (Config,), {"NAME": "x", "GREY_BIT_DEPTH": value})()


def test_the_depths_of_a_data_set_are_those_of_its_sources(tmp_path):
    dataset = dataset_of(write(tmp_path, "dark.png", ramp(200)))
    dataset.add_image("y", 1, write(tmp_path, "bright.png", ramp(4000)))
    dataset.add_image("z", 2, write(tmp_path, "color.png", np.zeros((4, 4, 3)), np.uint8))
    dataset.add_image("z", 3, None)
    assert grey_depths(dataset) == {"x": 8, "y": 12}

    class Own(Dataset):
        def load_image(self, image_id):
            raise AssertionError

    own = Own()
    own.image_info = dataset.image_info
    assert grey_depths(own) == {}


def test_a_deep_image_that_the_sample_missed_is_not_taken_for_8_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(bit_depth, "SAMPLED", 1)
    paths = [write(tmp_path, "color.png", np.zeros((4, 4, 3)), np.uint8)]
    paths += [write(tmp_path, f"{k}.png", ramp(top)) for k, top in enumerate((200, 4000))]
    dataset = dataset_of(*paths)
    assert grey_depths(dataset) == {}
    np.testing.assert_array_equal(dataset.load_image(1)[..., 0], ramp(200).astype(int) >> 4)
