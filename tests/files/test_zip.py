"""Unpacking of zip archives: complete, and nothing outside the folder."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from mrcnn.files import zip
from mrcnn.files.download import DownloadError
from mrcnn.files.zip import extract_zip
from tests.files.server import CONTENT, make_zip, names


def write_zip(path: Path, entries) -> Path:
    path.write_bytes(make_zip(entries))
    return path


def test_extract_zip(tmp_path):
    archive = write_zip(tmp_path / "a.zip", {"x/1.txt": b"one", "x/y/": b"", "2.txt": b""})
    written = extract_zip(archive, tmp_path / "out", progress=False)
    assert written == [str(tmp_path / "out/x/1.txt"), str(tmp_path / "out/2.txt")]
    assert (tmp_path / "out/x/1.txt").read_bytes() == b"one"
    assert (tmp_path / "out/2.txt").read_bytes() == b""
    assert (tmp_path / "out/x/y").is_dir()


@pytest.mark.parametrize(
    "name", ["../up.txt", "/top.txt", "a/../../up.txt", "a\\..\\..\\up.txt", "C:/top.txt"]
)
def test_entries_that_leave_the_folder(tmp_path, name):
    archive = write_zip(tmp_path / "a.zip", {"good.txt": b"good", name: b"evil"})
    with pytest.raises(DownloadError, match="would leave the folder"):
        extract_zip(archive, tmp_path / "out", progress=False)
    assert names(tmp_path) == ["a.zip"]


@pytest.mark.parametrize("mode", [0o120777, 0o020666])
def test_links_and_devices(tmp_path, mode):
    info = zipfile.ZipInfo("link")
    info.create_system, info.external_attr = 3, mode << 16
    archive = write_zip(tmp_path / "a.zip", [(info, b"/etc")])
    with pytest.raises(DownloadError, match="link"):
        extract_zip(archive, tmp_path / "out", progress=False)
    assert names(tmp_path) == ["a.zip"]


def test_absurd_sizes(tmp_path, monkeypatch):
    archive = write_zip(tmp_path / "a.zip", {"zeros": bytes(1_000_000)})
    with pytest.raises(DownloadError, match="1000000.*limit of 999999"):
        extract_zip(archive, tmp_path / "out", max_bytes=999_999, progress=False)
    monkeypatch.setattr(zip, "UNZIP_RATIO_FLOOR_BYTES", 1000)
    with pytest.raises(DownloadError, match="zip bomb"):
        extract_zip(archive, tmp_path / "out", progress=False)
    assert names(tmp_path) == ["a.zip"]


def test_encrypted_entries(tmp_path):
    content = bytearray(make_zip({"secret": b"text"}))
    content[content.rindex(b"PK\x01\x02") + 8] |= 1  # the flag in the central directory
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DownloadError, match="encrypted"):
        extract_zip(tmp_path / "a.zip", tmp_path / "out", progress=False)


@pytest.mark.parametrize("damage", ["cut", "flipped", "text"])
def test_damaged_archives(tmp_path, damage):
    content = bytearray(make_zip({"noise": CONTENT[:10_000]}))
    if damage == "cut":
        content = content[:5000]
    elif damage == "flipped":
        content[5000] ^= 255
    else:
        content = b"<html>not found</html>"
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DownloadError, match=r"a\.zip is not a zip archive or is damaged"):
        extract_zip(tmp_path / "a.zip", tmp_path / "out", progress=False)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (("a", "a/b"), "the entry 'a' is a file and a folder"),
        (("a/b/c", "x", "a/b"), "the entry 'a/b' is a file and a folder"),
        (("a/", "a"), "the entry 'a' is a file and a folder"),
        (("a", "./a"), "the entry './a' is there twice"),
        (("a//b", "a/b"), "the entry 'a/b' is there twice"),
        (("good", "x" * 256), "a name longer than files have"),
        (("good", "a/" * 3000 + "b"), "a name longer than files have"),
    ],
)
def test_names_that_cannot_be_beside_each_other(tmp_path, entries, message):
    path = tmp_path / "a.zip"
    path.write_bytes(make_zip(dict.fromkeys(entries, b"x")))
    with pytest.raises(DownloadError, match=message):
        extract_zip(path, tmp_path / "out", progress=False)
    assert names(tmp_path) == ["a.zip"]


def test_folders_may_be_named_any_number_of_times(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(make_zip(dict.fromkeys(("a/", "a/b/", "a/b/c", "a/d", "./a/e"), b"")))
    extract_zip(path, tmp_path / "out", progress=False)
    assert names(tmp_path / "out" / "a") == ["b", "d", "e"]
