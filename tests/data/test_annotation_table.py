"""Annotations that stay in their file are those of a list, to all that reads data sets."""

from __future__ import annotations

import copy
import json
import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mrcnn.checkpoints.fingerprints import fingerprint
from mrcnn.config import Config
from mrcnn.data.annotation_table import AnnotationSlice
from mrcnn.datasets.coco import CocoDataset
from mrcnn.datasets.formats.parts import Part
from mrcnn.datasets.layouts import find_split
from mrcnn.doctor.examine import DatasetFiles, examine
from mrcnn.doctor.report import to_dict
from mrcnn.evaluation.ground_truth import Truth
from mrcnn.files import json_items

SIDE = 24
IDS = [7, "b", 3, "ä", 12]


def annotations() -> list[dict[str, Any]]:
    """Of all forms, in no order of images."""
    rng = np.random.default_rng(0)
    found: list[dict[str, Any]] = []
    for number in range(40):
        y, x = rng.integers(0, SIDE - 10, 2).tolist()
        corners = [x, y, x + 8, y, x + 8, y + 6.5, x, y + 6.5]
        entry = {"id": number, "image_id": IDS[number * 7 % 4], "category_id": 1 + number % 3}
        entry |= {"iscrowd": 0, "segmentation": [corners], "bbox": [x, y, 8, 6.5]}
        found.append(entry)
    found[3]["iscrowd"] = True
    found[5]["segmentation"] = {"size": [SIDE, SIDE], "counts": [40, 20, SIDE**2 - 60]}
    found[8]["segmentation"] = found[8]["segmentation"][0]  # flat
    found[9]["category_id"] = "2"
    found[11] = {**copy.deepcopy(found[10]), "id": 10}  # the same object, under the same id
    found[13]["note"] = "größer"
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    content = {
        "images": [
            {"id": id, "file_name": f"{number}.png", "height": SIDE, "width": SIDE}
            for number, id in enumerate(IDS)
        ],
        "annotations": annotations(),
        "categories": [{"id": k, "name": name} for k, name in ((2, "b"), (1, "a"), (3, "c"))],
    }
    (tmp_path / "annotations").mkdir()
    (tmp_path / "train").mkdir()
    file = tmp_path / "annotations" / "instances_train.json"
    file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    for number in range(len(IDS)):
        Image.new("RGB", (SIDE, SIDE)).save(tmp_path / "train" / f"{number}.png")
    return tmp_path


def both(monkeypatch: pytest.MonkeyPatch, read: Any) -> tuple[Any, Any]:
    """What is read with annotations in a list, and with annotations in their file."""
    found = []
    for least in (1 << 20, 0):
        monkeypatch.setattr(json_items, "MIN_BYTES", least)
        found.append(read())
    return found[0], found[1]


@pytest.mark.parametrize("options", [{}, {"class_ids": [3, 1]}, {"class_map": {3: 1}}])
def test_a_data_set_is_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch, options: dict):
    def load() -> CocoDataset:
        dataset = CocoDataset()
        dataset.load_coco(folder, "train", "", **options)
        dataset.prepare()
        return dataset

    in_list, in_file = both(monkeypatch, load)
    annotated = [info["annotations"] for info in in_file.image_info]
    assert all(isinstance(own, AnnotationSlice) for own in annotated if own)
    assert [info["annotations"] for info in in_list.image_info] == annotated
    assert in_file.summary() == in_list.summary() and in_file.forms == in_list.forms
    assert fingerprint(in_file) == fingerprint(in_list)
    for image_id in in_list.image_ids:
        expected, found = (dataset.load_instances(image_id) for dataset in (in_list, in_file))
        np.testing.assert_array_equal(found.boxes, expected.boxes)
        np.testing.assert_array_equal(found.class_ids, expected.class_ids)


@pytest.mark.parametrize("quick", [True, False])
def test_the_doctor_finds_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch, quick: bool):
    def find() -> dict[str, Any]:
        files = DatasetFiles(folder, val=None)
        return to_dict(examine(files, Config(), quick=quick, progress=False))

    in_list, in_file = both(monkeypatch, find)
    assert in_file == in_list
    assert {"annotation-twice", "annotation-id-twice"} <= set(in_list["kinds"])


def test_other_formats_are_written_from_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch):
    in_list, in_file = both(monkeypatch, lambda: Part.of(find_split(folder, "train")))
    assert in_file.pictures == in_list.pictures


def test_the_ground_truth_is_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch):
    file = folder / "annotations" / "instances_train.json"
    in_list, in_file = both(monkeypatch, lambda: Truth.of(file))
    assert in_file == in_list


def _areas(dataset: CocoDataset) -> list[int]:
    return [int(dataset.load_mask(image_id)[0].sum()) for image_id in dataset.image_ids]


def test_a_copy_in_another_process_reads_for_itself(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(json_items, "MIN_BYTES", 0)
    dataset = CocoDataset.of(folder, "train")
    expected = _areas(dataset)
    assert len(pickle.dumps(dataset)) < 10_000
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_areas, (dataset,)) == expected


def test_as_a_list(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(json_items, "MIN_BYTES", 0)
    own = CocoDataset.of(folder, "train").image_info[0]["annotations"]
    entries = list(own)
    assert len(own) == len(entries) == 10 and own[-1] == entries[-1]
    assert own[2:5] == entries[2:5] and own == entries and own != entries[1:]
    assert repr(own) == repr(entries)
    with pytest.raises(IndexError):
        own[10]
