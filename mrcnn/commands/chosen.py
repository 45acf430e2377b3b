"""What the options that were given mean: settings, stages, a data set, a weights file."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mrcnn.commands.config_file import CONFIG_SETTINGS
from mrcnn.config import Config
from mrcnn.ops.edge_filters import parse_norm, resolve_filters
from mrcnn.runs.settings import configure, derive_config, parse_setting
from mrcnn.training import stages

if TYPE_CHECKING:
    from mrcnn.datasets.coco import CocoDataset
    from mrcnn.model import MaskRCNN

# The options about data that a run remembers, with what holds where nothing is given.
DATA_OPTIONS: dict[str, Any] = {
    "train_subset": "train",
    "val_subset": "val",
    "year": "",
    "box_only": False,
    "skip_invalid": False,
    "image_dir": None,
    "augment": ["flip"],
}

# The settings that options change, by the name of the option.
_SETTINGS = {
    "run_name": "RUN_NAME",
    "backbone": "BACKBONE",
    "batch_size": "IMAGES_PER_GPU",
    "mixed_precision": "MIXED_PRECISION",
    "rois": "TRAIN_ROIS_PER_IMAGE",
    "seed": "SEED",
    "workers": "LOADER_WORKERS",
    "uncertainty_weighting": "UNCERTAINTY_WEIGHTING",
    "steps_per_epoch": "STEPS_PER_EPOCH",
    "validation_steps": "VALIDATION_STEPS",
    "checkpoint_steps": "CHECKPOINT_STEPS",
    "checkpoint_minutes": "CHECKPOINT_MINUTES",
    "checkpoints_kept": "CHECKPOINTS_KEPT",
    "checkpoint_disk_budget": "CHECKPOINT_DISK_BUDGET",
    "checkpoint_metric": "CHECKPOINT_METRIC",
    "evaluation_epochs": "EVALUATION_EPOCHS",
    "evaluation_images": "EVALUATION_IMAGES",
    "patience": "PATIENCE",
    "edge_loss_weight_factor": "EDGE_LOSS_WEIGHT_FACTOR",
    "edge_loss_smoothing_groundtruth": "EDGE_LOSS_SMOOTHING_GT",
    "edge_loss_smoothing_predictions": "EDGE_LOSS_SMOOTHING_PREDICTIONS",
    "edge_loss_weight_entropy": "EDGE_LOSS_WEIGHT_ENTROPY",
    "edge_loss_entropy_divisor": "EDGE_LOSS_ENTROPY_DIVISOR",
    "edge_loss_magnitude": "EDGE_LOSS_MAGNITUDE",
}


def settings_from_args(args: argparse.Namespace) -> dict[str, Any]:
    """The settings that the given options change, by name.

    Raises:
        ValueError: an unknown edge filter or norm, or a bad `--set`.
    """
    given = {setting: getattr(args, name, None) for name, setting in _SETTINGS.items()}
    size, mask_size = getattr(args, "image_size", None), getattr(args, "mask_size", None)
    if size is not None:
        given |= {"IMAGE_MIN_DIM": size, "IMAGE_MAX_DIM": size}
    if mask_size is not None:
        given["MASK_SHAPE"] = (mask_size, mask_size)
    filters, norm = getattr(args, "edge_loss_filters", None), getattr(args, "edge_loss_norm", None)
    if filters is not None:
        given["EDGE_LOSS_FILTERS"] = resolve_filters(filters)
    if norm is not None:
        parse_norm(norm)
        given["EDGE_LOSS_NORM"] = norm
    if getattr(args, "devices", None) is not None:
        given |= _on_devices(args.devices, given["IMAGES_PER_GPU"])
    given = {name: value for name, value in given.items() if value is not None}
    of_file = getattr(args, CONFIG_SETTINGS, {})
    return {**of_file, **given, **parse_settings(getattr(args, "set", ()))}


def _on_devices(devices: str, batch: int | None) -> dict[str, Any]:
    """The settings with which so many devices share the images of a step, `batch` or as usual."""
    from mrcnn.training.devices import count_of

    count = count_of(devices)
    if batch is None:
        return {"GPU_COUNT": count}
    if batch % count:
        raise ValueError(
            f"--batch-size: expected a multiple of the {count} devices, which share the images of "
            f"a step; received {batch}."
        )
    return {"GPU_COUNT": count, "IMAGES_PER_GPU": batch // count}


def parse_settings(texts: Sequence[str]) -> dict[str, Any]:
    """Settings by name, of texts NAME=VALUE.

    Raises:
        ValueError: a text is not NAME=VALUE, or there is no such setting.
    """
    return dict(parse_setting(text) for text in texts)


def stages_from_args(
    args: argparse.Namespace, optimizer: Any = "sgd", default: str = "scratch"
) -> list[stages.Stage]:
    """The stages that the options of a schedule ask for.

    Args:
        args: of the command.
        optimizer: `Config.OPTIMIZER`. The schedules' own rates are those of SGD.
        default: the schedule when none was given.

    Raises:
        ValueError: there is no rate for Adam, whose steps do not shrink with the gradients, or
            both --steps and --scale were given.
    """
    name = args.schedule or default
    if optimizer == "adam" and args.learning_rate is None:
        raise ValueError(
            f"--schedule {name}: its learning rates are those of OPTIMIZER=sgd; received "
            "OPTIMIZER=adam, which they would make diverge. Give the rate of the fastest stage, "
            "such as --learning-rate 5e-4 from a random start or 1e-4 from trained weights."
        )
    if args.steps is not None and args.scale is not None:
        raise ValueError(
            f"--steps and --scale: expected one of them; received {args.steps} and {args.scale}."
        )
    chosen = stages.select(stages.schedule(name), args.training_mode or "full")
    if args.scale is not None:
        chosen = stages.select(stages.schedule(name, args.scale), args.training_mode or "full")
    if args.steps is not None:
        chosen = stages.of_length(chosen, args.steps)
    if args.learning_rate is not None:
        chosen = stages.of_rate(chosen, args.learning_rate)
    return chosen


def dataset_of(args: argparse.Namespace) -> str:
    """The data set that was given.

    Raises:
        ValueError: none was.
    """
    dataset = getattr(args, "dataset", None)
    if not dataset:
        raise ValueError(
            "expected the folder of a data set, as the first argument or with --dataset; received "
            "none."
        )
    return str(dataset)


def fill_data_options(args: argparse.Namespace, stored: Mapping[str, Any], *further: str) -> None:
    """Set the options about data that were not given.

    Args:
        args: of a command that has all of `DATA_OPTIONS`.
        stored: what the run that is resumed was started with, by option; empty for a new one.
        further: options of the command that a run remembers too, by default None.
    """
    for option, default in {**DATA_OPTIONS, **dict.fromkeys(further)}.items():
        if getattr(args, option) is None:
            setattr(args, option, stored.get(option, default))


def load_subset(args: argparse.Namespace, subset: str, *, ground_truth: bool = True) -> CocoDataset:
    """A subset of the data set that was given, read as the options say.

    Raises:
        OSError, ValueError: it cannot be read; the message names the file.
    """
    from mrcnn.datasets.coco import CocoDataset

    return CocoDataset.of(
        *(dataset_of(args), subset, args.year or ""),
        box_only=bool(args.box_only),
        skip_invalid=bool(args.skip_invalid),
        ground_truth=ground_truth,
        division=getattr(args, "division", None),
        image_dir=args.image_dir,
    )


def detector_from_args(model: MaskRCNN, args: argparse.Namespace) -> Any:
    """The detector of a model that looks at pictures as the options `options.LOOKS` say.

    Raises:
        ValueError: the options do not go together, or have values that cannot be.
    """
    from mrcnn.prediction.augmented import Augmented, looks
    from mrcnn.prediction.tiles import Tiled, Tiling

    # Not every command has these options.
    tile, overlap, scales = (getattr(args, name, None) for name in ("tile", "overlap", "tta"))
    if overlap is not None and tile is None:
        raise ValueError("--overlap: expected --tile, of which it is an option.")
    detector: Any = model.detector
    if scales is not None:
        detector = Augmented(detector, looks(scales or [1.0]))
    if tile is not None:
        detector = Tiled(detector, Tiling(tile, tile // 8 if overlap is None else overlap))
    return detector


def weights_from_args(base: type[Config], args: argparse.Namespace) -> str:
    """The weights file that `--model` means; see `mrcnn.runs.start_weights.weights_path`.

    Args:
        base: the configuration that the options change.
        args: of the command, with `model` and `logs`.
    """
    from mrcnn.runs import start_weights

    return start_weights.weights_path(
        args.model or "last", args.logs, configure(base, settings_from_args(args))
    )


def trained_weights_from_args(args: argparse.Namespace) -> str:
    """The weights file of a trained network: that of `--model`, or the newest of all runs.

    Args:
        args: of the command, with `model`, `name`, `run_name` and `logs`.
    """
    from mrcnn.checkpoints import folders

    if (args.model or "last") == "last" and not (args.name or args.run_name):
        return folders.find_newest(args.logs)
    base = derive_config(Config, {"NAME": args.name} if args.name else {})
    return weights_from_args(base, args)
