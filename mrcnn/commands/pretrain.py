"""The command `mrcnn pretrain`: a backbone as a classifier, whose weights a detector starts from.

Heavy modules are imported where they are used, so that `mrcnn --help` is quick.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcnn.commands import chosen, division, options, train
from mrcnn.config import Config
from mrcnn.logger import logger
from mrcnn.runs import settings as run_settings

if TYPE_CHECKING:
    from mrcnn.data.dataset import Dataset

HELP = "train a backbone to tell objects apart, for a detector to start from"
CROP_OPTIONS = ("context", "empty")
LENGTH = ("steps", "learning_rate", "steps_per_epoch", "validation_steps")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mrcnn pretrain`."""
    parser.description = (
        "Train a backbone as a classifier with a class for no object, on a folder of class folders "
        "(FOLDER/CLASS/*.jpg, or FOLDER/train/CLASS/*.jpg and FOLDER/val/CLASS/*.jpg; a class "
        "named background is no object), or on what it cuts out of a data set in COCO's layout: "
        "its objects, and windows without one. `mrcnn train DATASET --model WEIGHTS` starts from "
        "the weights. It can be killed and continued with --model last, as `mrcnn train`."
    )
    options.add_options(
        parser,
        *("dataset", *options.SUBSETS, *options.ANNOTATIONS, *options.SPLIT),
        *("start_model", "allow_changed", "name", "run_name", "logs"),
        *(*LENGTH, "augment", "seed"),
        *("backbone", "image_size", "batch_size", "mixed_precision", "set", "workers"),
        *options.STATES,
        dataset="class folders, or COCO's layout",
        start_model="none",
        backbone="default: resnet18 on a CPU, resnet50 on a GPU",
        image_size="default: 64",
        steps="by the number of images",
        steps_per_epoch="a tenth of the training",
        validation_steps="all images, at most 50 batches",
    )
    group = parser.add_argument_group("crops of a data set in COCO's layout")
    group.add_argument(
        "--context",
        type=float,
        metavar="SHARE",
        help="how much larger than its object a window is, in parts of it (default: 0.25)",
    )
    group.add_argument(
        "--empty",
        type=int,
        metavar="N",
        help="windows without an object (default: as many as objects of an average class)",
    )


def run(args: argparse.Namespace) -> int:
    """Pretrain as the options say, and say how to continue."""
    from mrcnn.data import augment
    from mrcnn.runs import pretraining

    dataset = chosen.dataset_of(args)
    continues = train.goes_on(args)
    if args.allow_changed and not continues:
        raise ValueError(
            "--allow-changed: expected --model last; the option is for resuming a run."
        )
    folder = Path(dataset).resolve().name.removesuffix(".json")
    base = run_settings.derive_config(Config, {"NAME": args.name or f"{folder}_backbone"})
    stored: dict[str, Any] = {}
    if continues:
        last_run = train.settings_of_last_run(base, args)
        stored = run_settings.load_training(last_run)
        base = run_settings.derive_config(base, run_settings.load_settings(last_run))
    chosen.fill_data_options(args, stored, *CROP_OPTIONS)
    given = chosen.settings_from_args(args)
    seed = {"SEED": base.SEED, **given}["SEED"]
    if continues:
        division.divide_as_before(args, stored, last_run.parent)
    else:
        if args.split is not None:
            _expect_annotations(args)
        division.divide(args, seed, args.train_subset)
    train_set = _load(args, args.train_subset, seed)
    val_set = _load(args, args.val_subset, seed) if args.val_subset else None
    if not continues:
        settings, args.steps = pretraining.choose(train_set, val_set, given, args.steps)
        base = run_settings.derive_config(base, settings)
    args.default_schedule = pretraining.SCHEDULE
    weights = train.train_from_args(
        *(base, args, train_set, val_set, augment.by_name(args.augment)),
        network=train.Network(
            pretraining.BackboneClassifier, pretraining.describe, options=CROP_OPTIONS
        ),
    )
    found = pretraining.accuracies(Path(weights).parent)
    shown = ", ".join(f"{word} {value:.3f}" for word, value in found.items())
    logger.info(f"Accuracy after the last epoch: {shown}")
    logger.info(f"To start a detector from it: mrcnn train DATASET --model {weights}")
    return 0


def _expect_annotations(args: argparse.Namespace) -> None:
    """Refuse to divide class folders, of which a share is held out anyway.

    Raises:
        ValueError: the data set is class folders.
    """
    from mrcnn.datasets.class_folders import HELD_OUT, is_class_folders

    if is_class_folders(chosen.dataset_of(args)):
        raise ValueError(
            f"--split: expected a data set of annotated images; of the class folders of "
            f"{chosen.dataset_of(args)} without subsets, a share of {HELD_OUT} is held out."
        )


def _load(args: argparse.Namespace, subset: str, seed: int) -> Dataset:
    """The images of a subset: of class folders, or cut out of a data set in COCO's layout."""
    from mrcnn.datasets import crops
    from mrcnn.datasets.class_folders import ClassFolders, is_class_folders

    root = chosen.dataset_of(args)
    if is_class_folders(root):
        for option in CROP_OPTIONS:
            if getattr(args, option) is not None:
                raise ValueError(
                    f"--{option}: expected a data set in COCO's layout to cut windows out of; "
                    f"received the class folders of {root}."
                )
        folders = ClassFolders()
        folders.load_folders(root, subset, seed)
        folders.prepare()
        return folders
    try:
        source = chosen.load_subset(args, subset, ground_truth=False)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error} Nor are there class folders with images: {Path(root, 'CLASS')}, or "
            f"{Path(root, 'train', 'CLASS')}."
        ) from error
    try:
        context = crops.CONTEXT if args.context is None else args.context
        return crops.CropDataset(source, seed, context, args.empty)
    except ValueError as error:
        raise ValueError(f"{root}, {subset}: {error}") from error
