"""Supervisely's projects, bitmaps included."""

from __future__ import annotations

import base64
import io
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.datasets.formats.support import (
    HEIGHT,
    WIDTH,
    box_mask,
    iou,
    load,
    masks_of,
    picture,
    write_json,
)

META = {
    "classes": [
        {"title": "line", "shape": "line", "color": "#FF0000"},
        {"title": "dog", "shape": "any", "color": "#FF0000"},
        {"title": "cat", "shape": "bitmap", "color": "#00FF00"},
    ],
    "tags": [],
}


def packed(mask: np.ndarray) -> str:
    """A palette of two colors, the first transparent, as Supervisely writes it."""
    image = Image.fromarray(mask.astype(np.uint8)).convert("P")
    image.putdata(mask.astype(np.uint8).ravel().tolist())
    image.putpalette([0, 0, 0, 255, 255, 255])
    data = io.BytesIO()
    image.save(data, "PNG", transparency=0, optimize=False)
    return base64.b64encode(zlib.compress(data.getvalue())).decode()


def shape(title, kind, exterior=(), interior=(), **more):
    return {
        "classTitle": title,
        "geometryType": kind,
        "points": {"exterior": [list(p) for p in exterior], "interior": list(interior)},
        **more,
    }


def write(folder, objects, name="a.jpg", dataset="ds0", meta=META, size=(HEIGHT, WIDTH)):
    picture(folder / dataset / "img" / name)
    write_json(folder / "meta.json", meta)
    content = {"size": {"height": size[0], "width": size[1]}, "tags": [], "objects": objects}
    write_json(folder / dataset / "ann" / f"{name}.json", content)


SQUARE = [(2, 3), (11, 3), (11, 8), (2, 8)]


def test_every_shape(tmp_path, capsys):
    mask = np.zeros((5, 8), bool)
    mask[1:, 2:] = True
    hole = [[5, 5], [15, 5], [15, 12], [5, 12]]
    write(
        tmp_path,
        [
            shape("dog", "rectangle", [(2, 3), (11, 8)]),
            shape("dog", "polygon", [(10, 10), (30, 10), (30, 30), (10, 30)]),
            shape("dog", "polygon", [(1, 1), (40, 1), (40, 30), (1, 30)], [hole]),
            shape("cat", "bitmap", bitmap={"data": packed(mask), "origin": [40, 10]}),
            shape("line", "line", [(1, 1), (3, 3)]),
        ],
    )
    dataset = load(tmp_path)
    assert dataset.class_names == ["BG", "dog", "cat"]  # in the order of meta.json
    found = masks_of(dataset, "a.jpg")
    assert np.array_equal(found["dog"][0], box_mask(2, 3, 12, 9))  # its last row is its own
    assert iou(found["dog"][1], box_mask(10, 10, 31, 31)) > 0.9
    assert not found["dog"][2][6:12, 6:15].any() and found["dog"][2][14, 6:15].all()
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[10:15, 40:48] = mask
    assert np.array_equal(found["cat"][0], expected)
    said = capsys.readouterr().out
    assert "1 line objects left out" in said and "1 objects with holes" in said


def test_folders_are_subsets(tmp_path):
    write(tmp_path, [shape("dog", "rectangle", SQUARE[::2])], dataset="train")
    write(tmp_path, [], dataset="val")
    assert len(load(tmp_path).image_ids) == len(load(tmp_path, "val").image_ids) == 1


def bomb() -> str:
    return base64.b64encode(zlib.compress(b"\0" * (1 << 28), 9)).decode()


def huge_png() -> str:
    data = io.BytesIO()
    Image.new("1", (1, 1)).save(data, "PNG")
    raw = bytearray(data.getvalue())
    header = b"IHDR" + (10**6).to_bytes(4, "big") * 2 + bytes(raw[24:29])
    raw[12:33] = header + zlib.crc32(header).to_bytes(4, "big")
    return base64.b64encode(zlib.compress(bytes(raw))).decode()


@pytest.mark.parametrize(
    "bad",
    [
        shape("cat", "bitmap", bitmap={"data": "!!", "origin": [1, 1]}),
        shape("cat", "bitmap", bitmap={"data": packed(np.ones((3, 3))), "origin": ["x", 1]}),
        shape("cat", "bitmap", bitmap={"data": base64.b64encode(b"no").decode(), "origin": [1, 1]}),
        shape("cat", "bitmap"),
        shape("cat", "polygon", [("a", 2), (3, 4), (5, 6)]),
        shape("cat", "rectangle", [(1, 2)]),
        {**shape("cat", "polygon"), "points": {"exterior": [[1, 2]], "interior": 0.5}},
        shape("cat", "bitmap", bitmap={"data": bomb(), "origin": [1, 1]}),
        shape("cat", "bitmap", bitmap={"data": huge_png(), "origin": [1, 1]}),
    ],
)
def test_bad_objects_are_named_and_can_be_skipped(tmp_path, bad):
    write(tmp_path, [shape("cat", "rectangle", SQUARE[::2]), bad])
    with pytest.raises(ValueError, match=r"ds0/ann/a\.jpg\.json, object 1"):
        load(tmp_path)
    assert len(load(tmp_path, skip_invalid=True).annotations(0)) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objects": [shape("bird", "polygon", SQUARE)]}, "field 'classTitle'"),
        ({"objects": {}}, "expected an object with the list 'objects'"),
        ({"objects": [], "size": (0, 5)}, "expected an object with the list 'objects'"),
        ({"objects": [], "meta": {"classes": [{"title": 3.5}, {"title": ""}]}}, "class 1"),
    ],
)
def test_bad_files_are_named(tmp_path, options, message):
    write(tmp_path, **options)
    with pytest.raises(ValueError, match=message):
        load(tmp_path)
