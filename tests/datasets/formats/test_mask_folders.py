"""A file for each object, as in the Data Science Bowl."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.datasets.formats.support import box_mask, load, masks_of, picture

BOXES = [(2, 3, 12, 9), (20, 3, 30, 9)]


def write(folder, name, masks):
    picture(folder / name / "images" / f"{name}.png")
    for number, (place, mask) in enumerate(masks):
        path = folder / name / "masks" / place / f"m{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(path)


def test_the_bowls_folders(tmp_path, capsys):
    masks = [("", box_mask(*box)) for box in BOXES]
    write(tmp_path / "stage1_train", "abc", [*masks, ("", np.zeros((40, 60), bool))])
    write(tmp_path / "stage1_train", "abd", masks[:1])
    picture(tmp_path / "stage1_test" / "x" / "images" / "x.png")
    dataset = load(tmp_path)
    assert dataset.class_names == ["BG", "object"] and len(dataset.image_ids) == 2
    found = masks_of(dataset, "abc.png")["object"]
    assert [m.tolist() for m in found] == [m.tolist() for _, m in masks]
    said = capsys.readouterr().out
    assert "1 masks without a pixel left out" in said and "1 images without masks left out" in said


def test_folders_of_classes(tmp_path):
    write(tmp_path, "a", [("cell", box_mask(*BOXES[0])), ("dust", box_mask(*BOXES[1]))])
    assert load(tmp_path).class_names == ["BG", "cell", "dust"]


def test_another_size_and_two_pictures_are_named(tmp_path):
    write(tmp_path / "size", "a", [("", box_mask(*BOXES[0], (20, 30)))])
    with pytest.raises(ValueError, match=r"m0\.png: expected the size of a/images/a\.png, 40 x 60"):
        load(tmp_path / "size")
    write(tmp_path / "two", "a", [("", box_mask(*BOXES[0]))])
    write(tmp_path / "two", "b", [("", box_mask(*BOXES[0]))])
    picture(tmp_path / "two" / "b" / "images" / "c.png")
    with pytest.raises(ValueError, match=r"b/images: expected one picture"):
        load(tmp_path / "two")


def test_a_mask_that_is_none_is_named(tmp_path):
    write(tmp_path, "a", [("", box_mask(*BOXES[0]))])
    (tmp_path / "a" / "masks" / "m1.png").write_bytes(b"GIF89a")
    with pytest.raises(ValueError, match=r"m1\.png: cannot be read as an image"):
        load(tmp_path)
