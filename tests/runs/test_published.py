"""Weights by name: downloaded when asked for, checked, converted once, and found again."""

from __future__ import annotations

import hashlib
import pickle
import shutil
from pathlib import Path

import pytest

import mrcnn
from mrcnn.files.download import DownloadError
from mrcnn.runs import published, start_weights
from mrcnn.runs.published import PUBLISHED, Published
from tests.detectron2_tensors import calibrated, fixture
from tests.detectron2_tensors import tensors as random_tensors
from tests.runs.test_conversion import tensors, write_safetensors


@pytest.fixture
def store(server, tmp_path: Path, monkeypatch) -> Path:
    """torchvision's store on this machine, and an empty cache, of which this is the folder."""
    file = write_safetensors(tmp_path / "theirs.safetensors", tensors())
    content = file.read_bytes()
    file.unlink()
    name = f"theirs-{hashlib.sha256(content).hexdigest()[:8]}.safetensors"
    server.files[f"/{name}"] = content
    monkeypatch.setattr(published, "_TORCHVISION", f"{server.url}/")
    monkeypatch.setitem(PUBLISHED, "torchvision", Published(name, "some data", "mask AP 1"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return tmp_path / "keras" / "models" / "mrcnn"


def test_weights_come_once_and_the_license_is_printed(server, store: Path, capsys):
    weights = published.resolve("Torchvision")
    assert Path(weights) == store / "torchvision" / "weights.h5"
    printed = capsys.readouterr().out
    assert "BSD-3-Clause" in printed and "some data" in printed and "mask AP 1" in printed
    assert sorted(path.name for path in store.iterdir()) == ["torchvision"]  # no source, no part
    assert published.resolve("torchvision") == weights
    assert len(server.requests) == 1
    assert start_weights.settings_beside("torchvision")["BACKBONE"] == "resnet18"
    assert not start_weights.starts_untrained("torchvision")
    model = mrcnn.load("torchvision", IMAGE_MIN_DIM=64, IMAGE_MAX_DIM=64)
    assert model.class_names == ["BG", "class 1", "class 2"] and len(server.requests) == 1


def test_another_file_than_the_published_one_is_refused(server, store: Path):
    (address,) = [path for path in server.files if "theirs" in path]
    server.files[address] = server.files[address][:-1] + b"!"
    with pytest.raises(DownloadError, match="expected sha256"):
        published.resolve("torchvision")
    assert not any(store.rglob("*.h5"))


def test_a_conversion_that_fails_leaves_the_download_alone(server, store: Path, monkeypatch):
    def broken(*_, **__):
        raise ValueError("no PyTorch")

    with monkeypatch.context() as patched:
        patched.setattr("mrcnn.runs.conversion.convert", broken)
        with pytest.raises(ValueError, match="no PyTorch"):
            published.resolve("torchvision")
    assert [path.suffix for path in store.iterdir()] == [".safetensors"]
    published.resolve("torchvision")
    assert len(server.requests) == 1  # it was not fetched again


def test_other_names_are_left_alone():
    for name in ("logs/run", "coco", "torchvision.h5"):
        assert published.resolve(name) == name


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_file_names_its_checksum(name: str):
    one = PUBLISHED[name]
    ((algorithm, digest),) = one.checksum.items()
    expected = {"torchvision": ("sha256", 8, ".pth"), "Detectron2": ("md5", 6, ".pkl")}
    assert (algorithm, len(digest), one.url[-4:]) == expected[one.publisher]
    assert int(digest, 16) >= 0 and one.url.startswith("https://")


def test_detectron2s_model_is_checked_by_its_md5_and_converted(
    server, store: Path, monkeypatch, capsys
):
    given = fixture("normed")
    content = pickle.dumps({"model": calibrated(random_tensors(given.shapes), given)})
    name = f"a_model/1/model_final_{hashlib.md5(content).hexdigest()[:6]}.pkl"
    server.files[f"/{name}"] = content
    monkeypatch.setattr(published, "_DETECTRON2", f"{server.url}/")
    names, small = ["a", "b", "c", "d"], {"IMAGE_MIN_DIM": 64, "IMAGE_MAX_DIM": 96}
    entry = Published(name, "some data", "mask AP 2", "Detectron2", names, small)
    monkeypatch.setitem(PUBLISHED, "detectron2", entry)
    weights = published.resolve("detectron2")
    printed = capsys.readouterr().out
    assert "CC BY-SA 3.0" in printed and "some data" in printed and "mask AP 2" in printed
    assert Path(weights) == store / "detectron2" / "weights.h5"
    assert [path.name for path in store.iterdir()] == ["detectron2"]
    model = mrcnn.load("detectron2")
    assert model.class_names == ["BG", *names] and model.config.IMAGE_MIN_DIM == 64
    shutil.rmtree(store)
    server.files[f"/{name}"] = content[:-1] + b"!"
    with pytest.raises(DownloadError, match="expected md5"):
        published.resolve("detectron2")
