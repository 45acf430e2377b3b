"""Downloads of COCO's images and annotations, from archives in its layout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mrcnn.datasets import coco_download
from mrcnn.datasets.coco_download import download_coco
from mrcnn.files.download import DownloadError
from tests.files.server import make_zip, names


@pytest.fixture
def coco(server, monkeypatch):
    """A server that holds tiny archives in the layout of COCO's."""
    monkeypatch.setattr(coco_download, "COCO_URL", server.url)
    splits = {name: f"{server.url}/{name}.json.zip?dl=1" for name in coco_download.COCO_SPLIT_URLS}
    monkeypatch.setattr(coco_download, "COCO_SPLIT_URLS", splits)
    trainval = {
        f"annotations/{kind}_{subset}{{}}.json": json.dumps([kind, subset]).encode()
        for kind in ("instances", "captions")
        for subset in ("train", "val")
    }
    for year in (2014, 2017):
        server.files[f"/annotations/annotations_trainval{year}.zip"] = make_zip(
            {name.format(year): content for name, content in trainval.items()}
        )
    for name in ("train2017", "val2014", "val2017", "test2015"):
        server.files[f"/zips/{name}.zip"] = make_zip(
            {f"{name}/": b"", f"{name}/1.jpg": b"jpeg", f"{name}/2.jpg": b"jpeg"}
        )
    server.files["/annotations/image_info_test2015.zip"] = make_zip(
        {"annotations/image_info_test2015.json": b"{}"}
    )
    server.files["/minival.json.zip?dl=1"] = make_zip({"instances_minival2014.json": b"{}"})
    return server


@pytest.mark.parametrize(
    ("subset", "year", "images", "annotations"),
    [
        ("train", 2017, "train2017", "instances_train2017.json"),
        ("val", "2014", "val2014", "instances_val2014.json"),
        ("minival", "2014", "val2014", "instances_minival2014.json"),
        ("test", "2015", "test2015", "image_info_test2015.json"),
    ],
)
def test_download_coco(coco, tmp_path, subset, year, images, annotations):
    expected = (str(tmp_path / images), str(tmp_path / "annotations" / annotations))
    assert download_coco(tmp_path, subset, year, progress=False) == expected
    assert names(tmp_path / images) == ["1.jpg", "2.jpg"]
    assert Path(expected[1]).is_file()
    assert names(tmp_path) == ["annotations", images], "archives are removed"
    requests = len(coco.requests)
    assert download_coco(tmp_path, subset, year, progress=False) == expected
    assert len(coco.requests) == requests, "what is there is kept"


def test_a_second_subset_reuses_the_annotations(coco, tmp_path):
    download_coco(tmp_path, "train", 2017, progress=False)
    requests = len(coco.requests)
    download_coco(tmp_path, "val", 2017, progress=False)
    assert len(coco.requests) == requests + 1
    assert names(tmp_path) == ["annotations", "train2017", "val2017"]


def test_annotations_that_are_there_are_not_overwritten(coco, tmp_path):
    (tmp_path / "annotations").mkdir()
    edited = tmp_path / "annotations" / "instances_val2017.json"
    edited.write_text("mine")
    download_coco(tmp_path, "train", 2017, progress=False)
    assert edited.read_text() == "mine"
    assert (tmp_path / "annotations" / "instances_train2017.json").is_file()


def test_a_damaged_archive_leaves_no_half_folder(coco, tmp_path):
    content = bytearray(coco.files["/zips/train2017.zip"])
    content[content.index(b"1.jpg") + len(b"1.jpg")] ^= 255  # the first byte of its data
    good, coco.files["/zips/train2017.zip"] = coco.files["/zips/train2017.zip"], bytes(content)
    with pytest.raises(DownloadError, match="damaged"):
        download_coco(tmp_path, "train", 2017, progress=False)
    assert names(tmp_path) == ["annotations"], "the archive is gone, so the next call can succeed"
    coco.files["/zips/train2017.zip"] = good
    download_coco(tmp_path, "train", 2017, progress=False)
    assert names(tmp_path / "train2017") == ["1.jpg", "2.jpg"]


def test_an_archive_without_the_wanted_file(coco, tmp_path):
    coco.files["/zips/train2017.zip"] = make_zip({"other/1.jpg": b"jpeg"})
    with pytest.raises(DownloadError, match="expected train2017"):
        download_coco(tmp_path, "train", 2017, progress=False)


@pytest.mark.parametrize(("subset", "year"), [("minival", 2017), ("train", 2015), ("val", 2016)])
def test_unknown_parts_of_coco(tmp_path, subset, year):
    with pytest.raises(ValueError, match="no subset.*unlabeled"):
        download_coco(tmp_path, subset, year)
