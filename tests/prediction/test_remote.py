"""Pictures at addresses are those of the files: in a folder, an archive, a shard."""

from __future__ import annotations

import builtins
import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mrcnn.config import Config
from mrcnn.prediction.sources import Picture, find_sources
from mrcnn.prediction.stream import Predictor, Unreadable
from tests.prediction.disc_detector import DiscDetector, discs

fsspec = pytest.importorskip("fsspec", reason="pip install '.[remote]'")

NAMES = ["background", "disc", "green"]
CENTERS = [(20, 20), (20, 60), (60, 20), (60, 60)]
FILES = {"a1.png": 1, "a2.png": 2, "a10.png": 3, "sub/b.png": 4}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with pictures of so many discs, and a file that is none."""
    folder = tmp_path / "photos"
    for name, count in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(discs(80, 96, CENTERS[:count])).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    return folder


def counts(given: Any) -> dict[str, int]:
    """How many discs are found in each picture."""
    found = Predictor(DiscDetector(), NAMES)(find_sources(given))
    return {prediction.name: len(prediction) for prediction in found}


def in_zip(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, f"photos/{file.relative_to(folder)}")
    return path


def in_tar(folder: Path, name: str, files: list[str], mode: str = "w") -> Path:
    path = folder.with_name(name)
    with tarfile.open(path, mode) as archive:
        for file in files:
            archive.add(folder / file, file)
            label = io.BytesIO(b"3")  # as WebDataset has it beside each picture
            member = tarfile.TarInfo(Path(file).with_suffix(".cls").as_posix())
            member.size = 1
            archive.addfile(member, label)
    return path


def test_a_folder_a_pattern_and_a_file(photos: Path):
    assert counts(str(photos)) == FILES
    assert list(counts(f"file://{photos}")) == list(FILES)  # in the order of their numbers
    assert counts(f"file://{photos}") == FILES
    assert counts(f"file://{photos}/a*.png") == {k: v for k, v in FILES.items() if k[0] == "a"}
    assert counts(f"file://{photos}/sub/b.png") == {"b.png": 4}
    assert counts([f"file://{photos}/sub", str(photos)]) == {
        "sub/b.png": 4,
        **{f"photos/{name}": count for name, count in FILES.items()},
    }


def test_pictures_that_are_nowhere_on_the_disk(photos: Path):
    memory = fsspec.filesystem("memory")
    for name in FILES:
        memory.pipe_file(f"/bucket/photos/{name}", (photos / name).read_bytes())
    try:
        assert counts("memory://bucket/photos") == FILES
    finally:
        memory.rm("/bucket", recursive=True)


def test_an_archive(photos: Path):
    path = in_zip(photos)
    assert counts(f"zip://photos::file://{path}") == FILES
    assert counts(f"zip://photos/sub/*.png::file://{path}") == {"b.png": 4}


def test_shards(photos: Path):
    names = list(FILES)
    one = in_tar(photos, "shard-0.tar", names[:2])
    in_tar(photos, "shard-1.tar", names[2:])
    assert counts(str(one)) == {"a1.png": 1, "a2.png": 2}
    assert counts(f"{photos.parent}/shard-*.tar") == {
        f"shard-{k // 2}/{name}": count for k, (name, count) in enumerate(FILES.items())
    }
    # A picture is read from its place, whoever reads it in which order.
    for picture in reversed(find_sources(str(one))):
        assert isinstance(picture, Picture)
        expected = Picture(picture.name, photos / picture.name).load(Config())
        np.testing.assert_array_equal(picture.load(Config()), expected)


def test_what_is_wrong_is_said(photos: Path, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"memory://nothing: expected pictures"):
        find_sources("memory://nothing")
    with pytest.raises(FileNotFoundError, match="among 1 files"):
        find_sources(f"file://{photos}/notes.txt")
    packed = in_tar(photos, "packed.tar", ["a1.png"], "w:gz")
    with pytest.raises(ValueError, match=r"packed\.tar: expected a tar file without compression"):
        find_sources(str(packed))
    with pytest.raises(ValueError, match=r"nothing-such"):
        find_sources("nothing-such://a/b.png")
    # A picture that is gone, or cut, is handed on with its address.
    shard = in_tar(photos, "cut.tar", ["a1.png"])
    (picture,) = find_sources(str(shard))
    shard.write_bytes(shard.read_bytes()[:600])
    (found,) = Predictor(DiscDetector(), NAMES)([picture])
    assert isinstance(found, Unreadable) and "cut.tar, a1.png: cannot be read" in found.reason
    (picture,) = find_sources(f"file://{photos}/a1.png")
    (photos / "a1.png").write_bytes(b"no picture")
    (found,) = Predictor(DiscDetector(), NAMES)([picture])
    assert isinstance(found, Unreadable) and "a1.png: cannot be read as an image" in found.reason


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    own = builtins.__import__

    def missing(name: str, *args: Any, **options: Any) -> Any:
        if name == "fsspec":
            raise ImportError("no module named fsspec")
        return own(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"pip install 'mrcnn\[remote\]'"):
        find_sources("s3://bucket/photos")
