"""The command `mrcnn train`: from options to a trained run.

`train_from_args` is shared with the samples, which differ in their data and their configuration.

Heavy modules are imported where they are used, so that `mrcnn --help` is quick.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcnn.commands import check, options
from mrcnn.config import Config
from mrcnn.logger import logger
from mrcnn.runs import settings as run_settings

if TYPE_CHECKING:
    from mrcnn.data.dataset import Dataset

HELP = "train on a data set in COCO's layout"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mrcnn train`."""
    parser.add_argument("dataset", help="folder with annotations/instances_SUBSET[YEAR].json")
    parser.add_argument("--name", help="names the log folder (default: the data set's folder)")
    parser.add_argument("--train-subset", default="train", metavar="SUBSET")
    parser.add_argument(
        "--val-subset", default="val", metavar="SUBSET", help='"": there is none (default: val)'
    )
    parser.add_argument(
        "--box-only",
        action="store_true",
        help="accept annotations without a segmentation: they train boxes and classes",
    )
    parser.add_argument(
        "--model", default="none", help="none, imagenet, coco, last, or a weights file"
    )
    parser.add_argument(
        "--allow-changed",
        action="store_true",
        help="with --model last: go on although settings, data or augmentation have changed",
    )
    parser.add_argument(
        "--augment", nargs="*", default=["flip"], choices=("flip", "updown", "rotate")
    )
    parser.add_argument(
        "--skip-invalid",
        action="store_true",
        help="leave out annotations that cannot be used, and count them by kind",
    )
    parser.add_argument("--no-check", action="store_true", help="do not look at the data set first")
    parser.add_argument("--year", default="", help="in the data set's file names")
    parser.add_argument("--logs", default="logs", help="folder of the log folders")
    options.add_settings_options(parser)
    options.add_schedule_options(parser, default="scratch")


def run(args: argparse.Namespace) -> int:
    """Check the data set, train on it, and draw the loss curves."""
    from mrcnn.data import augment
    from mrcnn.datasets.coco import CocoDataset

    if args.allow_changed and str(args.model).lower() != "last":
        raise ValueError("--allow-changed: expected --model last; it is about going on.")
    name = args.name or Path(args.dataset).resolve().name.removesuffix(".json")
    base = run_settings.derive_config(Config, {"NAME": name})
    if not args.no_check:
        config = run_settings.configure(base, options.settings_from_args(args))
        check.check_before_training(args, config)
    train_set, val_set = (
        CocoDataset.of(
            *(args.dataset, subset, args.year),
            box_only=args.box_only,
            skip_invalid=args.skip_invalid,
        )
        if subset
        else None
        for subset in (args.train_subset, args.val_subset)
    )
    if train_set is None:
        raise ValueError("--train-subset: expected the name of a subset; received none.")
    transforms = {
        "flip": augment.HorizontalFlip,
        "updown": augment.VerticalFlip,
        "rotate": augment.RandomRotate90,
    }
    augmentation = augment.Sequential([transforms[name]() for name in args.augment])
    train_from_args(base, args, train_set, val_set, augmentation)
    return 0


def train_from_args(
    base: type[Config],
    args: argparse.Namespace,
    train_set: Dataset,
    val_set: Dataset | None,
    augmentation: Any = None,
) -> str:
    """Train as the options say, and draw the loss curves.

    Args:
        base: the configuration that the options change; its NUM_CLASSES becomes the data's.
        args: of `add_settings_options` and `add_schedule_options` of `mrcnn.commands.options`,
            with `model` and `logs`.
        train_set, val_set: prepared data sets; `val_set` None: there is none.
        augmentation: see `MaskRCNN.train`.

    Returns:
        The last weights file.
    """
    from mrcnn.checkpoints import folders
    from mrcnn.model import MaskRCNN
    from mrcnn.process import set_random_seed
    from mrcnn.runs import results, start_weights

    settings = {"NUM_CLASSES": train_set.num_classes, **options.settings_from_args(args)}
    if str(args.model).lower() == "last":
        settings = {**_settings_of_last_run(base, args.logs, settings), **settings}
    config = run_settings.configure(base, settings)
    chosen = options.stages_from_args(args, config.OPTIMIZER)
    for name, dataset in (("training", train_set), ("validation", val_set)):
        logger.info(f"{name} data: {dataset.summary() if dataset is not None else 'none'}")
    logger.info(results.describe_run(config, chosen))

    set_random_seed(config.SEED)
    model = MaskRCNN("training", config, args.logs)
    allow_changed = getattr(args, "allow_changed", False)
    start_weights.load_start_weights(model, args.model, allow_changed=allow_changed)
    logger.info(f"Settings: {Path(model.claim_log_dir(), run_settings.SETTINGS_FILE)}")
    # The last stage alone is trained on top of what the weights have seen.
    start = 0
    if args.training_mode == "fine":
        start = model.planned_epoch if model.schedule_start is None else model.schedule_start
    model.train_stages(train_set, val_set, chosen, start=start, augmentation=augmentation)
    logger.info(f"Loss curves: {results.draw_loss_curves(model.log_dir)}")
    weights = folders.last_checkpoint(model.log_dir)
    logger.info(f"Weights: {weights}")
    return weights


def _settings_of_last_run(
    base: type[Config], logs: str | Path, settings: dict[str, Any]
) -> dict[str, Any]:
    """The settings of the newest run of a configuration whose RUN_NAME may be changed."""
    from mrcnn.checkpoints import folders

    run_name = settings.get("RUN_NAME", base.RUN_NAME)
    folder = folders.find_last_run(logs, base.NAME, run_name)
    return run_settings.load_settings(Path(folder, run_settings.SETTINGS_FILE))
