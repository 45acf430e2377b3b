"""Images sorted into folders, a folder a class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mrcnn.datasets.class_folders import ClassFolders, is_class_folders
from mrcnn.datasets.shapes import write_shapes


def write(folder: Path, **counts: int) -> Path:
    for number, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            value = np.full((20 + index, 30, 3), 10 * number + index, np.uint8)
            Image.fromarray(value).save(folder / name / f"{index}.png")
    return folder


def load(root: Path, subset: str, seed: int = 0) -> ClassFolders:
    dataset = ClassFolders()
    dataset.load_folders(root, subset, seed)
    dataset.prepare()
    return dataset


def names(dataset: ClassFolders) -> set[str]:
    return {info["id"] for info in dataset.image_info}


def test_a_folder_is_a_class_and_background_is_none(tmp_path: Path):
    write(tmp_path / "train", dog=3, cat=2, background=2)
    (tmp_path / "train" / "dog" / "notes.txt").write_text("")
    write(tmp_path / "val", cat=1)
    train, val = load(tmp_path, "train"), load(tmp_path, "val")
    assert train.class_names == val.class_names == ["BG", "cat", "dog"]
    ids = {info["id"]: info["class_id"] for info in train.image_info}
    assert ids["cat/0.png"] == 1 and ids["dog/2.png"] == 2 and ids["background/1.png"] == 0
    assert train.summary() == (
        "7 images: 2 cat, 3 dog, 2 of no object; left out: 1 files that are no images."
    )
    assert names(val) == {"cat/0.png"}
    for image_id, info in enumerate(train.image_info):
        image, (masks, class_ids) = train.load_image(image_id), train.load_mask(image_id)
        assert masks.shape[:2] == image.shape[:2] and masks.all()
        assert class_ids.tolist() == ([info["class_id"]] if info["class_id"] else [])


def test_without_subsets_a_part_of_each_class_is_held_out(tmp_path: Path):
    write(tmp_path, cat=20, dog=4, one=1)
    train, val = load(tmp_path, "train"), load(tmp_path, "val")
    assert not names(train) & names(val) and len(names(train) | names(val)) == 25
    kept = [sum(name.startswith(kind) for name in names(val)) for kind in ("cat", "dog", "one")]
    assert kept == [2, 1, 0]
    assert names(load(tmp_path, "val", seed=1)) != names(val) == names(load(tmp_path, "val"))


def test_a_picture_taken_sideways_is_turned(tmp_path: Path):
    write(tmp_path / "train", cat=0, dog=1)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.fromarray(np.zeros((20, 30, 3), np.uint8))
    picture.save(tmp_path / "train" / "cat" / "a.jpg", exif=exif)
    dataset = load(tmp_path, "train")
    assert [info["id"] for info in dataset.image_info] == ["cat/a.jpg", "dog/0.png"]
    assert dataset.load_image(0).shape[:2] == (30, 20)
    assert dataset.load_mask(0)[0].shape[:2] == (30, 20)


def test_what_is_missing_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="no: expected a folder of class folders"):
        load(tmp_path / "no", "train")
    write(tmp_path / "one", cat=2)
    with pytest.raises(ValueError, match="at least two folders with images.*found cat"):
        load(tmp_path / "one", "train")
    write(tmp_path / "split" / "train", cat=2, dog=1)
    with pytest.raises(FileNotFoundError, match="'val', as val/CLASS.*found train.*--val-subset"):
        load(tmp_path / "split", "val")
    write(tmp_path / "split" / "val", cow=1)
    with pytest.raises(ValueError, match="expected the classes of .*cat, dog; found cow too"):
        load(tmp_path / "split", "val")
    (tmp_path / "one" / "bad").mkdir()
    (tmp_path / "one" / "bad" / "a.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"a\.png: cannot be read as an image"):
        load(tmp_path / "one", "train")


def test_a_data_set_in_cocos_format_is_none(tmp_path: Path):
    write_shapes(tmp_path / "shapes", train=1, val=1, image_size=(64, 64))
    assert not is_class_folders(tmp_path / "shapes") and not is_class_folders(tmp_path / "no")
    assert is_class_folders(write(tmp_path / "classes", cat=1, dog=1))
    assert is_class_folders(write(tmp_path / "split" / "train", cat=1, dog=1).parent)
