"""How good masks are where the boxes are right: those of the ground truth, with its classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mrcnn.evaluation import coco
from mrcnn.evaluation.boundary import DILATION_RATIO
from mrcnn.evaluation.detection import detect_images
from mrcnn.evaluation.ground_truth import Truth
from mrcnn.evaluation.matches import BOUNDARY, Matches, evaluate_kinds
from mrcnn.evaluation.results import Result
from mrcnn.files.atomic import write_json
from mrcnn.inference.given_boxes import MasksOfBoxes
from mrcnn.logger import logger
from mrcnn.model import MaskRCNN
from mrcnn.runs.results import Split

KINDS = ("segm", BOUNDARY)
# What the names of metrics and files of this evaluation end with.
SUFFIX = "_on_gt_boxes"


class GivenBoxesEvaluation(NamedTuple):
    """An evaluation of the mask branch alone."""

    metrics: coco.Metrics  # of "segm" and "boundary"
    results: list[Result]
    matches: dict[str, Matches]  # likewise


def evaluate_on_ground_truth_boxes(
    model: MaskRCNN,
    split: Split,
    dilation_ratio: float = DILATION_RATIO,
    progress: bool = True,
    truth: Truth | None = None,
) -> GivenBoxesEvaluation:
    """Let the mask branch draw each object in its true box, and evaluate the masks.

    Boxes are the tightest ones around the objects, and the masks those of their true classes, so
    that errors of the detector play no part. All have the score 1, and all of an image count, also
    beyond COCO's 100. Crowds, and objects that have a box alone, are not drawn.

    Args:
        model: for inference.
        split: the images.
        dilation_ratio: of Boundary AP.
        progress: show a progress bar.
        truth: of the split, where it is read already.
    """
    truth = Truth.of(split.ground_truth) if truth is None else truth
    image_ids = coco.choose_images(split.dataset, None, split.limit)
    results, _ = detect_images(MasksOfBoxes(model.detector), split.dataset, image_ids, progress)
    source_ids = [split.dataset.image_info[image_id]["id"] for image_id in image_ids]
    metrics, matches = evaluate_kinds(
        truth, results, source_ids, KINDS, dilation_ratio, every_object=True
    )
    return GivenBoxesEvaluation(metrics, results, matches)


def evaluate_run_on_ground_truth_boxes(
    model: MaskRCNN, split: Split, folder: str | Path
) -> coco.Metrics:
    """Evaluate a model on ground-truth boxes; show the metrics, and write them and the masks.

    Args:
        model: for inference.
        split: the images.
        folder: where `coco_<split>_on_gt_boxes.csv` and `detections_<split>_on_gt_boxes.json` go.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    metrics, results, _ = evaluate_on_ground_truth_boxes(model, split)
    logger.info(f"masks in the {len(results)} boxes of the ground truth, with its classes:")
    logger.info(coco.format_table(metrics))
    table = folder / f"coco_{split.name}{SUFFIX}.csv"
    coco.write_csv(table, metrics)
    masks = folder / f"detections_{split.name}{SUFFIX}.json"
    write_json(masks, results)
    logger.info(f"Metrics: {table}; masks in COCO's format: {masks}")
    return metrics


def with_suffix(names: Sequence[str]) -> list[str]:
    """The kinds of metrics as tables of both evaluations have them."""
    return [f"{name}{SUFFIX}" for name in names]
