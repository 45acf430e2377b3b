"""Options that commands and samples share, and what they mean: settings, stages, a weights file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mrcnn.config import BACKBONES, MIXED_PRECISIONS, Config
from mrcnn.ops.edge_filters import FILTERS, SHORTHANDS, parse_norm, resolve_filters
from mrcnn.runs.settings import configure, parse_setting
from mrcnn.setting_rules.names import MASK_SIZES
from mrcnn.training import stages


def add_verbose_option(parser: argparse.ArgumentParser) -> None:
    """Add the option for `mrcnn.commands.backend_messages.without_backend_messages`."""
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="show TensorFlow's own messages too"
    )


def add_settings_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that change settings of the configuration."""
    group = parser.add_argument_group("settings")
    group.add_argument("--run-name", metavar="NAME", help="second part of the log folder's name")
    group.add_argument("--backbone", choices=BACKBONES)
    group.add_argument(
        "--image-size",
        type=int,
        metavar="PIXELS",
        help="side of the network's square input, a multiple of 64",
    )
    group.add_argument("--mask-size", type=int, choices=MASK_SIZES, help="side of the masks")
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


def add_schedule_options(parser: argparse.ArgumentParser, default: str | None) -> None:
    """Add the options that say how long and how fast to train.

    Args:
        parser: of the command.
        default: of --schedule; None where the command chooses it.
    """
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


def settings_from_args(args: argparse.Namespace) -> dict[str, Any]:
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
        given["EDGE_LOSS_FILTERS"] = resolve_filters(args.edge_loss_filters)
    if args.edge_loss_norm is not None:
        parse_norm(args.edge_loss_norm)
        given["EDGE_LOSS_NORM"] = args.edge_loss_norm
    given = {name: value for name, value in given.items() if value is not None}
    return given | parse_settings(args.set)


def parse_settings(texts: Sequence[str]) -> dict[str, Any]:
    """Settings by name, of texts NAME=VALUE.

    Raises:
        ValueError: a text is not NAME=VALUE, or there is no such setting.
    """
    return dict(parse_setting(text) for text in texts)


def stages_from_args(args: argparse.Namespace, optimizer: Any = "sgd") -> list[stages.Stage]:
    """The stages that the options of `add_schedule_options` ask for.

    Args:
        args: of the command.
        optimizer: `Config.OPTIMIZER`. The schedules' own rates are those of SGD.

    Raises:
        ValueError: there is no rate for Adam, whose steps do not shrink with the gradients.
    """
    if optimizer == "adam" and args.learning_rate is None:
        raise ValueError(
            f"--schedule {args.schedule}: its learning rates are those of OPTIMIZER=sgd; received "
            "OPTIMIZER=adam, which they would make diverge. Give the rate of the fastest stage, "
            "such as --learning-rate 5e-4 from a random start or 1e-4 from trained weights."
        )
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


def weights_from_args(base: type[Config], args: argparse.Namespace) -> str:
    """The weights file that `--model` means; see `mrcnn.runs.start_weights.weights_path`.

    Args:
        base: the configuration that the options change.
        args: of `add_settings_options`, with `model` and `logs`.
    """
    from mrcnn.runs import start_weights

    return start_weights.weights_path(
        args.model, args.logs, configure(base, settings_from_args(args))
    )
