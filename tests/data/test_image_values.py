"""Images of bytes and of any other values, from a data set to the loader's batch."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from mrcnn.data import image_values
from mrcnn.data.dataset import Dataset
from mrcnn.data.loader import Loader
from mrcnn.data.resize import resize_image
from mrcnn.data.stream import SampleStream
from tests.data.test_sample import OneImage, SquareConfig, boxes_of_masks, load
from tests.tiny import tiny_config

MASKS = boxes_of_masks((64, 64), (10, 10, 40, 40))


class Images(Dataset):
    """Images in memory, each with one square."""

    def __init__(self, *images: np.ndarray | Exception) -> None:
        super().__init__()
        self.images = images
        self.add_class("ours", 1, "a")
        self.add_class("ours", 2, "b")
        for i in range(len(images)):
            self.add_image("ours", image_id=f"image-{i}", path=None)
        self.prepare()

    def load_image(self, image_id: int) -> np.ndarray:
        image = self.images[image_id]
        if isinstance(image, Exception):
            raise image
        return image

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        return MASKS, np.array([1], np.int32)


def numbers(low: float, high: float, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(0).uniform(low, high, (64, 64, 3)).astype(dtype)


BYTES = numbers(0, 255, "uint8")


def batches(dataset: Dataset, steps: int = 2, **settings) -> list[dict[str, np.ndarray]]:
    config = tiny_config(IMAGES_PER_GPU=1, LOADER_MAX_BAD_SHARE=0.5, **settings)
    stream = SampleStream.of(dataset, config, seed=0, shuffle=False)
    with Loader(stream, workers=0) as loader:
        found = list(loader.batches(0, steps))
        assert {str(batch["input_image"].dtype) for batch in found} == {loader.image_dtype}
    return found


@pytest.mark.parametrize(
    "image",
    [
        numbers(-1024, 3071, "int16"),
        numbers(0, 65535, "uint16"),
        numbers(0, 0.4),
        numbers(0, 1, "float64"),
        numbers(-3, 3, "float16"),
    ],
    ids=lambda image: str(image.dtype),
)
def test_values_reach_the_batch_as_they_are(image):
    for batch in batches(Images(image, image)):
        assert batch["input_image"].dtype == np.float32
        np.testing.assert_array_equal(batch["input_image"][0], image.astype(np.float32))


def test_they_are_resized_as_matterports_resize_them():
    """In their own dtype, padded with zeros; what comes to the network is float32."""
    for image in (numbers(-1024, 3071, "int16"), numbers(0, 0.4)):
        image = image[:40]
        sample = load(OneImage(image, MASKS[:40], [1]), SquareConfig())
        expected = resize_image(image, min_dim=64, max_dim=128)[0]
        assert expected.dtype == image.dtype and sample.image.dtype == np.float32
        np.testing.assert_array_equal(sample.image, expected.astype(np.float32))
        assert not sample.image[0].any()


def test_the_first_image_decides_for_all():
    mixed = batches(Images(numbers(0, 255), BYTES))
    np.testing.assert_array_equal(mixed[1]["input_image"][0], BYTES)
    whole = batches(Images(BYTES, BYTES.astype(np.float64) + 0.3))
    np.testing.assert_array_equal(whole[1]["input_image"][0], BYTES)


def test_what_does_not_fit_bytes_is_named(caplog):
    dataset = Images(BYTES, BYTES, BYTES, numbers(0, 1))
    with caplog.at_level(logging.WARNING, "mrcnn"):
        batches(dataset, steps=4)
    message = caplog.text
    assert "image 3 (source 'ours', id 'image-3'" in message
    assert "the data set's first image has them as uint8" in message and "float32" in message


def test_an_image_that_cannot_be_read_does_not_decide():
    dataset = Images(OSError("gone"), numbers(-5, 5), numbers(-5, 5))
    assert image_values.kind_of(dataset, tiny_config())[0] == image_values.NUMBERS


def test_data_sets_that_read_files_are_not_read_for_it(monkeypatch):
    monkeypatch.setattr(Dataset, "load_image", lambda *_: pytest.fail("not needed"))
    dataset = Dataset()
    dataset.add_image("ours", image_id=0, path="gone.png")
    dataset.prepare()
    assert image_values.kind_of(dataset, tiny_config()) == (image_values.BYTES, None)


@pytest.mark.parametrize(
    "image, mean, said",
    [
        (numbers(-1000, 1000), [123.7, 116.8, 103.9], "nothing else is done"),
        (numbers(0, 1), [123.7, 116.8, 103.9], "set MEAN_PIXEL to the mean of their channels"),
        (numbers(0, 1), [0.5, 0.4, 0.4], None),
        (numbers(0, 255), [123.7, 116.8, 103.9], None),
    ],
)
def test_unusual_ranges_are_said_once(caplog, image, mean, said):
    with caplog.at_level(logging.WARNING, "mrcnn"):
        batches(Images(image, image, image), steps=3, MEAN_PIXEL=mean)
    assert caplog.text.count("MEAN_PIXEL [") == (said is not None)
    assert (said or "") in caplog.text


@pytest.mark.parametrize("cache", ["ram", "folder"])
def test_a_cache_keeps_them(tmp_path, cache):
    images = []
    for i in range(2):
        np.save(tmp_path / f"{i}.npy", numbers(-50, 500 + i))
        images.append(np.load(tmp_path / f"{i}.npy"))
    dataset = Images(*images)
    for i, info in enumerate(dataset.image_info):
        info["path"] = str(tmp_path / f"{i}.npy")
    settings = {"LOADER_CACHE": "ram" if cache == "ram" else str(tmp_path / "cache")}
    found = batches(dataset, steps=4, **settings)
    for step, batch in enumerate(found):
        np.testing.assert_array_equal(batch["input_image"][0], images[step % 2])


def test_worker_processes_give_the_same_batches():
    dataset = Images(numbers(-1, 1), numbers(-2, 2))
    config = tiny_config(LOADER_PROCESSES=True)
    stream = SampleStream.of(dataset, config, seed=0)
    with Loader(stream, workers=1) as loader:
        (there,) = loader.batches(0, 1)
    with Loader(stream, workers=0) as loader:
        (here,) = loader.batches(0, 1)
    for name, values in here.items():
        np.testing.assert_array_equal(there[name], values)
    assert here["input_image"].dtype == np.float32
