"""Images at addresses and in tar files train as those of a folder do, batch for batch."""

from __future__ import annotations

import builtins
import contextlib
import io
import json
import os
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mrcnn.checkpoints.fingerprints import fingerprint
from mrcnn.config import Config
from mrcnn.data.loader import Loader
from mrcnn.data.stream import SampleStream
from mrcnn.datasets.coco import CocoDataset
from mrcnn.datasets.formats.convert import convert
from mrcnn.datasets.image_stores import LocalFolder, open_store, place_of
from mrcnn.datasets.layouts import find_split, find_subsets
from mrcnn.doctor.examine import DatasetFiles, examine
from mrcnn.doctor.fixes import fix
from mrcnn.doctor.report import to_dict
from mrcnn.files import json_items
from mrcnn.files.addresses import RemotePath, name_of
from mrcnn.files.remote_image import local_image
from mrcnn.runs.division import divide_dataset

fsspec = pytest.importorskip("fsspec", reason="pip install '.[remote]'")

SIDE = 64
NAMES = ["a0.png", "sub/a1.png", "ä2.png", "sub/a3.png", "deep/er/a4.png", "a5.jpg"]
PLACES = ["memory", "zip", "zip of a folder", "tar", "tars", "zip of tars"]


class SmallConfig(Config):
    NAME = "small"
    NUM_CLASSES = 3
    IMAGES_PER_GPU = 2
    IMAGE_MIN_DIM = IMAGE_MAX_DIM = SIDE
    LOADER_MAX_BAD_SHARE = 0.0


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data set in COCO's layout."""
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for number, name in enumerate(NAMES):
        file = tmp_path / "data" / "train" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (40 + number, 60, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(file)
        images.append({"id": number, "file_name": name, "height": 40 + number, "width": 60})
        for k in range(number):
            corners = [k, 2, k + 20, 2, k + 20, 30 - k, k, 30]
            entry = {"id": len(annotations), "image_id": number, "category_id": 1 + k % 2}
            annotations.append({**entry, "segmentation": [corners], "bbox": [k, 2, 20, 28]})
    categories = [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "data" / "annotations").mkdir()
    file = tmp_path / "data" / "annotations" / "instances_train.json"
    file.write_text(json.dumps(content))
    return tmp_path / "data"


def write_tar(path: Path, folder: Path, names: list[str], start: str = "") -> Path:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name in names:
            label = tarfile.TarInfo(f"{start}{Path(name).with_suffix('.json')}")
            label.size = 2
            tar.addfile(label, io.BytesIO(b"{}"))
            tar.add(folder / name, start + name)
    return path


@contextlib.contextmanager
def put(data: Path, place: str) -> Iterator[str]:
    """The images at a place, and no longer in their folder."""
    folder, out = data / "train", data.parent
    if place == "memory":
        memory = fsspec.filesystem("memory")
        for name in NAMES:
            memory.pipe_file(f"/bucket/train/{name}", (folder / name).read_bytes())
        address = "memory://bucket/train"
    elif place == "tar":
        address = str(write_tar(out / "all.tar", folder, NAMES, "./"))
    elif place in ("tars", "zip of tars"):
        for number in range(3):
            write_tar(out / "shards" / f"train-{number}.tar", folder, NAMES[number::3])
        address = f"{out}/shards/train-*.tar"
        if place == "zip of tars":
            with zipfile.ZipFile(out / "shards.zip", "w") as archive:
                for number in range(3):
                    archive.write(out / "shards" / f"train-{number}.tar", f"s/train-{number}.tar")
            address = f"zip://s/train-*.tar::file://{out}/shards.zip"
    else:
        inside = "photos/" if place == "zip of a folder" else ""
        with zipfile.ZipFile(out / "all.zip", "w") as archive:
            for name in NAMES:
                archive.write(folder / name, inside + name)
        address = f"zip://{inside}::file://{out}/all.zip"
    shutil.move(folder, out / "moved")
    try:
        yield address
    finally:
        shutil.move(out / "moved", folder)
        if place == "memory":
            memory.rm("/bucket", recursive=True)


def batches(dataset: CocoDataset, **settings: Any) -> list[Any]:
    config = type("OwnConfig", (SmallConfig,), settings)()
    with Loader(SampleStream.of(dataset, config, 3), workers=2) as loader:
        return [batch for batch, _ in zip(loader.batches(), range(5), strict=False)]


def expect_equal(found: list[Any], expected: list[Any]) -> None:
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name in other:
            np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.parametrize("least", [0, 1 << 20], ids=["in columns", "in lists"])
@pytest.mark.parametrize("place", PLACES)
def test_batches_are_those_of_the_folder(
    data: Path, place: str, least: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(json_items, "MIN_BYTES", least)
    local = CocoDataset.of(data, "train")
    expected = batches(local)
    with put(data, place) as address:
        elsewhere = CocoDataset.of(data, "train", image_dir=address)
        expect_equal(batches(elsewhere), expected)
        assert fingerprint(elsewhere) == fingerprint(local)
        assert elsewhere.summary() == local.summary()
        paths = [info["path"] for info in elsewhere.image_info]
    assert all(isinstance(path, RemotePath) for path in paths)
    names = [name_of(info["path"]) for info in local.image_info]
    assert [name_of(path) for path in paths] == names


@pytest.mark.parametrize("place", ["zip", "tars"])
def test_processes_read_for_themselves(data: Path, place: str):
    expected = batches(CocoDataset.of(data, "train"))
    with put(data, place) as address:
        dataset = CocoDataset.of(data, "train", image_dir=address)
        expect_equal(batches(dataset, LOADER_PROCESSES=True), expected)


@pytest.mark.parametrize("place", ["memory", "tars"])
def test_the_cache_holds_them_until_they_change(data: Path, place: str, tmp_path: Path):
    expected = batches(CocoDataset.of(data, "train"))
    cache = {"LOADER_CACHE": str(tmp_path / "cache")}
    with put(data, place) as address:
        dataset = CocoDataset.of(data, "train", image_dir=address)
        expect_equal(batches(dataset, **cache), expected)
        kept = sorted(os.listdir(tmp_path / "cache"))
        expect_equal(batches(dataset, **cache), expected)
        assert sorted(os.listdir(tmp_path / "cache")) == kept and len(kept) >= len(NAMES)
        path = dataset.image_info[0]["path"]
        version = path.version()
        assert version is not None and path.version() == version
        if place == "memory":
            fsspec.filesystem("memory").pipe_file("/bucket/train/a0.png", path.read() + b"more")
        else:
            os.utime(path.partition("#")[0], ns=(5, 5))
        assert path.version() != version
        batches(dataset, **cache)
        assert len(os.listdir(tmp_path / "cache")) > len(kept)


@pytest.mark.parametrize("place", ["memory", "tars"])
@pytest.mark.parametrize("quick", [True, False])
def test_the_doctor_finds_the_same(data: Path, place: str, quick: bool, tmp_path: Path):
    def found(image_dir: str | None) -> Any:
        files = DatasetFiles(data, val=None, image_dir=image_dir)
        examination = examine(files, Config(), quick=quick, progress=False)
        kinds = [(f.kind, f.id, f.message.split(": ", 1)[1]) for f in examination.findings]
        return kinds, to_dict(examination)["kinds"], examination

    # One file is not what its entry says, and one is listed by nobody.
    Image.new("RGB", (60, 41)).save(data / "train" / "a0.png")
    NAMES.append("unlisted.png")
    try:
        Image.new("RGB", (5, 5)).save(data / "train" / "unlisted.png")
        expected, kinds, _ = found(None)
        with put(data, place) as address:
            elsewhere, same_kinds, examination = found(address)
            assert same_kinds == kinds and "size-unused" in kinds
            assert [(kind, id) for kind, id, _ in elsewhere] == [
                (kind, id) for kind, id, _ in expected
            ]
            if not quick:
                fix(examination, tmp_path / "fixed")
                mended = CocoDataset.of(tmp_path / "fixed", "train", image_dir=address)
                assert mended.load_image(0).shape[:2] == (41, 60)
    finally:
        NAMES.remove("unlisted.png")


@pytest.mark.parametrize("place", ["memory", "tars"])
def test_a_copy_in_another_format_has_them(data: Path, place: str, tmp_path: Path):
    expected = CocoDataset.of(data, "train")
    with put(data, place) as address:
        convert(find_subsets(data, image_dir=address), tmp_path / "copy", "coco")
    found = CocoDataset.of(tmp_path / "copy", "train")
    for image_id in expected.image_ids:
        np.testing.assert_array_equal(found.load_image(image_id), expected.load_image(image_id))


def test_a_data_set_is_divided_by_pictures_elsewhere(data: Path):
    expected = divide_dataset(data, "train", "", 0.5, "near-duplicates")
    with put(data, "tars") as address:
        found = divide_dataset(data, "train", "", 0.5, "near-duplicates", image_dir=address)
        dataset = CocoDataset.of(data, "val", division=found, image_dir=address)
        assert dataset.load_image(0).shape[2] == 3
    assert found == expected


def test_the_name_of_the_subset_is_part_of_the_place(data: Path):
    files = find_split(data, "train", image_dir="s3://bucket/{subset}/x")
    assert files.images == "s3://bucket/train/x" and files.is_standard
    assert find_split(data, "train", image_dir=data / "train").images == data / "train"
    file = shutil.copy(data / "annotations" / "instances_train.json", data / "own.json")
    assert find_split(file, "train", image_dir="gs://x/{subset}-*.tar").images == "gs://x/own-*.tar"
    labelme = data.parent / "labelme"
    labelme.mkdir()
    Image.new("RGB", (9, 9)).save(labelme / "a.png")
    shape = {"label": "x", "shape_type": "polygon", "points": [[1, 1], [5, 1], [5, 5]]}
    content = {"imagePath": "a.png", "imageHeight": 9, "imageWidth": 9, "shapes": [shape]}
    (labelme / "a.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"labelme: expected a json.*--image-dir"):
        find_split(labelme, "train", image_dir="s3://bucket")


class TestNames:
    """What a json may call an image, and what not."""

    def test_members_of_tar_files(self, data: Path):
        folder, out = data / "train", data.parent / "s"
        write_tar(out / "one.tar", folder, NAMES[:3])
        write_tar(out / "two.tar", folder, [NAMES[0], NAMES[3]])
        store = open_store(place_of(f"{out}/*.tar"), "a.json")
        first = store.find("two/a0.png")
        assert isinstance(first, RemotePath) and first.startswith(f"{out}/two.tar#")
        assert first.read() == (folder / "a0.png").read_bytes()
        assert first.open().name == first and store.size("two/a0.png") == len(first.read())
        assert store.find("one/./sub/a1.png") == store.find("sub/a1.png") is not None
        assert store.find("two/sub/a1.png") is None and store.find("three/a0.png") is None
        with pytest.raises(ValueError, match=r"one member.*such as 'one/a0.png'; received 'a0.p"):
            store.find("a0.png")
        assert list(store.at_the_top()) == ["a0.png", NAMES[2], "a0.png"]

    @pytest.mark.parametrize("place", ["memory", "zip", "tars"])
    def test_names_that_lead_elsewhere(self, data: Path, place: str):
        with put(data, place) as address:
            store = open_store(place_of(address), "a.json")
            for name in ("../a.png", "/etc/passwd", "C:/a.png", "", "x/../../a.png", None):
                with pytest.raises(ValueError, match="expected a path inside the image folder"):
                    store.find(name)
            for name in ("a::memory://b", "s3://bucket/a.png", "a" * 5000, "a\0b"):
                with pytest.raises(ValueError, match="expected a path inside the image folder"):
                    store.find(name)
            for name in ("nothing.png", "sub", "sub/nothing.png", "no/a0.png", "a0.png/x", "."):
                assert store.find(name) is None
            assert store.find("sub//a1.png") == store.find("sub/a1.png") is not None

    def test_a_text_of_a_script_is_no_address(self, data: Path):
        with put(data, "tars") as address:
            path = CocoDataset.of(data, "train", image_dir=address).image_info[0]["path"]
        for text in (str(path)[:], "memory://bucket/a.png", "zip://a::file://b.zip"):
            plain = "".join(text)
            assert type(plain) is not RemotePath and local_image(plain) is plain

    def test_folders_of_this_machine(self, data: Path):
        for folder in (data / "train", str(data / "train"), f"file://{data}/train"):
            assert isinstance(open_store(place_of(folder), "a.json"), LocalFolder)
        (data / "odd.tar").mkdir()  # a folder may be called so
        assert place_of(data / "odd.tar") == data / "odd.tar"


class TestErrors:
    """Each names the json, the image and the address."""

    def load(self, data: Path, address: str) -> CocoDataset:
        dataset = CocoDataset()
        dataset.load_coco_json(data / "annotations" / "instances_train.json", address)
        dataset.prepare()
        return dataset

    def test_nothing_is_there(self, data: Path):
        for address in ("memory://no/where", f"{data}/no-*.tar", f"{data}/no.tar"):
            with pytest.raises(FileNotFoundError, match=f"{address[:9]}.*instances_train.json"):
                self.load(data, address)
        with pytest.raises(OSError, match=r"zip://a::file:///no/b\.zip|No such file"):
            self.load(data, "zip://a::file:///no/b.zip")
        with pytest.raises(ValueError, match=r"a web server's cannot; give tar files"):
            self.load(data, "https://example.org/train")

    @pytest.mark.parametrize("place", ["memory", "zip", "tars"])
    def test_an_image_is_missing(self, data: Path, place: str):
        file = data / "annotations" / "instances_train.json"
        content = json.loads(file.read_text())
        content["images"][3]["file_name"] = "sub/gone.png"
        file.write_text(json.dumps(content))
        with put(data, place) as address, pytest.raises(FileNotFoundError) as caught:
            self.load(data, address)
        assert "image 3: expected the file 'sub/gone.png' in " in str(caught.value)
        assert address in str(caught.value) and str(file) in str(caught.value)

    def test_a_store_that_fails_in_the_middle(self, data: Path, monkeypatch: pytest.MonkeyPatch):
        with put(data, "memory") as address:
            dataset = self.load(data, address)

            def broken(self: Any, path: str, *args: Any, **options: Any) -> bytes:
                raise TimeoutError("no answer from the store")

            monkeypatch.setattr(type(fsspec.filesystem("memory")), "cat_file", broken)
            with pytest.raises(Exception, match="no answer from the store") as caught:
                batches(dataset)
            for words in ("id ", "memory://bucket/train/", "cannot be read"):
                assert words in str(caught.value)

    def test_a_tar_file_that_was_cut(self, data: Path):
        with put(data, "tar") as address:
            dataset = self.load(data, address)
            os.truncate(address, 5000)
            with pytest.raises(OSError, match=r"all\.tar, .*a5\.jpg: cannot be read \(it ends ea"):
                dataset.load_image(5)
            Path(address).write_bytes(b"no tar" * 1000)
            with pytest.raises(ValueError, match=r"all\.tar: expected a tar file without compr"):
                self.load(data, address)

    def test_without_the_package(self, data: Path, monkeypatch: pytest.MonkeyPatch):
        own = builtins.__import__

        def missing(name: str, *args: Any, **options: Any) -> Any:
            if name == "fsspec":
                raise ImportError("no module named fsspec")
            return own(name, *args, **options)

        monkeypatch.setattr(builtins, "__import__", missing)
        with pytest.raises(ImportError, match=r"pip install 'mrcnn\[remote\]'"):
            self.load(data, "s3://bucket/photos")
        with put(data, "tars") as address:  # on this machine they need nothing
            assert self.load(data, address).load_image(0).shape == (40, 60, 3)
