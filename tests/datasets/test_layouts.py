"""Data sets are found in the layouts that tools export, and what is missing is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mrcnn.commands import cli
from mrcnn.datasets.coco import CocoDataset
from mrcnn.datasets.layouts import find_split
from mrcnn.datasets.shapes import write_shapes
from tests.datasets.exports.fiftyone import fiftyone
from tests.datasets.exports.fruit import HEIGHT, WIDTH
from tests.datasets.exports.right import EXPORTS
from tests.datasets.exports.roboflow import roboflow

SQUARE = [2.0, 3.0, 12.0, 3.0, 12.0, 9.0, 2.0, 9.0]


def write(file: Path, images: Path, prefix: str = "", count: int = 2, **extra: Any) -> None:
    """A json and its pictures; `prefix` is written before the files' names."""
    file.parent.mkdir(parents=True, exist_ok=True)
    images.mkdir(parents=True, exist_ok=True)
    entries, annotations = [], []
    for index in range(count):
        Image.fromarray(np.full((20, 30, 3), index, np.uint8)).save(images / f"{index}.jpg")
        entries.append(
            {"id": index, "file_name": f"{prefix}{index}.jpg", "height": 20, "width": 30, **extra}
        )
        annotations.append(
            {
                "id": index,
                "image_id": index,
                "category_id": 1,
                "segmentation": [SQUARE],
                "area": 60.0,
                "bbox": [2.0, 3.0, 10.0, 6.0],
                "iscrowd": 0,
            }
        )
    content = {"info": {"description": "exported"}, "licenses": [], "images": entries}
    content |= {"annotations": annotations, "categories": [{"id": 1, "name": "nut"}]}
    file.write_text(json.dumps(content))


all_exports = pytest.mark.parametrize("export", EXPORTS, ids=lambda of: of.write.__name__)
READ = [of for of in EXPORTS if not of.stops]


@all_exports
def test_the_layouts_of_tools_are_found_and_said(tmp_path, export, capsys):
    export.write(tmp_path / "data")
    found = find_split(tmp_path / "data", "train")
    assert found.annotations == tmp_path / "data" / export.json
    assert found.images == tmp_path / "data" / export.images
    assert found.is_standard is False
    where = f"{export.images}/" if Path(export.json).parent != Path(export.images) else "images"
    said = capsys.readouterr().out
    count = len(json.loads(found.annotations.read_text())["images"])
    assert f"train: {export.json} with {where}" in said and f"{count} images" in said
    if export.validates:
        assert find_split(tmp_path / "data", "val").annotations != found.annotations
    else:
        # The one file is not taken to validate with too.
        with pytest.raises(FileNotFoundError, match=r'--val-subset ""') as error:
            find_split(tmp_path / "data", "val")
        assert export.json in str(error.value)


@pytest.mark.parametrize("export", READ, ids=lambda of: of.write.__name__)
def test_they_are_used(tmp_path, export):
    export.write(tmp_path / "data")
    dataset = CocoDataset.of(tmp_path / "data", "train")
    assert len(dataset.image_ids) == len(dataset.image_info) >= 3
    assert dataset.load_mask(2)[0].shape == (HEIGHT, WIDTH, 2)
    assert dataset.load_image(2).shape == (HEIGHT, WIDTH, 3)
    if export.validates:
        assert len(CocoDataset.of(tmp_path / "data", "val").image_ids) == 2


@pytest.mark.parametrize("export", READ, ids=lambda of: of.write.__name__)
def test_the_command_checks_and_repairs_them(tmp_path, export, capsys):
    export.write(tmp_path / "data")
    val = [] if export.validates else ["--val-subset", ""]
    cli.main(["check", str(tmp_path / "data"), *val, "--quick"])
    out = capsys.readouterr().out
    assert "images, 3 headers read" in out or "images, 4 headers read" in out
    if "only-crowds" in export.findings:
        return
    assert "0 errors" in out
    repaired = tmp_path / "repaired"
    check = ["check", str(tmp_path / "data"), *val, "--image-size", "64", "--fix", str(repaired)]
    assert cli.main(check) == 0
    for subset in ("train", "val") if export.validates else ("train",):
        assert find_split(repaired, subset).annotations.parent == repaired / "annotations"
        assert len(CocoDataset.of(repaired, subset).image_ids) >= 2


@pytest.mark.parametrize("folder", ["annotations", "."])
def test_a_json_named_as_its_subset(tmp_path, folder, capsys):
    """As labelme2coco splits, and as many write it by hand."""
    for subset, count in (("train", 3), ("val", 2)):
        write(tmp_path / folder / f"{subset}.json", tmp_path / "images" / subset, count=count)
    for subset, count in (("train", 3), ("val", 2)):
        found = find_split(tmp_path, subset)
        assert found.annotations == tmp_path / folder / f"{subset}.json"
        assert found.images == tmp_path / "images" / subset
        assert f"with images/{subset}/, {count} images" in capsys.readouterr().out


def test_a_json_by_itself_is_the_training_set(tmp_path):
    fiftyone(tmp_path / "data")
    assert find_split(tmp_path / "data" / "labels.json", "train").images == tmp_path / "data/data"
    with pytest.raises(FileNotFoundError, match="as the training set alone, not as 'val'"):
        find_split(tmp_path / "data" / "labels.json", "val")


def test_cocos_layout_goes_before_others_and_is_not_talked_about(tmp_path, capsys):
    write(tmp_path / "annotations" / "instances_train.json", tmp_path / "train")
    roboflow(tmp_path)
    assert find_split(tmp_path, "train").annotations.name == "instances_train.json"
    assert capsys.readouterr().out == ""


def test_cocos_json_with_its_images_elsewhere(tmp_path):
    write(tmp_path / "annotations" / "instances_train.json", tmp_path / "images")
    assert find_split(tmp_path, "train").images == tmp_path / "images"


def test_images_of_the_same_names_in_another_subset_are_not_taken(tmp_path):
    write(tmp_path / "annotations" / "instances_train.json", tmp_path / "val")
    assert find_split(tmp_path, "train").images == tmp_path / "train"  # which does not exist
    with pytest.raises(FileNotFoundError, match="train: expected the folder with the images"):
        CocoDataset.of(tmp_path, "train")


def test_of_several_candidates_none_is_taken_and_all_are_listed(tmp_path):
    for name in ("first.json", "second.json"):
        write(tmp_path / name, tmp_path / "images")
    with pytest.raises(
        ValueError, match=r"first\.json, second\.json\. .*--train-subset first\.json"
    ):
        find_split(tmp_path, "train")
    assert find_split(tmp_path, "second.json").annotations == tmp_path / "second.json"


def test_of_several_image_folders_none_is_taken(tmp_path):
    for name in ("large", "small"):
        write(tmp_path / "labels.json", tmp_path / name)
    with pytest.raises(ValueError, match="one folder with its images; found large, small"):
        find_split(tmp_path, "train")
    write(tmp_path / "labels.json", tmp_path / "images")
    assert find_split(tmp_path, "train").images == tmp_path / "images"


def empty(root: Path) -> None:
    root.mkdir()


def with_other_files(root: Path) -> None:
    root.mkdir()
    for index in range(12):
        (root / f"{index:02}.jpg").touch()


def with_via(root: Path) -> None:
    root.mkdir()
    (root / "via_region_data.json").write_text('{"a.jpg12": {"filename": "a.jpg", "regions": {}}}')


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda root: None,
            r"the folder of a data set; there is nothing there\. In .*: some-other",
        ),
        (empty, r"annotations/instances_train\.json or another json .*in the folder: nothing"),
        (with_other_files, r"in the folder: 00\.jpg, .*07\.jpg and 4 more"),
        (with_via, r"in no format that is read: via_region_data\.json\. Export"),
    ],
)
@pytest.mark.parametrize("command", [["check"], ["train", "--logs", "logs"]])
def test_what_is_missing_is_said_with_what_is_there(tmp_path, monkeypatch, capsys, make, message,
                                                    command):  # fmt: skip
    import re

    monkeypatch.chdir(tmp_path)
    (tmp_path / "some-other-folder").mkdir()
    make(tmp_path / "data")
    assert cli.main([command[0], str(tmp_path / "data"), *command[1:]]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error) and "--fix" not in error


def test_training_without_a_validation_set(tmp_path, monkeypatch, capsys):
    from mrcnn.commands import train

    fiftyone(tmp_path / "data")
    command = ["train", str(tmp_path / "data"), "--logs", str(tmp_path / "logs")]
    assert cli.main(command) == 2
    assert '--val-subset ""' in capsys.readouterr().err
    trained: list = []
    monkeypatch.setattr(train, "train_from_args", lambda *args: trained.append(args))
    assert cli.main([*command, "--val-subset", ""]) == 0
    (arguments,) = trained
    assert len(arguments[2].image_ids) == 3 and arguments[3] is None


def test_keypoints_beside_cocos_instances_are_not_taken(tmp_path):
    for name in ("instances_train2017.json", "person_keypoints_train2017.json"):
        write(tmp_path / "annotations" / name, tmp_path / "train2017")
    found = find_split(tmp_path, "train")
    assert found.annotations.name == "instances_train2017.json"
    assert found.images.name == "train2017"


def test_a_year_that_the_files_do_not_have_is_said(tmp_path, capsys):
    write_shapes(tmp_path / "data", 2, 1, (64, 64))
    found = find_split(tmp_path / "data", "val", "2017")
    assert found.annotations.name == "instances_val.json"
    assert "no annotations/instances_val2017.json" in capsys.readouterr().err
    find_split(tmp_path / "data", "val")
    assert capsys.readouterr().err == ""
