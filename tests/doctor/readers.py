"""What training, the doctor, its fix, COCO's and the boundary metrics see in one data set."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrcnn.data.boxes import extract_bboxes
from mrcnn.data.sample import load_sample
from mrcnn.datasets.coco import CocoDataset
from mrcnn.datasets.layouts import find_split
from mrcnn.doctor import fixes
from mrcnn.doctor.examine import DatasetFiles, Examination, examine
from mrcnn.evaluation.boundary import boundary_metrics
from mrcnn.evaluation.coco import evaluate_results
from mrcnn.evaluation.results import Result, coco_results
from tests.doctor.sound import DoctorConfig

# What the doctor says of any data set of few objects.
OF_FEW = {"class-rare", "anchors-miss", "blank"}


@dataclass(frozen=True)
class Seen:
    """An object as training sees it: its picture, the name of its class, its pixels."""

    picture: str
    name: str
    is_crowd: bool
    is_box: bool
    mask: bytes

    @property
    def pixels(self) -> int:
        return self.mask.count(1)


@dataclass(frozen=True)
class Right:
    """What is right of a data set, for all that read it.

    Attributes:
        findings: kinds that the doctor finds, but those of `OF_FEW`.
        objects: that training sees, crowds included.
        stops: in the reader's message, where it refuses the data set as it is.
        repaired: objects in the copy that `--fix` writes; None: there is nothing to keep.
        box_only, crowds_as_objects: options; with the first one, `stops` is what it says without.
        follow_links: with MRCNN_FOLLOW_LINKS it is read; `stops` is what it says without.
    """

    findings: frozenset[str] = frozenset()
    objects: int = 1
    stops: str = ""
    repaired: int | None = 1
    box_only: bool = False
    crowds_as_objects: bool = False
    follow_links: bool = False


def read_objects(dataset: CocoDataset) -> list[Seen]:
    return [seen for image_id in dataset.image_ids for seen in _of_image(dataset, int(image_id))]


def _of_image(dataset: CocoDataset, image_id: int) -> Iterator[Seen]:
    masks, class_ids = dataset.load_mask(image_id)
    alone = dataset.load_box_only(image_id)
    for index, class_id in enumerate(class_ids.tolist()):
        yield Seen(
            os.path.basename(dataset.image_info[image_id]["path"]),
            dataset.class_names[abs(class_id)],
            class_id < 0,
            bool(alone is not None and alone[index]),
            masks[..., index].tobytes(),
        )


def perfect_results(dataset: CocoDataset) -> list[Result]:
    """All ordinary objects that training sees, as detections."""
    results = []
    for image_id, info in enumerate(dataset.image_info):
        masks, class_ids = dataset.load_mask(image_id)
        for index, class_id in enumerate(class_ids.tolist()):
            if class_id > 0:
                mask = masks[..., index : index + 1]
                category = dataset.class_info[class_id]["id"]
                results += coco_results(info["id"], extract_bboxes(mask), [category], [0.9], mask)
    return results


def average_precisions(truth: Any, results: list[Result]) -> dict[str, float]:
    """AP by masks, boxes and boundaries."""
    metrics = evaluate_results(truth, results)
    boundary = boundary_metrics(truth, results)
    return {**{kind: values["AP"] for kind, values in metrics.items()}, "boundary": boundary["AP"]}


def look(root: Path, box_only: bool) -> Examination:
    return examine(DatasetFiles(root, val=None), DoctorConfig(), box_only, jobs=1, progress=False)


def hold_to_one_answer(
    root: Path, right: Right, out: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[Seen], list[Seen]]:
    """Check the training subset of a data set by all its readers.

    Returns:
        The objects that training sees (none where it refuses), and those in the repaired copy.
    """
    file = find_split(root, "train").annotations
    examination = look(root, right.box_only)
    assert {finding.kind for finding in examination.findings} - OF_FEW == right.findings
    if right.stops:
        with pytest.raises((ValueError, FileNotFoundError), match=right.stops) as error:
            CocoDataset.of(root, "train")
        assert str(file) in str(error.value)
        assert look(root, False).stops_training
    seen: list[Seen] = []
    if right.follow_links:
        monkeypatch.setattr("mrcnn.files.untrusted.FOLLOW_LINKS", True)
        examination = look(root, right.box_only)
    if not right.stops or right.box_only or right.follow_links:
        seen = _hold_accepted(root, file, right, examination)
    elif not any(kind.startswith("path-") for kind in right.findings):
        # The json itself is at fault: no evaluation reads what training refuses.
        for evaluate in (evaluate_results, boundary_metrics):
            with pytest.raises(ValueError):
                evaluate(str(file), [])
    return seen, _hold_repaired(examination, right, out, seen)


def _hold_accepted(root: Path, file: Path, right: Right, examination: Examination) -> list[Seen]:
    dataset = CocoDataset.of(root, "train", box_only=right.box_only)
    seen = read_objects(dataset)
    assert len(seen) == right.objects
    only_crowds = all(object.is_crowd for object in seen)
    assert examination.stops_training == only_crowds
    _hold_evaluations([str(file), dataset.ground_truth], dataset, seen)
    config = type("Some", (DoctorConfig,), {"NUM_CLASSES": dataset.num_classes})()
    for image_id in dataset.image_ids:
        sample = load_sample(dataset, image_id, config, np.random.default_rng(0))
        of_image = list(_of_image(dataset, image_id))
        assert (sample.class_ids != 0).sum() == len(of_image)
        assert (sample.class_ids < 0).sum() == sum(object.is_crowd for object in of_image)
    return seen


def _hold_evaluations(truths: list[Any], dataset: CocoDataset, seen: list[Seen]) -> None:
    """Perfect results are perfect, where there is anything to find."""
    ordinary = [object for object in seen if not object.is_crowd]
    masks = [object for object in ordinary if not object.is_box]
    for truth in truths:
        scores = average_precisions(truth, perfect_results(dataset))
        assert scores["segm"] == scores["boundary"] == pytest.approx(1 if masks else -1)
        assert scores["bbox"] >= 0.75 if ordinary else scores["bbox"] == -1


def _hold_repaired(
    examination: Examination, right: Right, out: Path, seen: list[Seen]
) -> list[Seen]:
    if right.repaired is None or right.crowds_as_objects:
        with pytest.raises(ValueError, match="object that can be kept"):
            fixes.fix(examination, out, right.box_only)
        assert not out.exists()
    if right.repaired is None:
        return []
    fixes.fix(examination, out, right.box_only, right.crowds_as_objects)
    assert not look(out, right.box_only).stops_training
    dataset = CocoDataset.of(out, "train", box_only=right.box_only)
    repaired = read_objects(dataset)
    assert len(repaired) == right.repaired and not dataset.forms
    _hold_evaluations([dataset.ground_truth], dataset, repaired)
    if seen and not right.crowds_as_objects:
        assert sorted(map(repr, repaired)) == sorted(map(repr, seen))
    return repaired
