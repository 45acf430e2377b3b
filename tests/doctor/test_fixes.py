"""What is repaired: a copy that trains, in which nothing repairable is left, and all is counted."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mrcnn.doctor import fixes
from mrcnn.doctor.catalogue import KINDS
from mrcnn.doctor.examine import DatasetFiles, examine
from tests.doctor.damaged import CASES, damaged
from tests.doctor.sound import WIDTH, Data, DoctorConfig, noise, rle, sound
from tests.doctor.test_examine import config_of, training_stops

# Damage after which there is nothing left to train on.
HOPELESS = ("json-cut-off", "json-without-categories", "folder-missing", "no-images")
# Damage by which a subset would lose all its objects, or has none.
LOST = ("image-id-twice", "only-crowds", "validation-of-crowds-only")
# What no json can repair: the settings are to be changed.
OF_SETTINGS = (
    *("image-too-large", "validation-has-another-class"),
    *("no-annotations", "no-annotations-to-validate-on", "class-of-crowds-only", "path-by-a-link"),
)
MENDABLE = {kind.name for kind in KINDS if kind.fix}


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def repair(data: Data, out: Path, name: str = "", crowds_as_objects: bool = False) -> Counter[str]:
    """Repair; returns what was done to the training."""
    case = CASES.get(name)
    config = config_of(case.settings) if case else DoctorConfig()
    box_only = bool(case and case.box_only)
    files = DatasetFiles(data.folder)
    examination = examine(files, config, box_only, jobs=1, progress=False)
    return fixes.fix(examination, out, box_only, crowds_as_objects)["train"]


def annotations(out: Path) -> list[dict]:
    content = json.loads((out / "annotations" / "instances_train.json").read_text())
    return content["annotations"]


@pytest.mark.parametrize("name", [name for name in CASES if name not in HOPELESS + LOST])
def test_the_copy_trains_and_has_nothing_more_to_repair(tmp_path, name):
    case = CASES[name]
    data = damaged(name, tmp_path / "data")
    before = files(data.folder)
    done = repair(data, tmp_path / "out", name)
    assert files(data.folder) == before  # never in place
    repaired = DatasetFiles(tmp_path / "out")
    config = config_of(case.settings)
    examination = examine(repaired, config, case.box_only, jobs=1, progress=False)
    left = {finding.kind for finding in examination.findings} & MENDABLE
    assert not left or name.endswith("class-of-crowds-only")  # which takes an option
    if name not in OF_SETTINGS:
        assert not examination.stops_training
        assert training_stops(tmp_path / "out", case.settings, case.box_only) is None
    assert bool(done) == bool(set(case.kinds) & MENDABLE - left)


def test_of_a_sound_data_set_nothing_is_changed(tmp_path):
    data = sound(tmp_path / "data")
    data.write()
    assert not repair(data, tmp_path / "out")
    for subset in ("train", "val"):
        name = f"annotations/instances_{subset}.json"
        copy, original = (json.loads((tmp_path / d / name).read_text()) for d in ("out", "data"))
        assert copy == original
        assert (tmp_path / "out" / subset).resolve() == data.folder / subset


@pytest.mark.parametrize("name", HOPELESS)
def test_what_cannot_be_repaired_is_refused_and_nothing_is_written(tmp_path, name):
    data = damaged(name, tmp_path / "data")
    expected = "an image that can be kept" if name == "no-images" else "a readable json"
    with pytest.raises(ValueError, match=rf"instances_train\.json: expected {expected}"):
        repair(data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", LOST)
def test_a_copy_without_any_object_is_refused_and_not_written(tmp_path, name):
    data = damaged(name, tmp_path / "data")
    with pytest.raises(ValueError, match="expected an ordinary object that can be kept") as error:
        repair(data, tmp_path / "out")
    subset = "val" if name.startswith("validation") else "train"
    assert f"instances_{subset}.json" in str(error.value)
    assert ("--crowds-as-objects" in str(error.value)) == ("crowds" in name)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["only-crowds", "class-of-crowds-only"])
def test_crowds_become_objects_on_demand(tmp_path, name):
    data = damaged(name, tmp_path / "data")
    crowds = sum(annotation["iscrowd"] for annotation in data.train["annotations"])
    done = repair(data, tmp_path / "out", crowds_as_objects=True)
    assert done == {"crowds made objects": crowds}
    assert not any(annotation["iscrowd"] for annotation in annotations(tmp_path / "out"))
    assert len(annotations(tmp_path / "out")) == 20
    files = DatasetFiles(tmp_path / "out")
    assert not examine(files, DoctorConfig(), jobs=1, progress=False).findings


def test_what_is_left_of_an_object_is_kept_as_a_box_if_boxes_are_accepted(tmp_path):
    data = sound(tmp_path / "data")
    data.object(0)["segmentation"] = "circle"
    data.object(1)["segmentation"] = [[2, 2, 14, 14]]
    data.object(2)["segmentation"] = [[0.0]]
    data.object(3).update(segmentation=[[2, 2, 14, 15]], bbox=None)
    data.write()
    examination = examine(
        DatasetFiles(data.folder), DoctorConfig(), box_only=True, jobs=1, progress=False
    )
    done = fixes.fix(examination, tmp_path / "out", box_only=True)["train"]
    kept = annotations(tmp_path / "out")
    assert [annotation["id"] for annotation in kept[:3]] == [1, 2, 3] and len(kept) == 19
    assert all("segmentation" not in a and a["bbox"] for a in kept[:3])
    assert done["masks left out, and the boxes kept: segmentation-malformed"] == 1
    assert done["masks left out, and the boxes kept: polygon-points"] == 1
    assert done["annotations left out: polygon-points"] == 1


def test_what_is_null_or_none_is_computed_from_the_mask(tmp_path):
    data = sound(tmp_path / "data")
    data.object(0).update(bbox=None, area=None)
    data.object(1).update(bbox=[[18, 2, 12, 12]], area=True)
    data.write()
    repair(data, tmp_path / "out")
    for annotation, x in zip(annotations(tmp_path / "out"), (2, 18), strict=False):
        assert annotation["bbox"] == [x, 2, 12, 12] and annotation["area"] == 144


def test_a_folder_in_use_is_refused(tmp_path):
    data = sound(tmp_path / "data")
    data.write()
    with pytest.raises(ValueError, match="expected a new or an empty folder"):
        repair(data, data.folder)


def test_a_polygon_is_clipped_and_its_box_and_area_follow(tmp_path):
    data = sound(tmp_path / "data")
    data.object(3)["segmentation"] = [[50, 2, 74, 2, 74, 14, 50, 14]]  # 10 of 24 pixels outside
    data.object(3).update(bbox=[50, 2, 24, 12], area=24 * 12)
    data.write()
    done = repair(data, tmp_path / "out")
    repaired = annotations(tmp_path / "out")[3]
    assert max(repaired["segmentation"][0][0::2]) == 64
    assert repaired["bbox"] == [50, 2, 14, 12] and repaired["area"] == 14 * 12
    assert done == {
        "polygons clipped to the image": 1,
        "boxes computed from the mask": 1,
        "areas computed from the mask": 1,
    }


def test_of_several_polygons_the_bad_ones_go(tmp_path):
    data = sound(tmp_path / "data")
    good = data.object()["segmentation"][0]
    data.object()["segmentation"] = [[1, 2, 3, 4], good, [5, 5, 6, 6, 7, 7]]
    data.write()
    done = repair(data, tmp_path / "out")
    assert annotations(tmp_path / "out")[0]["segmentation"] == [good]
    assert sum(done.values()) == 2


def test_ids_are_given_anew_and_none_is_taken_twice(tmp_path):
    data = sound(tmp_path / "data")
    data.object(4)["id"] = data.object(5)["id"] = 2
    del data.object(6)["id"]
    data.write()
    done = repair(data, tmp_path / "out")
    ids = [annotation["id"] for annotation in annotations(tmp_path / "out")]
    assert len(set(ids)) == len(ids) == 20 and ids[:4] == [1, 2, 3, 4]
    assert done == {"annotations given a new id": 3}


def test_a_size_is_corrected_only_where_the_annotations_fit_the_file(tmp_path):
    data = damaged("size-wrong", tmp_path / "right")
    assert repair(data, tmp_path / "out1") == {"sizes of images taken from the file": 1}
    # A scaled copy: the polygons lie in the file, but in the wrong place.
    data = damaged("size-of-a-thumbnail", tmp_path / "scaled")
    done = repair(data, tmp_path / "out2")
    assert done["images left out whose annotations may be of another size"] == 1
    assert done["annotations left out of images that are unknown or left out"] == 10
    # Run lengths say of which size they are.
    data = damaged("size-of-a-thumbnail", tmp_path / "run-lengths")
    mask = np.zeros((96, 128))
    mask[4:28, 4:28] = 1
    data.train["annotations"][:10] = [{**data.object(), "segmentation": rle(mask)}]
    data.write()
    done = repair(data, tmp_path / "out3")
    assert done["sizes of images taken from the file"] == 1
    assert len(annotations(tmp_path / "out3")) == 11


def test_what_was_done_is_said(tmp_path):
    text = fixes.describe({"train": Counter({"boxes computed from the mask": 3}), "val": Counter()})
    assert text == "     3  train: boxes computed from the mask"
    assert fixes.describe({"train": Counter()}) == "nothing to repair"


def repaired_names(data: Data, out: Path) -> tuple[dict[int, str], Counter[str]]:
    data.write()
    done = repair(data, out)
    content = json.loads((out / "annotations" / "instances_train.json").read_text())
    return {image["id"]: image["file_name"] for image in content["images"]}, done


class TestNamesOfAnotherMachine:
    """A file of the same name is taken only if nothing speaks against it."""

    def test_the_file_of_that_name_and_size_is_taken(self, tmp_path):
        data = sound(tmp_path / "data")
        for image in data.train["images"]:
            image["file_name"] = "..\\..\\media/upload/" + image["file_name"]
        names, done = repaired_names(data, tmp_path / "out")
        assert names == {0: "0.png", 1: "1.png"}
        assert done == {"file names written as they are here": 2}

    def test_not_one_of_another_size(self, tmp_path):
        data = sound(tmp_path / "data")
        data.train["images"][0].update(file_name="/home/me/0.png", width=WIDTH + 1)
        names, done = repaired_names(data, tmp_path / "out")
        assert names == {1: "1.png"}
        assert done["images left out whose file is missing or cannot be read"] == 1

    def test_not_one_that_another_entry_names(self, tmp_path):
        data = sound(tmp_path / "data")
        data.train["images"][0]["file_name"] = "day2/1.png"
        assert repaired_names(data, tmp_path / "out")[0] == {1: "1.png"}

    def test_not_one_that_several_entries_may_mean(self, tmp_path):
        data = sound(tmp_path / "data")
        first, second = data.train["images"]
        (data.folder / "train" / "1.png").unlink()
        first["file_name"], second["file_name"] = "day1/0.png", "day2/0.png"
        data.train["images"].append({**first, "id": 2, "file_name": "2.png"})
        noise(2).save(data.folder / "train" / "2.png")
        data.train["annotations"].append({**data.object(), "id": 99, "image_id": 2})
        assert repaired_names(data, tmp_path / "out")[0] == {2: "2.png"}

    def test_one_that_is_listed_again_for_another_annotator_is_taken_for_both(self, tmp_path):
        data = sound(tmp_path / "data")
        data.train["images"][0]["file_name"] = "/media/0.png"
        data.train["images"].append({**data.train["images"][0], "id": 2})
        assert repaired_names(data, tmp_path / "out")[0] == {0: "0.png", 1: "1.png", 2: "0.png"}
