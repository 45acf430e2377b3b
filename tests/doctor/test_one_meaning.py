"""A field means one thing: to training, the doctor, its fixes, COCO's and the boundary metrics."""

from __future__ import annotations

import copy
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mrcnn.data.boxes import extract_bboxes
from mrcnn.datasets.coco import CocoDataset
from mrcnn.doctor import fixes
from mrcnn.doctor.examine import DatasetFiles, examine
from mrcnn.doctor.findings import AT_START, AT_STEP
from mrcnn.evaluation.boundary import boundary_metrics
from mrcnn.evaluation.coco import evaluate_results
from mrcnn.evaluation.results import Result, coco_results
from tests.doctor.sound import DoctorConfig, rle, sound
from tests.doctor.test_examine import BY_NAME

FIELDS = (
    *(("images", field) for field in ("id", "height", "width")),
    *(("categories", "id"),),
    *(("annotations", field) for field in ("id", "image_id", "category_id", "iscrowd")),
    *(("annotations", field) for field in ("area", "bbox", "segmentation")),
)
SQUARE = [2, 2, 14, 2, 14, 14, 2, 14]
CIRCLE = np.hypot(*np.mgrid[-20:28, -30:34]) < 9
ODD: tuple[Any, ...] = (
    *(None, "", "x", "0", "1", "1.0", "144", "007", "1e400", "٣", 0, 1, 2, -1, 7, 48, 64, 100),
    *(0.0, 1.0, 1.5, 48.0, -0.0, 1e300, 10**30, 2**63, math.nan, math.inf, True, False),
    *([], {}, [0], [[]], [[], []], [[0.0]], [None], [[None] * 6], [[True] * 6], ["a"] * 6),
    *([2, 2, 12, 12], ["2", "2", "12", "12"], [2, 2, 0, 12], [2, 2, -1, 12], [[2, 2, 12, 12]]),
    *([2, 2, 12], [2, 2, 12, math.nan], [2, 2, 12, None], [1e300] * 4, [10**30] * 4),
    *(SQUARE, [SQUARE], [[str(value) for value in SQUARE]], [SQUARE[:4]], [SQUARE[:-1]]),
    *([[[2, 2], [14, 2], [14, 14]]], [[2, 2], [14, 2], [14, 14]], [SQUARE, []], [[SQUARE]]),
    *([[2, 2, 14, 2, 14, math.nan]], [[2, 2, 14, 2, 14, 1e9]], [[5, 5, 5.1, 5, 5.1, 5.1]]),
    *({"size": [48, 64]}, {"counts": "11"}, {"size": [48, 64], "counts": [3072]}, rle(CIRCLE)),
    *({"size": [48.0, "64"], "counts": [100.0, "20", 2952]}, {"size": [64, 48], "counts": [3072]}),
    *({"size": [48, 64], "counts": [True, 3071]}, {"size": [48, 64], "counts": [1.5, 3070.5]}),
)
NUMBERS = st.one_of(st.integers(), st.floats(), st.integers().map(str), st.floats().map(str))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("one-meaning")


def read_training(folder: Path) -> dict[str, list[tuple]] | None:
    """The objects of each image as training sees them; None where it stops."""
    try:
        dataset = CocoDataset.of(folder, "train", box_only=True)
        return {
            info["file_name" if "file_name" in info else "path"]: [
                (int(class_id), mask.tobytes(), alone)
                for class_id, mask, alone in objects_of(dataset, image_id)
            ]
            for image_id, info in enumerate(dataset.image_info)
        }
    except ValueError:
        return None


def objects_of(dataset: CocoDataset, image_id: int) -> list[tuple]:
    masks, class_ids = dataset.load_mask(image_id)
    # The loader refuses such objects, and the doctor images that should have some.
    if dataset.load_image(image_id).shape[:2] != masks.shape[:2] and dataset.annotations(image_id):
        raise ValueError("another size")
    alone = dataset.load_box_only(image_id)
    alone = [False] * len(class_ids) if alone is None else alone.tolist()
    return list(zip(class_ids.tolist(), np.moveaxis(masks, -1, 0), alone, strict=True))


def perfect_results(folder: Path) -> list[Result]:
    """All ordinary objects that training sees, as detections."""
    dataset = CocoDataset.of(folder, "train", box_only=True)
    results = []
    for image_id, info in enumerate(dataset.image_info):
        for class_id, mask, _ in objects_of(dataset, image_id):
            if class_id > 0:
                category = dataset.class_info[class_id]["id"]
                boxes = extract_bboxes(mask[..., None])
                results += coco_results(info["id"], boxes, [category], [0.9], mask[..., None])
    return results


def evaluations(file: Path, results: list[Result]) -> list[float] | None:
    """AP by masks, and by boundaries; None where the ground truth is refused."""
    scores: list[float | None] = []
    for evaluate in (
        lambda: evaluate_results(str(file), results, ("segm",))["segm"]["AP"],
        lambda: boundary_metrics(str(file), results)["AP"],
    ):
        try:
            scores.append(evaluate())
        except ValueError as error:
            assert "image_ids, results" not in str(error)
            scores.append(None)
    assert (scores[0] is None) == (scores[1] is None)
    return None if scores[0] is None else scores


def doctor_stops(folder: Path) -> tuple[bool, Any]:
    files = DatasetFiles(folder, val=None)
    examination = examine(files, DoctorConfig(), box_only=True, jobs=1, progress=False)
    quick = examine(files, DoctorConfig(), box_only=True, quick=True, progress=False)
    stops = [
        bool({BY_NAME[f.kind].stops for f in found.findings} & {AT_START, AT_STEP})
        for found in (examination, quick)
    ]
    assert stops[0] == stops[1]
    return stops[0], examination


@given(st.sampled_from(FIELDS), st.one_of(st.sampled_from(ODD), NUMBERS))
@settings(max_examples=150, deadline=None)
@example(("annotations", "iscrowd"), "0")
@example(("annotations", "iscrowd"), None)
@example(("annotations", "area"), None)
@example(("annotations", "area"), "224")
@example(("annotations", "bbox"), None)
@example(("annotations", "bbox"), [])
@example(("annotations", "bbox"), [[5, 11, 14, 17]])
@example(("annotations", "category_id"), 7.0)
@example(("images", "height"), 48.0)
def test_five_readers_hold_one_answer(folder, place, value):
    (part, field), data_folder, out = place, folder / "data", folder / "out"
    for used in (data_folder, out):
        shutil.rmtree(used, ignore_errors=True)
    data = sound(data_folder)
    data.train["annotations"][1:10] = data.train["annotations"][1:3]
    data.train[part][0][field] = copy.deepcopy(value)
    data.write()
    file = data_folder / "annotations" / "instances_train.json"

    seen = read_training(data_folder)
    stops, examination = doctor_stops(data_folder)
    assert stops == (seen is None)
    results = [] if seen is None else perfect_results(data_folder)
    scores = evaluations(file, results)
    # A size that is not the file's is a matter of the image file, which no evaluation reads.
    of_size = part == "images" and field in ("height", "width")
    if not (of_size and seen is None):
        assert (scores is None) == (seen is None)
    if seen is not None and scores is not None:
        assert scores == pytest.approx([1, 1])

    try:
        fixes.fix(examination, out, box_only=True)
    except ValueError as error:
        assert "that can be kept" in str(error) and seen is None
        return
    repaired = read_training(out)
    assert repaired is not None and not doctor_stops(out)[0]
    if seen is not None:  # nothing is lost but repetitions, and nothing changes its meaning
        kept, had = (sorted(sorted(set(of)) for of in found.values()) for found in (repaired, seen))
        assert kept == had
    written = json.loads((out / "annotations" / "instances_train.json").read_text())
    for entries in (written["images"], written["annotations"], written["categories"]):
        for entry in entries:
            for name in ("id", "image_id", "category_id", "iscrowd", "height", "width"):
                assert type(entry.get(name, 0)) in (int, str)
