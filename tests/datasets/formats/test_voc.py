"""Pascal VOC's masks: numbers as in the challenge, colors as in exports."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mrcnn.datasets.formats.voc import _palette
from tests.datasets.formats.support import HEIGHT, WIDTH, box_mask, load, masks_of, picture


def colors(ids: np.ndarray) -> np.ndarray:
    palette = np.array([[c % 256, c // 256 % 256, c // 65536] for c in _palette()], np.uint8)
    return palette[ids]


def numbers() -> tuple[np.ndarray, np.ndarray]:
    """Two aeroplanes and a person, with a border of void."""
    objects = np.zeros((HEIGHT, WIDTH), np.uint8)
    classes = np.zeros((HEIGHT, WIDTH), np.uint8)
    for number, (kind, x1, y1, x2, y2) in enumerate(
        [(1, 2, 3, 12, 9), (1, 20, 3, 30, 9), (15, 40, 20, 50, 38)], start=1
    ):
        objects[y1:y2, x1:x2], classes[y1:y2, x1:x2] = number, kind
        for array in (objects, classes):
            array[y1 - 1, x1:x2] = 255
    return objects, classes


def save(array: np.ndarray, path, form: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if form == "colors":
        Image.fromarray(colors(array)).save(path)
        return
    image = Image.fromarray(array)
    if form == "palette":
        image = image.convert("P")
        image.putdata(array.ravel().tolist())
        image.putpalette(colors(np.arange(256, dtype=np.uint8)).ravel().tolist())
    image.save(path)


def write(folder, name="a", form="palette", subset="train", changed=None):
    objects, classes = numbers()
    if changed is not None:
        changed(objects, classes)
    picture(folder / "JPEGImages" / f"{name}.jpg")
    save(objects, folder / "SegmentationObject" / f"{name}.png", form)
    save(classes, folder / "SegmentationClass" / f"{name}.png", form)
    sets = folder / "ImageSets" / "Segmentation"
    sets.mkdir(parents=True, exist_ok=True)
    with open(sets / f"{subset}.txt", "a") as file:
        file.write(f"{name}\n")


@pytest.mark.parametrize("form", ["palette", "grey", "colors"])
def test_the_challenges_masks(tmp_path, form):
    base = tmp_path / "VOCdevkit" / "VOC2012"
    write(base, "a", form)
    write(base, "b", form, "val")
    picture(base / "JPEGImages" / "boxes_only.jpg")
    train = load(tmp_path)
    assert len(train.class_names) == 21 and train.class_names[15] == "person"
    assert len(train.image_ids) == len(load(tmp_path, "val").image_ids) == 1
    found = masks_of(train, "a.jpg")
    assert np.array_equal(found["person"][0], box_mask(40, 20, 50, 38))
    assert len(found["aeroplane"]) == 2
    assert np.array_equal(found["aeroplane"][1], box_mask(20, 3, 30, 9))


@pytest.mark.parametrize("form", ["palette", "colors"])
def test_the_names_of_an_export(tmp_path, form, capsys):
    write(tmp_path, "a", form, "default")
    (tmp_path / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\n"
        "background:0,0,0::\nperson:192,128,128::\nplane:128,0,0::\n"
    )
    dataset = load(tmp_path)
    assert dataset.class_names == ["BG", "person", "plane"]
    assert {name: len(of) for name, of in masks_of(dataset, "a.jpg").items()} == {
        "person": 1,
        "plane": 2,
    }


def test_the_most_frequent_class_counts(tmp_path, capsys):
    def change(objects, classes):
        classes[3:5, 2:12] = 15  # a third of the first aeroplane

    write(tmp_path, changed=change)
    assert len(masks_of(load(tmp_path), "a.jpg")["aeroplane"]) == 2
    assert "1 objects with pixels of several classes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "SegmentationClass" / "a.png").unlink(), "expected a.png, the classes"),
        (lambda f: picture(f / "JPEGImages" / "a.jpg", 20, 30), "expected the size of"),
        (lambda f: (f / "labelmap.txt").write_text("cat:1,2\n"), "labelmap.txt, line 1"),
        (
            lambda f: (f / "labelmap.txt").write_text("cat:1,2,3::\n"),
            "expected the number or color",
        ),
        (
            lambda f: (f / "SegmentationObject" / "a.png").write_bytes(b"x"),
            "cannot be read as an image",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path, spoil, message):
    write(tmp_path)
    spoil(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load(tmp_path)


def test_a_map_without_colors_has_those_of_its_lines(tmp_path):
    """As Datumaro writes it."""
    write(tmp_path, "a", "colors", "default")
    names = ["background", "plane", *(f"class{i}" for i in range(2, 15)), "person"]
    lines = "".join(f"{name}:::\n" for name in names)
    (tmp_path / "labelmap.txt").write_text(f"# label:color_rgb:parts:actions\n{lines}")
    found = masks_of(load(tmp_path), "a.jpg")
    assert {name: len(of) for name, of in found.items()} == {"plane": 2, "person": 1}
