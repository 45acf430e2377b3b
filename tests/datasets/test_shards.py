"""WebDataset's shards with their annotations train as the same data set in COCO's layout."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mrcnn.commands import cli
from mrcnn.config import Config
from mrcnn.data.loader import Loader
from mrcnn.data.stream import SampleStream
from mrcnn.datasets.class_folders import is_class_folders
from mrcnn.datasets.coco import CocoDataset
from mrcnn.datasets.formats import to_webdataset
from mrcnn.datasets.formats.convert import convert
from mrcnn.datasets.layouts import find_split, find_subsets

SIDE = 64
CLASSES = [{"id": 4, "name": "one"}, {"id": 2, "name": "two"}]


class SmallConfig(Config):
    NAME = "small"
    NUM_CLASSES = 3
    IMAGES_PER_GPU = 2
    IMAGE_MIN_DIM = IMAGE_MAX_DIM = SIDE
    LOADER_MAX_BAD_SHARE = 0.0


def png(seed: int) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def entry(count: int, **fields: Any) -> dict[str, Any]:
    """The json of an image."""
    objects = [
        {"category_id": (4, 2)[k % 2], "segmentation": [[k, 2, k + 20, 2, k + 20, 30, k, 30]]}
        for k in range(count)
    ]
    return {"width": 60, "height": 40, "annotations": objects, **fields}


def write_shard(path: Path, members: dict[str, bytes | dict | list]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Two shards to train on and one to validate, as others write them."""
    folder = tmp_path / "shards"
    write_shard(
        folder / "train-000000.tar",
        {"./a.json": entry(2), "./a.png": png(1), "./b.c.png": png(2), "./b.json": entry(1)},
    )
    write_shard(
        folder / "train-000001.tar",
        # The same name in another shard; and what WebDataset has beside pictures.
        {"a.png": png(3), "a.json": entry(3), "a.txt": b"a caption", "deep/x.png": png(4)},
    )
    write_shard(folder / "val-000000.tar", {"v.png": png(5), "v.json": entry(1)})
    (folder / "categories.json").write_text(json.dumps(CLASSES))
    return folder


def test_images_and_objects_are_those_of_the_shards(shards):
    train, val = CocoDataset.of(shards, "train"), CocoDataset.of(shards, "val")
    assert train.class_names == ["BG", "two", "one"]  # by ascending id, as in COCO's format
    assert (len(train.image_ids), len(val.image_ids)) == (3, 1)
    counts = []
    for image_id, seed in zip(train.image_ids, (1, 2, 3), strict=True):
        expected = np.asarray(Image.open(io.BytesIO(png(seed))))
        np.testing.assert_array_equal(train.load_image(image_id), expected)
        masks, class_ids = train.load_mask(image_id)
        counts.append(len(class_ids))
        assert masks[5, 10].all() and not masks[35].any() and class_ids[0] == 2
    assert counts == [2, 1, 3]
    subsets = find_subsets(shards)
    assert [files.name for files in subsets] == ["train", "val"]
    assert not is_class_folders(shards)


def test_batches_are_those_of_a_folder(shards, tmp_path):
    convert(find_subsets(shards), tmp_path / "coco", "coco")
    batches = []
    for folder in (shards, tmp_path / "coco"):
        stream = SampleStream.of(CocoDataset.of(folder, "train"), SmallConfig(), seed=3)
        with Loader(stream, workers=0) as loader:
            batches.append([loader.batch(step) for step in range(4)])
    for one, other in zip(*batches, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_a_data_set_becomes_shards_of_some_images(shards, tmp_path, monkeypatch):
    monkeypatch.setattr(to_webdataset, "IMAGES_A_SHARD", 2)
    convert(find_subsets(shards), tmp_path / "out", "webdataset")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    expected = ["categories.json", "train-000000.tar", "train-000001.tar", "val-000000.tar"]
    assert names == expected
    first, second = (CocoDataset.of(folder, "train") for folder in (shards, tmp_path / "out"))
    assert first.class_names == second.class_names
    for image_id in first.image_ids:
        for one, other in zip(
            (first.load_image(image_id), *first.load_mask(image_id)),
            (second.load_image(image_id), *second.load_mask(image_id)),
            strict=True,
        ):
            np.testing.assert_array_equal(one, other)
    # The same data set, the same files.
    convert(find_subsets(shards), tmp_path / "again", "webdataset")
    for name in names:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_the_commands_take_a_folder_of_shards(shards, tmp_path, capsys):
    assert cli.main(["check", str(shards)]) == 0
    said = "".join(capsys.readouterr())
    assert "WebDataset's shards, 3 images with 6 objects; 1 images without a json left out" in said
    out = str(tmp_path / "yolo")
    assert cli.main(["convert-data", str(shards), out, "--to", "yolo"]) == 0
    assert (tmp_path / "yolo" / "data.yaml").is_file()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.png": b"", "a.json": []}, "train.tar, a.json: expected the entry of an image"),
        ({"a.png": b"", "a.json": {"width": 1}}, "a.json: expected the entry of an image"),
        ({"a.png": b"", "a.json": b"{"}, "train.tar, a.json: expected a json; it cannot be read"),
        ({"a.png": b"", "a.json": b"[" * 99999}, "a.json: expected a json; it cannot be read"),
        ({"a.png": b"", "a.json": entry(0, annotations=[7])}, "a.json, annotation 0: expected an"),
        ({"a.png": b"", "a.x.jpg": b"", "a.json": entry(0)}, "received a.png and a.x.jpg"),
        ({"a.png": png(0), "a.json": entry(1, width=None)}, "field 'width'"),
        (
            {"a.png": png(0), "a.json": entry(0, annotations=[{"category_id": 9}])},
            "train.tar/a.json, 0",
        ),
        (
            {"a.png": png(0), "a.json": entry(0, id=1), "b.png": png(0), "b.json": entry(0, id=1)},
            "expected each image id once; 1",
        ),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, members, message):
    write_shard(tmp_path / "train.tar", members)
    (tmp_path / "categories.json").write_text(json.dumps(CLASSES))
    with pytest.raises((ValueError, OSError)) as raised:
        CocoDataset.of(tmp_path, "train")
    assert message in str(raised.value)


def test_a_json_that_is_too_large_is_not_read(shards, monkeypatch):
    monkeypatch.setattr("mrcnn.datasets.shards.MAX_JSON_BYTES", 20)
    (shards / "categories.json").touch()  # not what was read before
    with pytest.raises(ValueError, match="expected a json of at most 20 bytes; it has"):
        CocoDataset.of(shards, "val")


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "there is no such file"), ("7", "received 7"), ("[", "cannot be read as json")],
)
def test_the_classes_must_be_there(shards, content, message):
    file = shards / "categories.json"
    file.unlink()
    if content is not None:
        file.write_text(content)
    with pytest.raises((ValueError, OSError), match="categories.json: expected") as raised:
        CocoDataset.of(shards, "train")
    assert message in str(raised.value)


def test_a_subset_that_is_not_there_is_told(shards):
    with pytest.raises(FileNotFoundError, match=r"subset 'test'; found those of train \(2\), val"):
        find_split(shards, "test")
    with pytest.raises(ValueError, match="images may lie elsewhere.*found WebDataset's shards"):
        find_split(shards, "train", image_dir="memory://x")


def test_tar_files_without_a_json_are_none(tmp_path):
    write_shard(tmp_path / "train.tar", {"a.png": png(0)})
    with pytest.raises(FileNotFoundError, match="expected the annotations of the subset 'train'"):
        find_split(tmp_path, "train")
