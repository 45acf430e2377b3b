"""COCO's detection metrics (https://cocodataset.org/#detection-eval).

By pycocotools, or by the engine that the ground truth names (`mrcnn.evaluation.engines`).
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.evaluation.detection import AnyDetector, Timing, detect_images
from mrcnn.evaluation.engines import Evaluator, make_evaluator
from mrcnn.evaluation.ground_truth import GroundTruth, Truth
from mrcnn.evaluation.results import Result, bbox_annotation, segm_annotation

Metrics = dict[str, dict[str, float]]  # {"segm": {"AP": 0.32, ...}, "bbox": {...}}
# The same for each category id of the ground truth: {"segm": {7: {"AP": 0.28, ...}, ...}, ...}.
ClassMetrics = dict[str, dict[Any, dict[str, float]]]

# In the order of COCOeval's `stats`. S, M and L are objects of less than 32² pixels, of less
# than 96², and larger ones; AR1, AR10 and AR100 the recall with that many detections an image.
METRIC_NAMES = (
    *("AP", "AP50", "AP75", "AP_S", "AP_M", "AP_L"),
    *("AR1", "AR10", "AR100", "AR_S", "AR_M", "AR_L"),
)
CLASS_METRIC_NAMES = ("AP", "AP50", "AP75")
IOU_TYPES = ("segm", "bbox")
MAX_DETECTIONS = 100  # of a category in an image that COCO counts
UNDEFINED = -1.0  # COCO's value where the ground truth has no such object


def evaluate_results(
    ground_truth: GroundTruth,
    results: Sequence[Result],
    iou_types: Sequence[str] = IOU_TYPES,
    image_ids: Iterable[Any] | None = None,
) -> Metrics:
    """Compute the 12 COCO metrics for each kind of IoU.

    An object's or detection's size is its area in pixels for "segm" and the box's area of a
    detection for "bbox", as the COCO server has it. The ground truth is left as it was.

    Args:
        ground_truth: a COCO json file, its `COCO` object, or a `Truth`, which can name another
            engine than pycocotools.
        results: in COCO's result format. For "bbox", one without `bbox` gets its mask's box.
        iou_types: "segm", "bbox" or both.
        image_ids: ids in the ground truth to evaluate on; None: all of its images, those
            without results included.

    Returns:
        By kind of IoU, the metrics of METRIC_NAMES, in [0, 1], or -1 where the ground truth
        has no object of that size. Without results, 0 takes their place.

    Raises:
        ValueError: an image id is not in the ground truth, a result lacks a field, or the ground
            truth has an entry that training refuses too.
    """
    return _evaluate_all(Truth.of(ground_truth), results, iou_types, image_ids)[0]


class Evaluation(NamedTuple):
    """A detector's evaluation on the images of a data set.

    Attributes:
        metrics: as of `evaluate_results`.
        results: in COCO's result format, in the order of the images.
        timing: of detecting, and in all.
        classes: the metrics of CLASS_METRIC_NAMES of each category.
    """

    metrics: Metrics
    results: list[Result]
    timing: Timing
    classes: ClassMetrics


def evaluate_model(
    detector: AnyDetector,
    dataset: Dataset,
    coco_ground_truth: GroundTruth,
    image_ids: Iterable[int] | None = None,
    limit: int = 0,
    progress: bool = True,
    workers: int | None = None,
) -> Evaluation:
    """Detect on the images of a data set and compute the COCO metrics.

    Images are read ahead and results encoded behind the network by threads (see
    `mrcnn.evaluation.pipeline`). With a detector, masks are never as large as the image.

    Args:
        detector: such as `MaskRCNN.detector`; or a function that maps a list of one image, uint8
            [H, W, 3], to a list of one dict with rois [N, 4], class_ids [N], scores [N] and masks
            [H, W, N]. For larger batches see `mrcnn.evaluation.detection.FunctionDetector`.
        dataset: prepared; its sources' class ids are the category ids of the ground truth.
            Detections of classes from another source than the image's are left out: the
            ground truth does not know them. Its `load_image` is called in several threads.
        coco_ground_truth: as in `evaluate_results`.
        image_ids: internal ids of the data set; None: all.
        limit: the number of images, from the first on; 0: all.
        progress: show a progress bar.
        workers: threads that read and encode; None: by the number of cores. With 0, reading,
            detecting and encoding take turns.

    Returns:
        The metrics on these images, the results, the timing and the metrics of each category.

    Raises:
        ValueError: an image is listed twice, the detector gives too few dicts, or an image cannot
            be read (`mrcnn.evaluation.pipeline.ImageError`, which names it).
    """
    chosen = choose_images(dataset, image_ids, limit)
    truth = Truth.of(coco_ground_truth)  # first: what is wrong with it is said before the work
    started = time.perf_counter()
    results, timing = detect_images(detector, dataset, chosen, progress, workers)
    source_ids = [dataset.image_info[image_id]["id"] for image_id in chosen]
    metrics, classes = _evaluate_all(truth, results, IOU_TYPES, source_ids)
    timing = replace(timing, seconds=time.perf_counter() - started)
    return Evaluation(metrics, results, timing, classes)


def choose_images(dataset: Dataset, image_ids: Iterable[int] | None, limit: int) -> list[int]:
    """The internal ids of the images to evaluate on, none of them twice in the ground truth."""
    if limit < 0:
        raise ValueError(f"expected limit of at least 0; received {limit}.")
    chosen = list(dataset.image_ids if image_ids is None else image_ids)
    chosen = chosen[:limit] if limit else chosen
    counts = Counter(dataset.image_info[image_id]["id"] for image_id in chosen)
    repeated = [source_id for source_id, count in counts.items() if count > 1]
    if repeated:
        raise ValueError(
            f"image_ids: expected each image once; the image {repeated[0]!r} of the ground truth "
            f"is in the data set several times. Load one subset of it."
        )
    return chosen


def run_evaluator(
    evaluator: Evaluator, image_ids: list[Any], max_detections: int = MAX_DETECTIONS
) -> dict[str, float]:
    """The metrics of METRIC_NAMES by an evaluator, on some images.

    Args:
        evaluator: its parameters are set here.
        image_ids: those of its ground truth.
        max_detections: of an image that count, of each category, the best ones first. COCO's
            are 100; its own summary knows no others.
    """
    evaluator.params.imgIds = image_ids
    evaluator.params.maxDets = [1, 10, max_detections]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator.evaluate()
        evaluator.accumulate()
    return _summary(evaluator)


def _summary(evaluator: Evaluator) -> dict[str, float]:
    """The metrics of METRIC_NAMES of an evaluator that has run: means of what is defined."""
    # [IoU thresholds, recall thresholds, categories, areas, detections an image]
    precision = evaluator.eval["precision"]
    recall = evaluator.eval["recall"]  # likewise, without recall thresholds
    thresholds = evaluator.params.iouThrs
    rows = {"AP50": np.isclose(thresholds, 0.5), "AP75": np.isclose(thresholds, 0.75)}
    areas = {"S": 1, "M": 2, "L": 3}  # 0: all
    values = {"AP": precision[:, :, :, 0, -1]}
    values |= {name: precision[row, :, :, 0, -1] for name, row in rows.items()}
    values |= {f"AP_{size}": precision[:, :, :, area, -1] for size, area in areas.items()}
    # The last is called AR100 whatever the limit, as COCO's columns are.
    values |= {f"AR{most}": recall[:, :, 0, limit] for limit, most in enumerate((1, 10, 100))}
    values |= {f"AR_{size}": recall[:, :, area, -1] for size, area in areas.items()}
    return {name: _mean_of_defined(values[name]) for name in METRIC_NAMES}


def _mean_of_defined(values: np.ndarray) -> float:
    known = values[values > UNDEFINED]
    return float(np.mean(known)) if known.size else UNDEFINED


def metrics_of_categories(evaluator: Evaluator) -> dict[int, dict[str, float]]:
    """The metrics of CLASS_METRIC_NAMES by category, of an evaluator that has run.

    -1 where the images hold no object of the category.
    """
    # [IoU thresholds, recall thresholds, categories, areas, detections an image]
    precision = evaluator.eval["precision"][:, :, :, 0, -1]
    thresholds = evaluator.params.iouThrs
    rows = {"AP": slice(None), "AP50": np.isclose(thresholds, 0.5)}
    rows["AP75"] = np.isclose(thresholds, 0.75)
    found = {}
    for number, category in enumerate(evaluator.params.catIds):
        found[int(category)] = {
            name: _mean_of_defined(precision[row, :, number]) for name, row in rows.items()
        }
    return found


def write_csv(path: str | os.PathLike[str], metrics: Metrics) -> None:
    """Write a line for each kind of IoU, in full precision, under a header."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["iou_type", *METRIC_NAMES])
        for iou_type, values in metrics.items():
            writer.writerow([iou_type, *(repr(values[name]) for name in METRIC_NAMES)])


def format_table(metrics: Metrics) -> str:
    """A table for the terminal, a line for each kind of IoU; a dash where a metric is undefined."""
    lines = [" " * 9 + "".join(f"{name:>7}" for name in METRIC_NAMES)]
    for iou_type, values in metrics.items():
        numbers = (_format(values[name]) for name in METRIC_NAMES)
        lines.append(f"{iou_type:<9}" + "".join(f"{number:>7}" for number in numbers))
    return "\n".join(lines)


def write_class_csv(
    path: str | os.PathLike[str], classes: ClassMetrics, names: Mapping[Any, str]
) -> None:
    """Write a line for each kind of IoU and category, in full precision, under a header.

    Args:
        path: the file.
        classes: of `Evaluation`.
        names: of the categories, by id.
    """
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["iou_type", "category_id", "category", *CLASS_METRIC_NAMES])
        for iou_type, values in classes.items():
            for category, numbers in values.items():
                name = names.get(category, "")
                row = (repr(numbers[metric]) for metric in CLASS_METRIC_NAMES)
                writer.writerow([iou_type, category, name, *row])


def format_classes(classes: ClassMetrics, names: Mapping[Any, str]) -> str:
    """A table for the terminal, a line for each category; a dash where it has no object."""
    kinds = list(classes)
    columns = [f"{kind} {metric}" for kind in kinds for metric in CLASS_METRIC_NAMES]
    categories = list(classes[kinds[0]]) if kinds else []
    width = max([len("class"), *(len(names.get(c, str(c))) for c in categories)])
    wide = max([11, *(len(column) + 2 for column in columns)])
    lines = [f"{'class':<{width}}" + "".join(f"{column:>{wide}}" for column in columns)]
    for category in categories:
        numbers = (classes[k][category][metric] for k in kinds for metric in CLASS_METRIC_NAMES)
        name = names.get(category, str(category))
        lines.append(f"{name:<{width}}" + "".join(f"{_format(value):>{wide}}" for value in numbers))
    return "\n".join(lines)


def _format(value: float) -> str:
    return "-" if value == UNDEFINED else f"{value:.3f}"


def _evaluate_all(
    truth: Truth,
    results: Sequence[Result],
    iou_types: Sequence[str],
    image_ids: Iterable[Any] | None,
) -> tuple[Metrics, ClassMetrics]:
    chosen = truth.image_numbers(results, image_ids)
    category_ids = {number: category for category, number in truth.categories.items()}
    metrics: Metrics = {}
    classes: ClassMetrics = {}
    for iou_type in iou_types:
        evaluator = evaluator_of(truth, results, iou_type)
        metrics[iou_type] = run_evaluator(evaluator, chosen)
        classes[iou_type] = {
            category_ids[number]: values
            for number, values in metrics_of_categories(evaluator).items()
        }
    return metrics, classes


def evaluator_of(
    truth: Truth, results: Sequence[Result], iou_type: str, engine: str | None = None
) -> Evaluator:
    """The evaluator of a kind of IoU, that has not run; by the engine, or by the truth's."""
    if iou_type not in IOU_TYPES:
        raise ValueError(f"iou_types: expected some of {IOU_TYPES}; received {iou_type!r}.")
    to_annotation = segm_annotation if iou_type == "segm" else bbox_annotation
    objects = truth.with_masks() if iou_type == "segm" else truth.with_boxes()
    annotations = [to_annotation(result, number) for number, result in enumerate(results, start=1)]
    detections = truth.detections(annotations)
    return make_evaluator(objects, detections, iou_type, engine or truth.engine)
