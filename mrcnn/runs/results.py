"""What a run shows: its description, loss curves, metrics and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from mrcnn.config import Config
from mrcnn.data.boxes import extract_bboxes
from mrcnn.datasets.coco import CocoDataset
from mrcnn.drawing import loss_curves, pages
from mrcnn.evaluation import coco as coco_evaluation
from mrcnn.ops import edge_filters
from mrcnn.training import stages, trainer


def describe(config: Config, chosen: Sequence[stages.Stage] = ()) -> str:
    """The few settings that a user wants to see before a run starts."""
    height, width, channels = config.IMAGE_SHAPE
    shapes = config.INPUT_SHAPES or [(height, width)]
    sizes = ", ".join(f"{height}x{width}x{channels}" for height, width in shapes)
    lines = [
        f"backend {keras.backend.backend()}, backbone {config.BACKBONE}, "
        f"{config.NUM_CLASSES - 1} classes",
        f"images {sizes} ({config.IMAGE_RESIZE_MODE}), "
        f"batch {config.BATCH_SIZE}, masks {config.MASK_SHAPE[0]}x{config.MASK_SHAPE[1]}",
    ]
    lines.append(f"edge agreement: {_describe_edge_loss(config)}")
    if config.UNCERTAINTY_WEIGHTING:
        lines.append("the weight of each loss is learned")
    lines += [
        f"stage {number}: layers {stage.layers}, {stage.steps} steps at {stage.learning_rate:g}"
        for number, stage in enumerate(chosen, start=1)
    ]
    return "\n".join(lines)


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
    return f"off; no effect has {', '.join(changed)}" if changed else "off"


def report_losses(
    log_dir: str | Path, ends: Sequence[int] = (), path: str | Path | None = None
) -> Path | None:
    """Draw the loss curves of a run, beside its CSV unless `path` says where."""
    log = Path(log_dir, trainer.LOSSES_FILE)
    if not log.is_file():
        return None
    path = path or log.with_name("losses.png")
    return loss_curves.plot_losses(log, path, stages=ends, epoch_offset=1)


def evaluate(
    model: Any,
    dataset: CocoDataset,
    ground_truth: Any,
    folder: str | Path,
    subset: str,
    limit: int = 0,
    pictures: int = 8,
    min_score: float = 0.5,
) -> coco_evaluation.Metrics:
    """Evaluate a model with pycocotools; print the metrics, write them and a page of pictures.

    Args:
        model: a `mrcnn.model.MaskRCNN` for inference.
        dataset, ground_truth: of one subset, as `CocoDataset.load_coco` gives them.
        folder: where `coco_<subset>.csv` and `detections_<subset>.png` go.
        subset: names the files.
        limit: number of images; 0: all.
        pictures: images on the page; 0: no page.
        min_score: detections below are not drawn.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    metrics, _, timing = coco_evaluation.evaluate_model(
        model.detector, dataset, ground_truth, limit=limit
    )
    print(coco_evaluation.format_table(metrics))
    print(
        f"{timing.images} images in {timing.seconds:.1f} s, "
        f"{timing.detect_seconds:.1f} s of them detecting"
    )
    table = folder / f"coco_{subset}.csv"
    coco_evaluation.write_csv(table, metrics)
    print(f"Metrics: {table}")
    if pictures:
        # Spread over the data set: neighbours are often alike.
        evaluated = dataset.image_ids[: limit or None]
        image_ids = evaluated[:: max(1, len(evaluated) // pictures)][:pictures]
        page = draw_page(model, dataset, image_ids, folder / f"detections_{subset}.png", min_score)
        print(f"Pictures: {page}")
    return metrics


def draw_page(
    model: Any, dataset: CocoDataset, image_ids: Sequence[int], path: Path, min_score: float
) -> Path:
    """Draw detections beside the ground truth of some images."""
    images = [dataset.load_image(image_id) for image_id in image_ids]
    truths, found = [], []
    for image_id, detected in zip(image_ids, model.detect(images), strict=True):
        masks, class_ids = dataset.load_mask(image_id)
        truths.append({"rois": extract_bboxes(masks), "class_ids": class_ids, "masks": masks})
        keep = detected["scores"] >= min_score
        found.append(
            {
                "rois": detected["rois"][keep],
                "class_ids": detected["class_ids"][keep],
                "scores": detected["scores"][keep],
                "masks": detected["masks"][..., keep],
            }
        )
    titles = [str(dataset.image_info[image_id]["id"]) for image_id in image_ids]
    return pages.detections_page(images, truths, found, dataset.class_names, path, titles=titles)
