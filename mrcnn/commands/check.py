"""The command `mrcnn check`: what is wrong with a data set, and what training does about it.

Heavy modules are imported where they are used, so that `mrcnn --help` is quick.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from mrcnn.commands import chosen, division, options
from mrcnn.config import Config
from mrcnn.logger import logger
from mrcnn.runs.settings import configure

HELP = "look for faults in a data set"

if TYPE_CHECKING:
    from mrcnn.data.dataset import Dataset
    from mrcnn.doctor.anchors import AnchorCoverage
    from mrcnn.doctor.examine import DatasetFiles
    from mrcnn.doctor.findings import Finding


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mrcnn check`."""
    parser.description = (
        "Look for faults in a data set, and say what training does about each. "
        "Exit status 0: nothing that stops training; 1: something that does; 2: wrong options."
    )
    options.add_options(
        parser,
        *("dataset", *options.SUBSETS, *options.ANNOTATIONS, *options.SPLIT, "seed"),
        *("image_size", "set", "workers", "json"),
    )
    parser.add_argument(
        "--fix",
        metavar="OUT",
        help="repair what is safe to repair, in a copy in this new folder; images become links",
    )
    parser.add_argument(
        "--crowds-as-objects",
        action="store_true",
        help="with --fix: make ordinary objects of crowds, for exports that mark all masks as such",
    )
    parser.add_argument(
        "--quick", action="store_true", help="the json and some headers only, as before training"
    )


def run(args: argparse.Namespace) -> int:
    """Check, report and repair as the options say. Returns 1 when there is an error, else 0."""
    from mrcnn.doctor import fixes, report
    from mrcnn.doctor.examine import examine

    if args.fix and args.quick:
        raise ValueError("--fix: expected a full check, which reads every file; received --quick.")
    if args.crowds_as_objects and not args.fix:
        raise ValueError("--crowds-as-objects: expected --fix OUT, of which it is an option.")
    if args.workers is not None and args.workers < 1:
        raise ValueError(f"--workers: expected a number of at least 1; received {args.workers}.")
    config = configure(Config, {"NAME": "check", **chosen.settings_from_args(args)})
    division.divide(args, config.SEED, args.train_subset or "train")
    examination = examine(
        *(_files(args), config, bool(args.box_only), args.quick, args.workers),
        skip_invalid=bool(args.skip_invalid),
    )
    if args.json == options.TO_STANDARD_OUTPUT:
        logger.info(report.json_text(examination))
    else:
        logger.info(report.text(examination))
    leaks = {"split-leak", "split-near-leak"} & {found.kind for found in examination.findings}
    if leaks and args.split is not None and args.json != options.TO_STANDARD_OUTPUT:
        logger.info("--split-by near-duplicates keeps pictures together that resemble each other.")
    if args.json and args.json != options.TO_STANDARD_OUTPUT:
        report.write_json(examination, args.json)
        logger.info(f"All findings: {args.json}")
    if args.fix:
        done = fixes.fix(examination, args.fix, bool(args.box_only), args.crowds_as_objects)
        logger.info(f"\nMended in {args.fix}:\n{fixes.describe(done)}")
        if args.image_dir is not None:
            logger.info(f"The images stay where they are: --image-dir {args.image_dir}")
    return 1 if examination.stops_training else 0


def check_before_training(args: argparse.Namespace, config: Config) -> AnchorCoverage | None:
    """The quick check of `mrcnn train`: it shows what it finds.

    Args:
        args: of `mrcnn train`.
        config: of the training.

    Returns:
        How well the anchors fit the objects; None where there are none.

    Raises:
        ValueError: something was found that stops training.
    """
    from mrcnn.doctor import report
    from mrcnn.doctor.examine import examine
    from mrcnn.doctor.findings import ERROR

    examination = examine(
        *(_files(args), config, bool(args.box_only)),
        quick=True,
        progress=False,
        skip_invalid=bool(args.skip_invalid),
    )
    logger.info(report.text(examination, notes=False))
    errors = [finding for finding in examination.findings if finding.severity == ERROR]
    if errors:
        raise ValueError(
            f"{chosen.dataset_of(args)}: expected a data set to train on; found {len(errors)} "
            f"errors that stop training or cost it images, the first of them: {errors[0].message} "
            f"{_ways(errors)}`mrcnn train --no-check` tries it anyway."
        )
    return examination.coverage


def check_datasets(train_set: Dataset, val_set: Dataset | None, config: Config) -> int:
    """Check prepared data sets of any format, and report. Returns 1 when there is an error."""
    from mrcnn.doctor import report
    from mrcnn.doctor.examine import examine_datasets

    examination = examine_datasets(train_set, val_set, config)
    logger.info(report.text(examination))
    return 1 if examination.stops_training else 0


def _ways(errors: list[Finding]) -> str:
    """The options with which training ignores some errors."""
    from mrcnn.doctor.catalogue import KINDS

    kinds = {error.kind for error in errors}
    ways = []
    if any(kind.fix for kind in KINDS if kind.name in kinds):
        ways.append("`mrcnn check` reads every file and writes a repaired copy with --fix; ")
    if {"only-crowds", "class-only-crowds", "val-only-crowds"} & kinds:
        ways.append("with --crowds-as-objects it makes objects of crowds; ")
    if {"val-only-crowds", "val-no-annotations"} & kinds:
        ways.append('--val-subset "" goes without a validation set; ')
    if "segmentation-missing" in kinds:
        ways.append("--box-only trains on boxes without masks; ")
    if any(error.subject == "annotation" for error in errors):
        ways.append("--skip-invalid leaves such annotations out; ")
    return "".join(ways)


def _files(args: argparse.Namespace) -> DatasetFiles:
    from mrcnn.doctor.examine import DatasetFiles

    train, val = (
        chosen.DATA_OPTIONS[option] if getattr(args, option) is None else getattr(args, option)
        for option in options.SUBSETS
    )
    return DatasetFiles(
        *(chosen.dataset_of(args), train, val or None, args.year or ""),
        division=division.division_of(args),
        image_dir=args.image_dir,
    )
