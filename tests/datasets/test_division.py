"""A data set is divided as was asked: by image or group, near the share in each class."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcnn.datasets.coco import CocoDataset
from mrcnn.datasets.division import Division, divide, groups_by_field
from mrcnn.datasets.layouts import find_split
from tests.datasets.formats.support import HEIGHT, WIDTH, picture, write_json

pytestmark = pytest.mark.usefixtures("annotations_either_way")


def content_of(images: list[list[int]], **fields) -> dict:
    """A COCO json: for each image the classes of its objects."""
    annotations = [(i, c) for i, classes in enumerate(images) for c in classes]
    return {
        "images": [
            {"id": i, "file_name": f"{i:03}.jpg", "height": HEIGHT, "width": WIDTH}
            | {key: values[i] for key, values in fields.items()}
            for i in range(len(images))
        ],
        "annotations": [
            {"id": k, "image_id": i, "category_id": c, "segmentation": [[1, 1, 9, 1, 9, 9]]}
            for k, (i, c) in enumerate(annotations)
        ],
        "categories": [{"id": c, "name": f"class {c}"} for c in range(1, 6)],
    }


def each(content: dict) -> dict:
    return groups_by_field(content, None, "x.json")


sets = st.lists(st.lists(st.integers(1, 5), max_size=4), min_size=2, max_size=60)


@given(sets, st.floats(0.05, 0.95), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_each_image_is_on_one_side_and_the_order_does_not_matter(images, share, seed):
    content = content_of(images)
    train, val = divide(content, each(content), share, seed)
    assert sorted([*train, *val]) == sorted(image["file_name"] for image in content["images"])
    assert train and val and not set(train) & set(val)
    shuffled = {key: random.Random(1).sample(value, len(value)) for key, value in content.items()}
    assert divide(shuffled, each(shuffled), share, seed) == (train, val)


@given(sets, st.floats(0.05, 0.95), st.integers(0, 9), st.data())
@settings(max_examples=40, deadline=None)
def test_groups_stay_together(images, share, seed, data):
    names = data.draw(
        st.lists(st.sampled_from("abcdef"), min_size=len(images), max_size=len(images))
    )
    content = content_of(images, patient=names)
    groups = groups_by_field(content, "patient", "x.json")
    if len(set(names)) < 2:
        with pytest.raises(ValueError, match="expected at least two images, or groups"):
            divide(content, groups, share, seed)
        return
    train, val = divide(content, groups, share, seed)
    assert not {groups[name] for name in train} & {groups[name] for name in val}


@pytest.mark.parametrize("seed", range(5))
def test_every_class_is_near_its_share(seed):
    """Classes of 200, 100, 50, 20 and 10 images: by chance the last would often be far off."""
    rng = random.Random(seed)
    images = [[1]] * 200 + [[2]] * 100 + [[3, 3]] * 50 + [[1, 4]] * 20 + [[2, 5]] * 10
    rng.shuffle(images)
    content = content_of(images)
    train, val = divide(content, each(content), 0.8, seed)
    assert len(val) == pytest.approx(76, abs=2)
    held_out = {int(name[:3]) for name in val}
    of_all = Counter(c for classes in images for c in classes)
    of_val = Counter(c for i in held_out for c in images[i])
    for category, count in of_all.items():
        assert of_val[category] == pytest.approx(0.2 * count, abs=2)


def test_the_seed_decides_and_a_class_of_one_image_trains():
    content = content_of([[1]] * 30 + [[2]])
    found = {divide(content, each(content), 0.8, seed) for seed in range(5)}
    assert len(found) == 5 and all("030.jpg" in train for train, _ in found)


def test_a_part_is_a_content_without_the_other():
    content = content_of([[1], [2], [], [3]])
    content["images"].append({"id": 9})  # without a file name: a fault of the training set
    content["annotations"].append({"id": 90, "image_id": 77, "category_id": 1})
    content["annotations"][0]["image_id"] = "0"
    division = Division("train", 0.5, None, 0, ("000.jpg", "002.jpg"), ("001.jpg",))
    train, new = division.of(content, "train")
    assert [image["id"] for image in train["images"]] == [0, 2, 9] and new == 1
    assert [a["id"] for a in train["annotations"]] == [0, 90]
    val, _ = division.of(content, "val")
    assert [i["id"] for i in val["images"]] == [1] and [a["id"] for a in val["annotations"]] == [1]
    assert val["categories"] == content["categories"]


def test_names_of_the_parts():
    division = Division("trainval", 0.5, None, 0, ("a",), ("b",))
    parts = [division.part(name) for name in ("train", "trainval", "val", "test")]
    assert parts == ["train", "train", "val", None]


def test_what_is_written_is_read(tmp_path):
    division = Division("train", 0.8, "patient", 3, ("a.jpg", "ü.jpg"), ("b.jpg",))
    division.write(tmp_path)
    assert Division.read(tmp_path) == division and Division.read(tmp_path / "none") is None
    for bad in ("[]", "{", '{"train": 3}', json.dumps({**vars(division), "train": [3]})):
        (tmp_path / "split.json").write_text(bad)
        with pytest.raises(ValueError, match=r"split\.json: expected"):
            Division.read(tmp_path)


def test_fields_of_images_and_folders():
    content = content_of([[1], [1]], site=["x", "y"])
    assert groups_by_field(content, "site", "x.json") == {"000.jpg": "x", "001.jpg": "y"}
    content["images"][0]["file_name"] = "day1/000.jpg"
    assert list(groups_by_field(content, "folder", "x.json").values()) == ["day1", "."]
    with pytest.raises(ValueError, match=r"x\.json: image 0, field 'patient'.*site"):
        groups_by_field(content, "patient", "x.json")


def test_a_data_set_is_read_in_its_parts(tmp_path, capsys):
    content = content_of([[1], [2], [1, 2], [1]])
    for image in content["images"]:
        picture(tmp_path / image["file_name"])
    write_json(tmp_path / "all.json", content)
    division = Division("train", 0.5, None, 0, ("000.jpg", "001.jpg"), ("002.jpg",))
    train = CocoDataset.of(tmp_path, "train", division=division)
    val = CocoDataset.of(tmp_path, "val", division=division)
    assert [len(dataset.image_ids) for dataset in (train, val)] == [2, 1]
    assert train.class_names == val.class_names and len(val.ground_truth.anns) == 2
    assert "1 images are in no part of the split" in capsys.readouterr().err
    assert find_split(tmp_path, "val", division=division).content is not None
