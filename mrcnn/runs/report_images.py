"""The images of a report: those that came out worst and best, beside their ground truth."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as mask_api

from mrcnn.config import Config
from mrcnn.data.coco_fields import read_id
from mrcnn.data.dataset import Dataset
from mrcnn.data.orientation import load_image
from mrcnn.drawing.overlay import draw_overlay
from mrcnn.evaluation.errors import ImageErrors, Matching, by_image, curve_of_all
from mrcnn.evaluation.ground_truth import Truth
from mrcnn.evaluation.results import Result
from mrcnn.files.addresses import name_of
from mrcnn.runs.report import ReportImage

WORST, BEST = 16, 8  # images that are shown
LARGEST_SIDE = 512  # pixels
MISSED = "missed"


def choose_images(
    dataset: Dataset,
    image_ids: Sequence[int],
    config: Config,
    truth: Truth,
    results: Sequence[Result],
    matching: Matching,
) -> list[ReportImage]:
    """Draw the images with the most false and missed objects, and those with the fewest.

    Detections count from the score on that has the best F1 over all images.

    Args:
        dataset: prepared.
        image_ids: internal ids of the images that were evaluated.
        config: says how images are read.
        truth: the ground truth.
        results: in COCO's format.
        matching: of these results.
    """
    objects = defaultdict(list)
    for annotation in truth.objects:
        objects[annotation["image_id"]].append(annotation)
    number_of = {
        image_id: truth.images[read_id(dataset.image_info[image_id]["id"])]
        for image_id in image_ids
    }

    outcome = by_image(matching, number_of.values(), curve_of_all(matching).best_score)
    order = sorted(image_ids, key=lambda image_id: -outcome[number_of[image_id]].wrong)
    chosen = order[:WORST] + order[max(WORST, len(order) - BEST) :]
    names = _names(dataset, truth)
    return [
        _drawn(
            *(dataset, image_id, config, names),
            objects[number_of[image_id]],
            outcome[number_of[image_id]],
            results,
        )
        for image_id in chosen
    ]


def _names(dataset: Dataset, truth: Truth) -> dict[int, str]:
    """Names of the classes by their number."""
    by_id = {read_id(i["id"]): i["name"] for i in dataset.class_info if i["source"]}
    return {
        number: str(by_id.get(category, category)) for category, number in truth.categories.items()
    }


def _drawn(
    dataset: Dataset,
    image_id: int,
    config: Config,
    names: Mapping[int, str],
    objects: Sequence[dict[str, Any]],
    outcome: ImageErrors,
    results: Sequence[Result],
) -> ReportImage:
    image = load_image(dataset, image_id, config)
    scale = min(1.0, LARGEST_SIDE / max(image.shape[:2]))
    info = dataset.image_info[image_id]
    name = name_of(info["path"]) if info.get("path") else ""
    truth = [(entry["segmentation"], names[entry["category_id"]]) for entry in objects]
    found = [
        (results[d.result]["segmentation"], f"{names[d.category]} {d.score:.2f}")
        for d in outcome.shown
    ]
    classes = {names[entry["category_id"]] for entry in objects}
    classes |= {names[detection.category] for detection in outcome.shown}
    return ReportImage(
        name=name or f"image {info['id']}",
        found=outcome.found,
        false=len(outcome.false),
        missed=len(outcome.missed),
        classes=sorted(classes),
        errors=sorted({d.kind for d in outcome.false} | ({MISSED} if outcome.missed else set())),
        truth=_overlay(image, truth, scale),
        detected=_overlay(image, found, scale),
    )


def _overlay(image: np.ndarray, objects: Sequence[tuple[Any, str]], scale: float) -> np.ndarray:
    """The image with masks, given as run lengths, drawn at another size."""
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    picture = np.asarray(Image.fromarray(image[..., :3]).resize((width, height)))
    boxes, parts, captions = [], [], []
    for rle, caption in objects:
        whole = Image.fromarray(mask_api.decode(rle))
        mask = np.asarray(whole.resize((width, height), Image.Resampling.NEAREST)) > 0
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not len(rows):
            continue
        y1, y2, x1, x2 = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
        boxes.append([y1, x1, y2, x2])
        parts.append(((int(y1), int(x1)), mask[y1:y2, x1:x2]))
        captions.append(caption)
    return draw_overlay(picture, np.asarray(boxes, int).reshape(-1, 4), parts, captions)
