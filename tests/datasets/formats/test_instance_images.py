"""Pictures beside images of numbers: which belong together, and what the numbers mean."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.datasets.formats.support import (
    HEIGHT,
    WIDTH,
    box_mask,
    load,
    masks_of,
    picture,
    write_json,
)

BOXES = {1: (2, 3, 12, 9), 2: (12, 3, 20, 9), 700: (40, 20, 50, 38)}


def numbers(boxes=None, dtype=np.uint16) -> np.ndarray:
    ids = np.zeros((HEIGHT, WIDTH), dtype)
    for value, (x1, y1, x2, y2) in (boxes or BOXES).items():
        ids[y1:y2, x1:x2] = value
    return ids


def save(path, ids):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(ids).save(path)


def write(folder, image="images/a.jpg", mask="masks/a.png", ids=None):
    picture(folder / image)
    save(folder / mask, numbers() if ids is None else ids)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/a.jpg", "masks/a.png"),
        ("train/images/a.jpg", "train/masks/a.tif"),
        ("images/train/a.jpg", "masks/train/a.png"),
        ("img/a.tif", "labels/a_label.png"),
        ("a.jpg", "a_cp_masks.png"),
        ("a.png", "a_masks.tif"),
    ],
)
def test_pictures_and_their_numbers(tmp_path, image, mask, capsys):
    write(tmp_path, image, mask)
    dataset = load(tmp_path)
    (path,) = [info["path"] for info in dataset.image_info]
    assert path == str(tmp_path / image)
    objects = masks_of(dataset, path.rsplit("/", 1)[-1])["object"]
    assert [m.tolist() for m in objects] == [box_mask(*box).tolist() for box in BOXES.values()]
    assert "instance-label images, 1 images with 3 objects" in capsys.readouterr().out


def test_colors_are_numbers_too(tmp_path):
    colors = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    colors[3:9, 2:12], colors[3:9, 12:20] = (255, 0, 0), (0, 0, 7)
    write(tmp_path, ids=colors)
    assert len(masks_of(load(tmp_path), "a.jpg")["object"]) == 2


def test_classes_by_picture_and_by_thousands(tmp_path):
    write(tmp_path / "one")
    names = {"1": "cell", "2": "dead cell", "700": "cell"}
    write_json(tmp_path / "one" / "classes.json", {"a.jpg": names})
    found = masks_of(load(tmp_path / "one"), "a.jpg")
    assert {name: len(of) for name, of in found.items()} == {"cell": 2, "dead cell": 1}
    write(tmp_path / "two", ids=numbers({1001: BOXES[1], 1002: BOXES[2], 2: BOXES[700]}))
    write_json(tmp_path / "two" / "classes.json", {"1": "cell", "2": "debris"})
    found = masks_of(load(tmp_path / "two"), "a.jpg")
    assert {name: len(of) for name, of in found.items()} == {"cell": 2, "debris": 1}


def test_one_value_stands_for_a_class_and_its_parts_are_objects(tmp_path, capsys):
    ids = numbers({255: BOXES[1]}, np.uint8) | numbers({255: BOXES[700]}, np.uint8)
    write(tmp_path, ids=ids)
    assert len(masks_of(load(tmp_path), "a.jpg")["object"]) == 2
    assert "each connected part is an object" in capsys.readouterr().out


def test_numbers_of_classes_are_refused(tmp_path):
    ids = numbers({1: BOXES[1], 2: BOXES[2]}, np.uint8)
    ids[30:33, 5:9], ids[30:33, 20:25] = 1, 2
    write(tmp_path, ids=ids)
    with pytest.raises(ValueError, match=r"2 of 2 numbers lie in several parts"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"1": "cell"}, r"classes\.json: expected the class of the object 2 of masks/a\.png"),
        ({"cell": "1"}, r"classes\.json, 'cell': expected numbers"),
        ({"1": 5}, r"classes\.json, '1': expected numbers"),
        ([], r"classes\.json: expected an object"),
    ],
)
def test_what_is_wrong_with_the_classes_is_named(tmp_path, classes, message):
    write(tmp_path)
    write_json(tmp_path / "classes.json", classes)
    with pytest.raises(ValueError, match=message):
        load(tmp_path)


def test_values_that_are_no_numbers_are_refused(tmp_path):
    write(tmp_path, mask="masks/a.tif", ids=np.full((HEIGHT, WIDTH), 0.5, np.float32))
    with pytest.raises(ValueError, match=r"a\.tif: cannot be read.*not whole numbers"):
        load(tmp_path)


def test_another_size_is_named(tmp_path):
    write(tmp_path, ids=numbers()[:20])
    with pytest.raises(ValueError, match=r"masks/a\.png: expected the size of images/a\.jpg"):
        load(tmp_path)
