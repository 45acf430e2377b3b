"""What the commands share: options, settings of a run, its start weights, its evaluation.

A run is a log folder: settings (`config.json`), weights of each epoch, `losses.csv`,
TensorBoard events; `evaluate` adds the metrics and a page of pictures beside the weights.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mrcnn.checkpoints import folders
from mrcnn.config import BACKBONES, MIXED_PRECISIONS, Config
from mrcnn.data.boxes import extract_bboxes
from mrcnn.datasets.coco import CocoDataset
from mrcnn.drawing import pages
from mrcnn.evaluation import coco as coco_evaluation
from mrcnn.files import download
from mrcnn.files.untrusted import load_json
from mrcnn.ops import edge_filters
from mrcnn.ops.edge_filters import FILTERS, SHORTHANDS
from mrcnn.runs.settings import DERIVED_SETTINGS, is_setting, parse_setting
from mrcnn.training import stages, trainer

SETTINGS_FILE = "config.json"
COCO_WEIGHTS = "mask_rcnn_coco.h5"
COCO_CLASSES = 81
# Layers whose shapes hang on the number of classes.
CLASS_LAYERS = ("mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_mask")


# --- Options ---------------------------------------------------------------------------


def add_settings_options(parser: argparse.ArgumentParser) -> None:
    """Options that change settings of the configuration."""
    group = parser.add_argument_group("settings")
    group.add_argument("--run-name", metavar="NAME", help="second part of the log folder's name")
    group.add_argument("--backbone", choices=BACKBONES)
    group.add_argument(
        "--image-size",
        type=int,
        metavar="PIXELS",
        help="side of the network's square input, a multiple of 64",
    )
    group.add_argument("--mask-size", type=int, choices=(28, 56), help="side of the masks")
    group.add_argument("--batch-size", type=int, metavar="IMAGES")
    group.add_argument("--rois", type=int, metavar="N", help="training RoIs an image")
    group.add_argument("--seed", type=int, help="of weights, batches and target sampling")
    group.add_argument("--workers", type=int, metavar="N", help="of the loader")
    group.add_argument(
        "--mixed-precision", choices=MIXED_PRECISIONS, help="compute in this, keep float32 weights"
    )
    group.add_argument(
        "--checkpoint-steps", type=int, metavar="N", help="write the exact state every N steps"
    )
    group.add_argument(
        "--checkpoint-minutes", type=float, metavar="M", help="and every M minutes (default 10)"
    )
    group.add_argument(
        "--checkpoints-kept", type=int, metavar="K", help="newest states beside the best (2)"
    )
    group.add_argument(
        "--checkpoint-disk-budget", type=float, metavar="GB", help="for the states of a run"
    )
    group.add_argument(
        "--checkpoint-metric", metavar="NAME", help="of the best state (default val_loss)"
    )
    group.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="any other setting of mrcnn.config.Config, such as TRAIN_BN=None",
    )
    group = parser.add_argument_group("Edge Agreement Head (arXiv 1809.07069)")
    group.add_argument(
        "--edge-loss-filters",
        nargs="+",
        metavar="FILTER",
        help=f"off when not given; of {', '.join([*FILTERS, *SHORTHANDS])}",
    )
    group.add_argument("--edge-loss-norm", metavar="P", help="l1 … l5, or a number (default l2)")
    group.add_argument("--edge-loss-weight-factor", type=float, metavar="ALPHA")
    group.add_argument("--edge-loss-smoothing-groundtruth", action="store_true")
    group.add_argument("--edge-loss-smoothing-predictions", action="store_true")
    group.add_argument(
        "--edge-loss-weight-entropy",
        nargs="?",
        const="exp",
        choices=("exp", "product"),
        help="weight the mask cross entropy by the edge error",
    )
    group.add_argument("--edge-loss-entropy-divisor", type=float, metavar="D", help="of exp")
    group.add_argument("--edge-loss-magnitude", action="store_true")
    group.add_argument(
        "--uncertainty-weighting", action="store_true", help="learn the weights of the losses"
    )


def add_schedule_options(parser: argparse.ArgumentParser, default: str) -> None:
    """Options that say how long and how fast to train."""
    group = parser.add_argument_group("schedule")
    group.add_argument("--schedule", choices=tuple(stages.SCHEDULES), default=default)
    group.add_argument(
        "--training-mode",
        choices=stages.MODES,
        default="full",
        help="full: all stages; base: all but the last; fine: the last",
    )
    length = group.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, help="scale the schedule to so many steps in all")
    length.add_argument("--scale", type=float, help="factor of every stage's steps")
    group.add_argument("--steps-per-epoch", type=int, metavar="N")
    group.add_argument("--validation-steps", type=int, metavar="N")
    group.add_argument(
        "--learning-rate", type=float, help="of the fastest stage; the others in proportion"
    )


def settings_of(args: argparse.Namespace) -> dict[str, Any]:
    """The settings that the options of `add_settings_options` change, by name.

    Raises:
        ValueError: an unknown edge filter or norm, or a bad `--set`.
    """
    given: dict[str, Any] = {
        "RUN_NAME": args.run_name,
        "BACKBONE": args.backbone,
        "IMAGES_PER_GPU": args.batch_size,
        "TRAIN_ROIS_PER_IMAGE": args.rois,
        "SEED": args.seed,
        "LOADER_WORKERS": args.workers,
        "MIXED_PRECISION": args.mixed_precision,
        "CHECKPOINT_STEPS": args.checkpoint_steps,
        "CHECKPOINT_MINUTES": args.checkpoint_minutes,
        "CHECKPOINTS_KEPT": args.checkpoints_kept,
        "CHECKPOINT_DISK_BUDGET": args.checkpoint_disk_budget,
        "CHECKPOINT_METRIC": args.checkpoint_metric,
        "STEPS_PER_EPOCH": getattr(args, "steps_per_epoch", None),
        "VALIDATION_STEPS": getattr(args, "validation_steps", None),
        "EDGE_LOSS_WEIGHT_FACTOR": args.edge_loss_weight_factor,
        "EDGE_LOSS_SMOOTHING_GT": args.edge_loss_smoothing_groundtruth or None,
        "EDGE_LOSS_SMOOTHING_PREDICTIONS": args.edge_loss_smoothing_predictions or None,
        "EDGE_LOSS_WEIGHT_ENTROPY": args.edge_loss_weight_entropy,
        "EDGE_LOSS_ENTROPY_DIVISOR": args.edge_loss_entropy_divisor,
        "EDGE_LOSS_MAGNITUDE": args.edge_loss_magnitude or None,
        "UNCERTAINTY_WEIGHTING": args.uncertainty_weighting or None,
    }
    if args.image_size is not None:
        given |= {"IMAGE_MIN_DIM": args.image_size, "IMAGE_MAX_DIM": args.image_size}
    if args.mask_size is not None:
        given["MASK_SHAPE"] = (args.mask_size, args.mask_size)
    if args.edge_loss_filters is not None:
        given["EDGE_LOSS_FILTERS"] = edge_filters.resolve_filters(args.edge_loss_filters)
    if args.edge_loss_norm is not None:
        edge_filters.parse_norm(args.edge_loss_norm)
        given["EDGE_LOSS_NORM"] = args.edge_loss_norm
    given = {name: value for name, value in given.items() if value is not None}
    return given | dict(parse_setting(text) for text in args.set)


def stages_of(args: argparse.Namespace) -> list[stages.Stage]:
    """The stages that the options of `add_schedule_options` ask for."""
    chosen = stages.select(stages.schedule(args.schedule), args.training_mode)
    scale = args.scale
    if args.steps is not None:
        scale = args.steps / sum(stage.steps for stage in chosen)
    if scale is not None:
        chosen = [replace(stage, steps=max(1, round(scale * stage.steps))) for stage in chosen]
    if args.learning_rate is not None:
        factor = args.learning_rate / max(stage.learning_rate for stage in chosen)
        chosen = [replace(s, learning_rate=factor * s.learning_rate) for s in chosen]
    return chosen


# --- Settings of a run -------------------------------------------------------------------


def configure(base: type[Config], settings: dict[str, Any]) -> Config:
    """A configuration of class `base` with some settings changed."""
    return type(base.__name__, (base,), settings)()


def save_settings(config: Config, folder: str | Path) -> Path:
    """Write the settings of a run beside its weights."""
    path = Path(folder, SETTINGS_FILE)
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in config.to_dict().items()
        if name not in DERIVED_SETTINGS and not callable(value)
    }
    with folders.atomic_path(path) as temporary:
        Path(temporary).write_text(json.dumps(settings, indent=1, default=str), encoding="utf-8")
    return path


def load_settings(weights: str | Path) -> dict[str, Any]:
    """The settings beside a weights file; empty when there are none."""
    path = Path(weights).parent / SETTINGS_FILE
    if not path.is_file():
        return {}
    try:
        settings = load_json(path)
        # Settings alone: a file must not put a value in the place of a method.
        return {name: value for name, value in settings.items() if is_setting(name)}
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path}: expected the settings of a run as JSON; {error}.") from error


def inference_settings(config: Config) -> dict[str, Any]:
    """What differs when a configuration made for training detects instead.

    As many images at a time as one GPU trains on, every detection counts (COCO's metrics look
    at all scores), and whole images where training takes random windows.
    """
    settings: dict[str, Any] = {
        "GPU_COUNT": 1,
        "DETECTION_MIN_CONFIDENCE": 0,
    }
    if config.IMAGE_RESIZE_MODE == "crop":
        settings["IMAGE_RESIZE_MODE"] = "pad64"
    return settings


# --- Work --------------------------------------------------------------------------------


def weights_path(name: str, logs: str | Path, config: Config) -> str:
    """The file that a `--model` option means.

    Args:
        name: "imagenet" (ResNet-50) or "coco" (Matterport's release), both downloaded when
            they are not there; "last", the newest checkpoint of the configuration; or a file.
        logs: folder of the log folders.
        config: for its name, run name and backbone.
    """
    kind = str(name).lower()
    if kind == "imagenet":
        if config.BACKBONE not in ("resnet50", "resnet101"):
            raise ValueError(
                f"--model imagenet: the weights are those of ResNet-50; the backbone is "
                f"{config.BACKBONE!r}. Choose --backbone resnet50, or --model none."
            )
        return download.imagenet_weights_path()
    if kind == "coco":
        return download.download_trained_weights(COCO_WEIGHTS)
    if kind == "last":
        return folders.find_last(logs, config.NAME, config.RUN_NAME)
    return str(name)


def load_start_weights(model: Any, name: str, exclude: Sequence[str] = ()) -> None:
    """Load the weights that a run starts from.

    Args:
        model: a `mrcnn.model.MaskRCNN`.
        name: "none" for Glorot initialisation; "last" to go on with the newest run at its exact
            step (`MaskRCNN.resume`); or as for `weights_path`. Of "coco", the layers that hang on
            the classes are left out when the classes differ.
        exclude: layers that keep their random start, groups or regular expressions as in
            `mrcnn.training.stages.layer_regex`.

    Raises:
        ValueError: an expression of `exclude` names no layer.
    """
    kind = str(name).lower()
    if kind == "none":
        return
    if kind == "last":
        model.resume()
        return
    others = kind == "coco" and model.config.NUM_CLASSES != COCO_CLASSES
    path = weights_path(name, model.model_dir, model.config)
    left_out = [
        layer.name
        for pattern in exclude
        for layer in stages.matching_layers(model.keras_model, pattern)
    ]
    left_out += CLASS_LAYERS if others else ()
    model.load_weights(path, by_name=True, exclude=left_out)


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
    return pages.plot_losses(log, path, stages=ends, epoch_offset=1)


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
        f"{timing['images']} images in {timing['seconds']:.1f} s, "
        f"{timing['detect_seconds']:.1f} s of them detecting"
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
