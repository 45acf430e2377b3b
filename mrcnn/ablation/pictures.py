"""The same images through the arms of a comparison, side by side, as in the paper's Figure 5."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from mrcnn.ablation.grid import Grid, is_finished, run_folder
from mrcnn.ablation.run import PAGE_RESULTS_FILE, load_subset
from mrcnn.config import Config
from mrcnn.data.boxes import extract_bboxes
from mrcnn.data.dataset import Dataset
from mrcnn.data.dataset_checks import load_mask
from mrcnn.data.orientation import load_image
from mrcnn.drawing.comparison import comparison_page
from mrcnn.evaluation.results import Result
from mrcnn.runs.results import DEFAULT_PAGE, image_name
from mrcnn.runs.settings import configure

MOST_ARMS = 5  # of a picture: more would be too small to see


def draw_arms(grid: Grid, output: Path, path: Path) -> Path | None:
    """Draw the detections of the arms with one seed, beside the ground truth.

    Of the first seed that all arms (the first MOST_ARMS) have a run of.

    Args:
        grid: whose arms are drawn.
        output: folder of the runs.
        path: the PNG.

    Returns:
        `path`; None where there is no such seed, or its runs are of an older version, which kept
        no detections.
    """
    arms = list(grid.arms)[:MOST_ARMS]
    seed = next((s for s in grid.seeds if all(_has_page(output, arm, s) for arm in arms)), None)
    if seed is None:
        return None
    pages = {
        arm: json.loads((run_folder(output, arm, seed) / PAGE_RESULTS_FILE).read_text("utf-8"))
        for arm in arms
    }
    spec = grid.run_spec(grid.baseline, seed, path)
    dataset = load_subset(spec, spec.val_subset)
    config = configure(Config, {**grid.settings, "NUM_CLASSES": dataset.num_classes})
    by_source = {dataset.image_info[i]["id"]: i for i in dataset.image_ids.tolist()}
    image_ids = [by_source[source_id] for source_id in pages[grid.baseline]["image_ids"]]
    images = [load_image(dataset, image_id, config) for image_id in image_ids]
    found = {
        f"{arm}, seed {seed}": [
            detections_of(dataset, image_id, page["results"], image.shape)
            for image_id, image in zip(image_ids, images, strict=True)
        ]
        for arm, page in pages.items()
    }
    return comparison_page(
        images,
        [_truth(dataset, image_id) for image_id in image_ids],
        found,
        dataset.class_names,
        path,
        titles=[image_name(dataset, image_id) for image_id in image_ids],
        min_score=DEFAULT_PAGE.min_score,
    )


def detections_of(
    dataset: Dataset, image_id: int, results: Sequence[Result], shape: Sequence[int]
) -> dict[str, Any]:
    """The results of an image as `MaskRCNN.detect` returns detections.

    Args:
        dataset: prepared.
        image_id: its own number of the image.
        results: of any images, in COCO's format with masks.
        shape: (H, W, …) of the image.
    """
    info = dataset.image_info[image_id]
    own = [result for result in results if result["image_id"] == info["id"]]
    masks = [mask_api.decode(result["segmentation"]).astype(bool) for result in own]
    stacked = np.stack(masks, axis=-1) if masks else np.zeros((*shape[:2], 0), bool)
    ids = [
        dataset.map_source_class_id(f"{info['source']}.{result['category_id']}") for result in own
    ]
    return {
        "rois": np.array([_box(result["bbox"]) for result in own], float).reshape(-1, 4),
        "class_ids": np.array(ids, np.int32),
        "scores": np.array([result["score"] for result in own], np.float32),
        "masks": stacked,
    }


def _box(bbox: Sequence[float]) -> tuple[float, float, float, float]:
    x, y, width, height = bbox
    return (y, x, y + height, x + width)


def _truth(dataset: Dataset, image_id: int) -> Mapping[str, Any]:
    masks, class_ids = load_mask(dataset, image_id)
    return {"rois": extract_bboxes(masks), "class_ids": class_ids, "masks": masks}


def _has_page(output: Path, arm: str, seed: int) -> bool:
    page = run_folder(output, arm, seed) / PAGE_RESULTS_FILE
    return is_finished(output, arm, seed) and page.is_file()
