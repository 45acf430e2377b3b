"""What a run shows: its description, loss curves, metrics and pictures."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mrcnn.checkpoints.losses_file import LOSSES_FILE, read_losses_file
from mrcnn.checkpoints.stages_file import read_stages
from mrcnn.config import Config
from mrcnn.data.boxes import extract_bboxes
from mrcnn.data.coco_fields import read_id
from mrcnn.data.dataset import Dataset
from mrcnn.data.dataset_checks import load_mask
from mrcnn.data.orientation import load_image
from mrcnn.drawing import loss_curves, pages
from mrcnn.evaluation import coco
from mrcnn.evaluation.boundary import boundary_evaluation
from mrcnn.evaluation.detection import StepwiseDetector
from mrcnn.evaluation.errors import Matching, by_image, curve_of_all
from mrcnn.evaluation.ground_truth import GroundTruth, Truth
from mrcnn.evaluation.matches import BOUNDARY
from mrcnn.files.addresses import name_of
from mrcnn.files.atomic import write_json
from mrcnn.logger import logger
from mrcnn.model import MaskRCNN
from mrcnn.ops import edge_filters
from mrcnn.prediction.prediction import Prediction
from mrcnn.runs import report, report_images
from mrcnn.runs.analysis import write_analysis
from mrcnn.runs.settings import load_settings
from mrcnn.training import stages

LOSS_CURVES_FILE = "losses.png"


@dataclass(frozen=True, eq=False)
class Split:
    """Labelled images to evaluate on.

    Attributes:
        dataset: prepared.
        ground_truth: its annotations, to evaluate with.
        name: names the files of the results, such as "val2017".
        limit: number of images, from the first on; 0: all.
    """

    dataset: Dataset
    ground_truth: GroundTruth
    name: str = "val"
    limit: int = 0

    @property
    def image_ids(self) -> list[int]:
        """The images that are used, by their ids in the data set."""
        return self.dataset.image_ids[: self.limit or None].tolist()

    def sample_ids(self, count: int) -> list[int]:
        """Some of the images, spread over the data set: neighbours are often alike."""
        image_ids = self.image_ids
        return image_ids[:: max(1, len(image_ids) // count)][:count]


@dataclass(frozen=True)
class Page:
    """What a page of detections shows.

    Attributes:
        images: how many; 0: there is no page.
        min_score: detections below are not drawn.
    """

    images: int = 8
    min_score: float = 0.5


DEFAULT_PAGE = Page()


def describe_run(config: Config, chosen: Sequence[stages.Stage] = ()) -> str:
    """The few settings that a user wants to see before a run starts."""
    height, width, channels = config.IMAGE_SHAPE
    shapes = config.INPUT_SHAPES or [(height, width)]
    sizes = ", ".join(f"{height}x{width}x{channels}" for height, width in shapes)
    lines = [
        f"backend {keras.backend.backend()}, backbone {config.BACKBONE}, pyramid of "
        f"{config.TOP_DOWN_PYRAMID_SIZE} channels, {config.NUM_CLASSES - 1} classes",
        f"images {sizes} ({config.IMAGE_RESIZE_MODE}{_describe_jitter(config)}), "
        f"batch {config.BATCH_SIZE}, masks {config.MASK_SHAPE[0]}x{config.MASK_SHAPE[1]}",
    ]
    lines.append(f"edge agreement: {_describe_edge_loss(config)}")
    if config.UNCERTAINTY_WEIGHTING:
        lines.append("the weight of each loss is learned")
    if config.MASK_SHARE < 1:
        lines.append(f"masks of {100 * config.MASK_SHARE:g} % of the objects; boxes of all")
    if config.GRADNORM_ALPHA is not None:
        lines.append(f"the losses are balanced by GradNorm, alpha {config.GRADNORM_ALPHA:g}")
    lines += [
        f"stage {number}: layers {stage.layers}, {stage.steps} steps at {stage.learning_rate:g}"
        + ("" if stage.losses == "all" else f", losses {stage.losses}")
        for number, stage in enumerate(chosen, start=1)
    ]
    return "\n".join(lines)


def _describe_jitter(config: Config) -> str:
    """What is drawn of the scale of training images; "" where nothing is."""
    if config.IMAGE_MIN_DIM_RANGE is not None:
        sides = config.IMAGE_MIN_DIM_RANGE
        return f", shorter side drawn from {sides[0]} to {sides[1]}"
    if config.IMAGE_SCALE_RANGE is not None:
        factors = config.IMAGE_SCALE_RANGE
        return f", size drawn from {factors[0]:g} to {factors[1]:g} of it"
    return ""


def _describe_edge_loss(config: Config) -> str:
    """The filters and every setting that is not the default; "off" without filters."""
    changed = [
        f"{name}={getattr(config, name)}"
        for name in vars(Config)
        if name.startswith("EDGE_LOSS_") and name != "EDGE_LOSS_FILTERS"
        if getattr(config, name) != getattr(Config, name)
    ]
    if len(config.EDGE_LOSS_FILTERS):
        filters = ", ".join(edge_filters.resolve_filters(config.EDGE_LOSS_FILTERS))
        power = f"{config.EDGE_LOSS_NORM}, factor {config.EDGE_LOSS_WEIGHT_FACTOR}"
        shown = ("EDGE_LOSS_NORM=", "EDGE_LOSS_WEIGHT_FACTOR=")
        return "; ".join([filters, power, *(s for s in changed if not s.startswith(shown))])
    return f"off; without effect: {', '.join(changed)}" if changed else "off"


def draw_loss_curves(log_dir: str | Path, path: str | Path | None = None) -> Path | None:
    """Draw the loss curves of a run, with the stages that it has trained.

    Args:
        log_dir: folder of the run.
        path: the picture; None: beside the run's losses.

    Returns:
        `path`, or None when the run has no losses yet.
    """
    log = Path(log_dir, LOSSES_FILE)
    if not log.is_file():
        return None
    return loss_curves.plot_losses(
        log,
        path or log.with_name(LOSS_CURVES_FILE),
        stages=read_stages(log_dir),
        steps_per_epoch=load_settings(log).get("STEPS_PER_EPOCH"),
    )


def describe_best(log_dir: str | Path, config: Config) -> str:
    """Which weights of a run are the best by CHECKPOINT_METRIC, in words; "" where none are known.

    Args:
        log_dir: folder of the run.
        config: of the run.
    """
    file = Path(log_dir, f"mask_rcnn_{str(config.NAME).lower()}_best.h5")
    if not file.is_file() or not Path(log_dir, LOSSES_FILE).is_file():
        return ""
    recorded = read_losses_file(Path(log_dir, LOSSES_FILE))
    metric = config.CHECKPOINT_METRIC or ("val_loss" if "val_loss" in recorded else "loss")
    pairs = zip(recorded["epoch"], recorded.get(metric, ()), strict=False)
    known = [(value, epoch) for epoch, value in pairs if math.isfinite(value)]
    if not known:
        return ""
    value, epoch = min(known) if metric.endswith("loss") else max(known, key=lambda pair: pair[0])
    return f"{file} (epoch {epoch:.0f}, {metric} {value:.4g})"


def evaluate_run(
    model: MaskRCNN,
    split: Split,
    folder: str | Path,
    page: Page = DEFAULT_PAGE,
    detector: StepwiseDetector | None = None,
    run_folder: str | Path | None = None,
) -> coco.Metrics:
    """Evaluate a model as COCO does; show the metrics, write them and a page of pictures.

    Args:
        model: for inference.
        split: the images.
        folder: where `coco_<split>.csv` and `detections_<split>.png` go.
        page: what the page of pictures shows.
        detector: detects in place of the model's, such as `mrcnn.prediction.tiles.Tiled`.
        run_folder: of the run, whose settings and losses the report shows; None: `folder`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    truth = Truth.of(split.ground_truth)
    metrics, found, timing, classes = coco.evaluate_model(
        detector or model.detector, split.dataset, truth, limit=split.limit
    )
    source_ids = [split.dataset.image_info[image_id]["id"] for image_id in split.image_ids]
    metrics[BOUNDARY], classes[BOUNDARY] = boundary_evaluation(truth, found, source_ids)
    logger.info(coco.format_table(metrics))
    names = _category_names(split.dataset)
    logger.info(f"\n{coco.format_classes(classes, names)}")
    logger.info(
        f"{timing.images} images in {timing.seconds:.1f} s, "
        f"{timing.detect_seconds:.1f} s of them detecting"
    )
    table = folder / f"coco_{split.name}.csv"
    coco.write_csv(table, metrics)
    coco.write_class_csv(folder / f"coco_{split.name}_classes.csv", classes, names)
    matching = write_analysis(folder, split.name, truth, found, source_ids, names)
    _write_images(folder / f"images_{split.name}.csv", split, found, truth, matching)
    detections = folder / f"detections_{split.name}.json"
    write_json(detections, found)
    logger.info(f"Metrics: {table}; of each class: coco_{split.name}_classes.csv")
    logger.info(f"Images: images_{split.name}.csv; detections in COCO's format: {detections}")
    if page.images:
        chosen = report_images.choose_images(
            *(split.dataset, split.image_ids, model.config, truth, found, matching)
        )
        written = report.write_report(run_folder or folder, split.name, chosen, folder)
        if written is not None:
            logger.info(f"Report: {written}")
        path = folder / f"detections_{split.name}.png"
        picture = draw_page(model, split, path, page, detector)
        logger.info(f"Pictures: {picture}")
    return metrics


def _category_names(dataset: Dataset) -> dict[Any, str]:
    """The names of the categories by their id in the ground truth."""
    return {
        info["id"]: name
        for info, name in zip(dataset.class_info, dataset.class_names, strict=True)
        if info["source"]
    }


def _write_images(
    path: Path,
    split: Split,
    found: Sequence[dict[str, Any]],
    truth: Truth,
    matching: Matching,
) -> None:
    """Write which images were evaluated, by file name, and how well, masks at an IoU of 0.5.

    Detections count from the score on that has the best F1 over all images.
    """
    detections = Counter(result["image_id"] for result in found)
    score = curve_of_all(matching).best_score
    outcome = by_image(matching, truth.images.values(), score)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["image_id", "file_name", "detections", "threshold", "found", "false", "missed"]
        )
        for image_id in split.image_ids:
            info = split.dataset.image_info[image_id]
            name = name_of(info["path"]) if info.get("path") else ""
            image = outcome[truth.images[read_id(info["id"])]]
            counts = (image.found, len(image.false), len(image.missed))
            writer.writerow([info["id"], name, detections[info["id"]], f"{score:.4f}", *counts])


def draw_page(
    model: MaskRCNN,
    split: Split,
    path: str | Path,
    page: Page = DEFAULT_PAGE,
    detector: StepwiseDetector | None = None,
) -> Path:
    """Draw detections beside the ground truth of some images; see `evaluate_run`."""
    dataset, image_ids = split.dataset, split.sample_ids(page.images)
    images = [load_image(dataset, image_id, model.config) for image_id in image_ids]
    truths = []
    for image_id in image_ids:
        masks, class_ids = load_mask(dataset, image_id)
        truths.append({"rois": extract_bboxes(masks), "class_ids": class_ids, "masks": masks})
    return pages.detections_page(
        images,
        truths,
        model.detect(images) if detector is None else list(map(_detecting(detector), images)),
        dataset.class_names,
        path,
        titles=[image_name(dataset, image_id) for image_id in image_ids],
        min_score=page.min_score,
    )


def _detecting(detector: StepwiseDetector) -> Callable[[np.ndarray], dict[str, Any]]:
    """A function that detects in an image with any detector, and answers as `MaskRCNN.detect`."""

    def detect(image: np.ndarray) -> dict[str, Any]:
        (found,) = detector.detect_batch([detector.prepare(image)])
        return Prediction.of("", None, found, ()).to_matterport()

    return detect


def image_name(dataset: Dataset, image_id: int) -> str:
    """The name of an image's file; its id where it has none, as drawn ones."""
    info = dataset.image_info[image_id]
    return name_of(info["path"]) if info.get("path") else f"image {info['id']}"
