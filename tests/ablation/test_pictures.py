"""Detections of the arms, read from their runs and drawn side by side."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mrcnn.ablation import pictures
from mrcnn.ablation.grid import Grid, run_folder
from mrcnn.datasets.coco import CocoDataset
from mrcnn.datasets.shapes import write_shapes
from mrcnn.evaluation.results import coco_results
from mrcnn.training.stages import Stage


@pytest.fixture
def grid(tmp_path: Path) -> Grid:
    write_shapes(tmp_path / "data", 0, 3, (64, 64))
    return Grid(
        dataset=str(tmp_path / "data"),
        arms={f"arm{n}": {} for n in range(pictures.MOST_ARMS + 1)},
        seeds=[4, 7],
        settings={"STEPS_PER_EPOCH": 1, "IMAGE_MIN_DIM": 64, "IMAGE_MAX_DIM": 64},
        stages=[Stage("all", 0.1, 1)],
    )


def objects_of(dataset: CocoDataset, image_id: int) -> tuple[np.ndarray, np.ndarray]:
    """Masks and class ids without crowds, which no network detects."""
    masks, class_ids = dataset.load_mask(image_id)
    return masks[..., class_ids > 0], class_ids[class_ids > 0]


def write_run(output: Path, arm: str, seed: int, dataset: CocoDataset) -> None:
    """A finished run that found every object of the last two images."""
    image_ids = dataset.image_ids[1:].tolist()
    results = []
    for image_id in image_ids:
        masks, class_ids = objects_of(dataset, image_id)
        boxes = pictures.extract_bboxes(masks)
        info = dataset.image_info[image_id]
        ids = {c: dataset.get_source_class_id(c, info["source"]) for c in class_ids.tolist()}
        scores = np.full(len(boxes), 0.9)
        results += coco_results(info["id"], boxes, class_ids, scores, masks, ids)
    folder = run_folder(output, arm, seed)
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text("{}")
    page = {"image_ids": [dataset.image_info[i]["id"] for i in image_ids], "results": results}
    (folder / "page.json").write_text(json.dumps(page))


def test_results_become_what_detect_returns(grid: Grid, tmp_path: Path):
    dataset = CocoDataset.of(grid.dataset, "val", "", ground_truth=False)
    write_run(tmp_path, "a", 0, dataset)
    page = json.loads((tmp_path / "a" / "seed-0" / "page.json").read_text())
    for image_id in dataset.image_ids.tolist():
        found = pictures.detections_of(dataset, image_id, page["results"], (64, 64, 3))
        masks, class_ids = objects_of(dataset, image_id)
        if image_id == 0:
            assert found["rois"].shape == (0, 4) and found["masks"].shape == (64, 64, 0)
            continue
        np.testing.assert_array_equal(found["masks"], masks)
        np.testing.assert_array_equal(found["class_ids"], class_ids)
        np.testing.assert_array_equal(found["rois"], pictures.extract_bboxes(masks))


def test_the_first_seed_that_all_arms_have_is_drawn(grid: Grid, tmp_path: Path, monkeypatch):
    dataset = CocoDataset.of(grid.dataset, "val", "", ground_truth=False)
    assert pictures.draw_arms(grid, tmp_path, tmp_path / "arms.png") is None
    for arm in list(grid.arms)[: pictures.MOST_ARMS]:
        write_run(tmp_path, arm, 7, dataset)
    write_run(tmp_path, "arm0", 4, dataset)
    drawn = {}

    def page(images, truths, found, names, path, titles, min_score):
        drawn.update(found=found, images=len(images), truths=truths)
        return path

    monkeypatch.setattr(pictures, "comparison_page", page)
    assert pictures.draw_arms(grid, tmp_path, tmp_path / "arms.png") == tmp_path / "arms.png"
    assert list(drawn["found"]) == [f"arm{n}, seed 7" for n in range(pictures.MOST_ARMS)]
    assert drawn["images"] == 2
    for found, truth in zip(drawn["found"]["arm3, seed 7"], drawn["truths"], strict=True):
        objects = truth["masks"][..., truth["class_ids"] > 0]
        np.testing.assert_array_equal(found["masks"], objects)
