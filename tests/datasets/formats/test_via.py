"""The VGG Image Annotator's files, 1.x and 2.x, as a data set."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from tests.datasets.formats.support import (
    HEIGHT,
    WIDTH,
    box_mask,
    ellipse_mask,
    iou,
    load,
    masks_of,
    picture,
    write_json,
)

POLYGON = {
    "name": "polygon",
    "all_points_x": [2, 12, 12, 2],
    "all_points_y": [3, 3, 9, 9],
}


def region(shape, **attributes):
    return {"shape_attributes": shape, "region_attributes": attributes}


def write(folder, regions, name="a.jpg", project=False, more=None):
    picture(folder / name)
    entries = {
        f"{name}123": {"filename": name, "size": 123, "regions": regions, "file_attributes": {}}
    }
    entries |= more or {}
    content = {"_via_settings": {}, "_via_img_metadata": entries} if project else entries
    return write_json(folder / "via_region_data.json", content)


@pytest.mark.parametrize("project", [False, True])
def test_all_shapes(tmp_path, capsys, project):
    regions = [
        region(POLYGON, kind="cat"),
        region({"name": "rect", "x": 20, "y": 5, "width": 10, "height": 6}, kind="dog"),
        region({"name": "circle", "cx": 30, "cy": 20, "r": 8}, kind="ball"),
        region(
            {"name": "ellipse", "cx": 30, "cy": 20, "rx": 12, "ry": 5, "theta": 0.5}, kind="egg"
        ),
        region({"name": "point", "cx": 3, "cy": 2}, kind="nose"),
        region({"name": "polyline", "all_points_x": [1], "all_points_y": [2]}, kind="nose"),
    ]
    write(tmp_path, regions, project=project)
    dataset = load(tmp_path)
    assert dataset.class_names == ["BG", "ball", "cat", "dog", "egg"]
    found = masks_of(dataset, "a.jpg")
    assert np.array_equal(found["cat"][0], box_mask(2, 3, 12, 9))
    assert np.array_equal(found["dog"][0], box_mask(20, 5, 30, 11))
    assert iou(found["ball"][0], ellipse_mask(30, 20, 8, 8)) > 0.95
    assert iou(found["egg"][0], ellipse_mask(30, 20, 12, 5, math.degrees(0.5))) > 0.93
    said = capsys.readouterr().out
    for text in ("1 point regions left out", "1 polyline regions", "1 circles taken as polygons"):
        assert text in said


def test_the_balloon_layout_with_no_class_and_numbered_regions(tmp_path, capsys):
    empty = {"z.jpg9": {"filename": "z.jpg", "size": 9, "regions": {}}}
    write(tmp_path / "train", {"0": region(POLYGON)}, more=empty)
    write(tmp_path / "val", [region(POLYGON)], "b.jpg")
    train = load(tmp_path)
    assert train.class_names == ["BG", "object"] == load(tmp_path, "val").class_names
    assert len(train.image_ids) == 1
    assert "1 images without regions left out" in capsys.readouterr().out
    assert len(load(tmp_path / "train" / "via_region_data.json").image_ids) == 1


def test_the_class_is_the_usual_attribute_or_the_only_one(tmp_path):
    ticks = {"cat": True, "dog": False}
    write(tmp_path, [region(POLYGON, color="red", label="cat"), region(POLYGON, label=ticks)])
    assert load(tmp_path).class_names == ["BG", "cat"]


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ([region(POLYGON, a="x", b="y")], "expected one attribute of regions that is the class"),
        ([region(POLYGON, kind="x"), region(POLYGON)], "region 1: expected its class as"),
        ([region(POLYGON, kind={"x": True, "y": True})], "region 0: expected its class as"),
        ([region({**POLYGON, "all_points_x": [1, 2]}, kind="x")], "as many x as y"),
        ([region({"name": "circle", "cx": 1, "cy": 2}, kind="x")], "a circle needs"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, regions, message):
    write(tmp_path, regions)
    with pytest.raises(ValueError, match=message) as error:
        load(tmp_path)
    assert "via_region_data.json" in str(error.value) or "attribute" in message


def test_a_missing_picture_is_named(tmp_path):
    write(tmp_path, [region(POLYGON)])
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"expected the image 'a\.jpg'"):
        load(tmp_path)


def test_pictures_are_turned_as_a_browser_shows_them(tmp_path):
    write(tmp_path, [region(POLYGON)])
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down: no size tells it
    picture(tmp_path / "a.jpg", exif=exif, quality=95)
    dataset = load(tmp_path)
    stored = np.array(Image.open(tmp_path / "a.jpg"))
    assert np.array_equal(dataset.load_image(0), stored[::-1, ::-1])
    assert dataset.load_mask(0)[0].shape == (HEIGHT, WIDTH, 1)


def test_files_of_one_folder_are_subsets_by_their_names(tmp_path):
    write(tmp_path, [region(POLYGON)]).rename(tmp_path / "via_train.json")
    write(tmp_path, [region(POLYGON)] * 2, "b.jpg").rename(tmp_path / "via_val.json")
    assert len(load(tmp_path).annotations(0)) == 1
    assert len(load(tmp_path, "val").annotations(0)) == 2
