"""The cache changes no batch, keeps to its bound, and forgets what is out of date."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mrcnn
from mrcnn.config import Config
from mrcnn.data.augment import HorizontalFlip
from mrcnn.data.cache import FolderCache, MemoryCache, make_cache
from mrcnn.data.dataset import Dataset
from mrcnn.data.loader import Loader
from mrcnn.data.stream import SampleStream

COUNT = 6
NBYTES = 80 * 120 * 3  # of an image scaled by SmallConfig


class SmallConfig(Config):
    NAME = "small"
    NUM_CLASSES = 2
    IMAGE_MIN_DIM = 64
    IMAGE_MAX_DIM = 128
    MAX_GT_INSTANCES = 3
    LOADER_PREFETCH = 2


class Files(Dataset):
    """Image files of 40 x 60 pixels with two instances each; counts what is read."""

    def __init__(self, folder, count=COUNT):
        super().__init__()
        self.images_read = self.masks_read = 0
        self.add_class("files", 1, "thing")
        for k in range(count):
            path = Path(folder, f"{k}.png")
            if not path.exists():
                Image.fromarray(pixels(k)).save(path)
            self.add_image("files", image_id=k, path=str(path))
        self.prepare()

    def load_image(self, image_id):
        self.images_read += 1
        return super().load_image(image_id)

    def load_mask(self, image_id):
        self.masks_read += 1
        mask = np.zeros((40, 60, 2), bool)
        mask[5:30, image_id : 20 + image_id, 0] = True
        mask[10:40, 30:50, 1] = np.random.default_rng(image_id).random((30, 20)) < 0.5
        return mask, np.array([1, -1], np.int32)


class InvertedFiles(Files):
    def load_image(self, image_id):
        return 255 - super().load_image(image_id)


def pixels(seed):
    return np.random.default_rng(seed).integers(0, 256, (40, 60, 3), np.uint8)


def configure(**settings):
    return type("C", (SmallConfig,), {"IMAGE_MIN_DIM": 80, "IMAGE_MAX_DIM": 128, **settings})()


def loader(dataset, workers=0, **settings):
    read = dataset.images_read
    stream = SampleStream.of(dataset, configure(**settings), 3, HorizontalFlip())
    dataset.images_read = read  # the stream has looked at the first image, to know its kind
    return Loader(stream, workers)


def digest(loader_, steps=range(9)):
    with loader_:
        return [
            {name: array.tobytes() for name, array in loader_.batch(step).items()} for step in steps
        ]


@pytest.fixture(params=["ram", "folder"])
def cache(request, tmp_path):
    return "ram" if request.param == "ram" else str(tmp_path / "cache")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"IMAGE_RESIZE_MODE": "crop", "IMAGE_MIN_DIM": 64},
        {"IMAGE_RESIZE_MODE": "none", "IMAGE_PAD_SHAPE": (64, 64)},
        {"IMAGE_RESIZE_MODE": "pad64", "IMAGE_MIN_DIM": 64, "USE_MINI_MASK": False},
    ],
    ids=lambda settings: settings.get("IMAGE_RESIZE_MODE", "square"),
)
def test_batches_are_the_same_with_and_without(cache, tmp_path, settings):
    dataset = Files(tmp_path)
    plain = digest(loader(dataset, **settings))
    dataset.images_read = dataset.masks_read = 0
    assert digest(loader(dataset, LOADER_CACHE=cache, **settings)) == plain
    assert dataset.images_read == COUNT  # each once, though 18 were asked for
    assert dataset.masks_read == (COUNT if cache == "ram" else 18)
    assert digest(loader(dataset, LOADER_CACHE=cache, **settings)) == plain
    assert dataset.images_read == (2 * COUNT if cache == "ram" else COUNT)


def test_threads_share_it(cache, tmp_path):
    dataset = Files(tmp_path)
    plain = digest(loader(dataset))
    with loader(dataset, workers=3, LOADER_CACHE=cache) as cached:
        batches = [
            {name: array.tobytes() for name, array in batch.items()}
            for batch in cached.batches(0, 9)
        ]
    assert batches == plain


def test_what_a_caller_does_to_a_batch_stays_there(tmp_path):
    cached = loader(Files(tmp_path), LOADER_CACHE="ram")
    first = cached.batch(0)
    expected = {name: array.copy() for name, array in first.items()}
    sample = cached.sample(0)
    for array in (*first.values(), sample.image, sample.masks, sample.boxes, sample.class_ids):
        array[...] = 0
    np.testing.assert_equal(cached.batch(0), expected)


# --- The bound ----------------------------------------------------------------------------------


def test_it_keeps_to_its_bound_and_says_so_once(cache, tmp_path, caplog):
    dataset = Files(tmp_path)
    bounded = loader(dataset, LOADER_CACHE=cache, LOADER_CACHE_GB=3.7 * NBYTES / 1e9)
    with caplog.at_level(logging.WARNING):
        assert digest(bounded) == digest(loader(Files(tmp_path)))
    assert len([r for r in caplog.records if "LOADER_CACHE_GB" in r.message]) == 1
    kept = COUNT - (dataset.images_read - COUNT) / 2  # of three passes
    assert kept in (2, 3)
    if cache != "ram":
        assert len(os.listdir(cache)) == kept


def test_what_a_folder_holds_already_counts(tmp_path):
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / "other.npy").write_bytes(b"0" * 2 * NBYTES)
    digest(loader(Files(tmp_path), LOADER_CACHE=str(folder), LOADER_CACHE_GB=3.5 * NBYTES / 1e9))
    assert len(os.listdir(folder)) == 1 + 1


def test_processes_divide_the_bound():
    config = configure(LOADER_CACHE="ram", LOADER_CACHE_GB=1)
    assert make_cache(config, processes=4)._limit == 25 * 10**7
    function, arguments = make_cache(config, processes=4).__reduce__()
    assert function(*arguments)._limit == 25 * 10**7
    assert make_cache(configure()) is None
    assert isinstance(make_cache(config), MemoryCache)


# --- What is out of date -----------------------------------------------------------------------


def test_a_folder_knows_images_settings_and_code(tmp_path):
    folder = str(tmp_path / "cache")

    def read(dataset, **settings):
        dataset.images_read = 0
        cached = digest(loader(dataset, LOADER_CACHE=folder, **settings))
        count = dataset.images_read
        assert cached == digest(loader(dataset, **settings))
        return count

    assert read(Files(tmp_path)) == COUNT
    assert read(Files(tmp_path)) == 0
    Image.fromarray(255 - pixels(0)).save(tmp_path / "0.png")
    os.utime(tmp_path / "0.png", ns=(1, 1))
    assert read(Files(tmp_path)) == 1
    assert read(Files(tmp_path), IMAGE_MIN_DIM=64) == COUNT
    assert read(InvertedFiles(tmp_path)) == COUNT
    assert read(Files(tmp_path)) == 0
    assert len(os.listdir(folder)) == 3 * COUNT + 1


def test_annotations_are_never_out_of_date(tmp_path):
    folder = str(tmp_path / "cache")
    digest(loader(Files(tmp_path), LOADER_CACHE=folder))

    class Corrected(Files):
        def load_mask(self, image_id):
            masks, class_ids = super().load_mask(image_id)
            return masks[:, ::-1], class_ids

    corrected = digest(loader(Corrected(tmp_path), LOADER_CACHE=folder))
    assert corrected == digest(loader(Corrected(tmp_path)))


@pytest.mark.parametrize("keep", [0, 100, -3])
def test_a_broken_file_is_replaced(tmp_path, caplog, keep):
    folder = tmp_path / "cache"
    plain = digest(loader(Files(tmp_path), LOADER_CACHE=str(folder)))
    broken = min(folder.iterdir())
    whole = broken.read_bytes()
    broken.write_bytes(whole[:keep])
    dataset = Files(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert digest(loader(dataset, LOADER_CACHE=str(folder))) == plain
    assert broken.name in caplog.text and dataset.images_read == 1
    assert broken.read_bytes() == whole


def test_images_that_are_no_files_are_read_each_time(tmp_path):
    dataset = Files(tmp_path)
    for info in dataset.image_info:
        info["path"] = None
    dataset.load_image = lambda image_id: pixels(image_id)
    folder = tmp_path / "cache"
    assert digest(loader(dataset, LOADER_CACHE=str(folder))) == digest(loader(dataset))
    assert os.listdir(folder) == []


# --- Errors --------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_made_is_refused_at_once(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="LOADER_CACHE: expected 'ram' or a folder"):
        loader(Files(tmp_path), LOADER_CACHE=str(tmp_path / "file" / "cache"))


def test_a_disk_that_takes_no_more_is_told_and_training_goes_on(tmp_path, caplog, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    dataset, folder = Files(tmp_path), tmp_path / "cache"
    cached = loader(dataset, LOADER_CACHE=str(folder))
    monkeypatch.setattr(np, "save", full)
    with caplog.at_level(logging.WARNING):
        assert digest(cached) == digest(loader(Files(tmp_path)))
    assert caplog.text.count("No space left") == 1
    assert os.listdir(folder) == []


def test_a_load_of_ones_own_is_refused(tmp_path):
    config = configure(LOADER_CACHE="ram")
    with pytest.raises(ValueError, match="load: LOADER_CACHE"):
        Loader(SampleStream.of(Files(tmp_path), config, 0, load=lambda *arguments: None))


# --- Processes -----------------------------------------------------------------------------

SCRIPT = """
import os, sys
sys.path.insert(0, os.path.dirname(__file__))
from test_cache import Files, configure, Loader, HorizontalFlip, SampleStream

def hashes(cache, workers):
    config = configure(LOADER_CACHE=cache)
    dataset = Files(sys.argv[1])
    config.LOADER_PROCESSES = workers > 0
    with Loader(SampleStream.of(dataset, config, 3, HorizontalFlip()), workers) as loader:
        return [
            {name: array.tobytes() for name, array in batch.items()}
            for batch in loader.batches(0, 9)
        ]

if __name__ == "__main__":
    folder = os.path.join(sys.argv[1], "cache")
    plain = hashes(None, 0)
    assert hashes(folder, 2) == plain
    files = sorted(os.listdir(folder))
    assert len(files) == 6 and all(name.endswith(".npy") for name in files), files
    assert hashes(folder, 0) == plain and sorted(os.listdir(folder)) == files
    print("done")
"""


def test_processes_share_a_folder(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("os.path.dirname(__file__)", repr(str(Path(__file__).parent))))
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(mrcnn.__file__).parent.parent)},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"


def test_caches_travel_empty_to_processes(tmp_path):
    cache = FolderCache(tmp_path / "cache", 1000, {}, 2)
    function, arguments = cache.__reduce__()
    again = function(*arguments)
    assert (again._folder, again._total, again._processes) == (tmp_path / "cache", 1000, 2)
