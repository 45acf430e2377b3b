"""The command `mrcnn ablate`: a grid of runs, from the options to the report.

Heavy modules are imported where they are used, so that `mrcnn --help` is quick.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcnn.ablation.arms import ARMS, GRIDS, choose_arms
from mrcnn.commands import options
from mrcnn.config import Config
from mrcnn.logger import logger
from mrcnn.runs.settings import configure

if TYPE_CHECKING:
    from mrcnn.ablation.grid import Grid

HELP = "compare settings: arms x seeds, with tables and figures"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mrcnn ablate`: those of the grid, and those that all arms share."""
    parser.add_argument("dataset", help="folder with annotations/instances_SUBSET[YEAR].json")
    parser.add_argument("--train-subset", default="train", metavar="SUBSET")
    parser.add_argument("--val-subset", default="val", metavar="SUBSET")
    parser.add_argument("--model", default="none", help="start weights: none, imagenet, or a file")
    parser.add_argument("--year", default="", help="in the data set's file names")
    parser.add_argument("--output", required=True, help="folder of the runs and the report")
    parser.add_argument(
        "--grid",
        nargs="+",
        choices=tuple(GRIDS),
        default=[],
        help="arms of the paper's experiments; of several, each gets its own report too",
    )
    parser.add_argument("--arms", nargs="+", metavar="ARM", help=f"of {', '.join(ARMS)}")
    parser.add_argument(
        "--arm",
        nargs="+",
        action="append",
        default=[],
        metavar=("NAME", "SETTING=VALUE"),
        help="an arm of your own, such as: --arm wide MASK_CONV_FILTERS=512",
    )
    parser.add_argument(
        "--exclude",
        nargs="+",
        default=[],
        metavar="LAYERS",
        help="leave these out of the start weights; regular expressions, such as mrcnn_mask.*",
    )
    parser.add_argument(
        "--box-only",
        action="store_true",
        help="accept training annotations without a segmentation: they train boxes and classes",
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="SEED")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--limit", type=int, default=0, help="validation images (default: all)")
    parser.add_argument(
        "--dilation-ratio",
        type=float,
        help="of Boundary AP (default 0.02 of the diagonal; 0.005 for Cityscapes)",
    )
    options.add_settings_options(parser)
    options.add_schedule_options(parser, default="scratch")


def run(args: argparse.Namespace) -> int:
    """Run the grid that the options ask for, and report. Returns 1 when a run failed, else 0."""
    from mrcnn.ablation import grid as grids

    grid = _grid_from_args(args)
    logger.info(
        f"{len(grid.runs)} runs: {', '.join(grid.arms)}; seeds {grid.seeds}. Folder: {args.output}"
    )
    failures = grids.run_grid(grid, args.output, args.jobs)
    command = shlex.join(["mrcnn", *sys.argv[1:]]) if sys.argv[1:] else ""
    report = grids.write_report(grid, args.output, command)
    for name in args.grid if len(args.grid) > 1 else ():
        part = replace(grid, arms={arm: grid.arms[arm] for arm in GRIDS[name]})
        grids.write_report(part, args.output, command, Path(args.output, "reports", name))
    logger.info(
        f"Report: {report}" if report else "No run is finished: there is nothing to report."
    )
    if failures:
        logger.info(
            f"{len(failures)} of {len(grid.runs)} runs failed; run the same command to go on."
        )
    return 1 if failures else 0


def _grid_from_args(args: argparse.Namespace) -> Grid:
    """The grid, with all of its settings checked: not after hours of other arms."""
    from mrcnn.ablation.grid import Grid, expect_arms
    from mrcnn.evaluation.boundary import DILATION_RATIO

    if args.exclude and args.model == "none":
        raise ValueError("--exclude: expected start weights to leave layers out of; give --model.")
    arms = _arms_from_args(args)
    expect_arms(arms, args.seeds)
    settings = options.settings_from_args(args)
    used = [{**settings, **arm}.get("OPTIMIZER") for arm in arms.values()]
    stages = options.stages_from_args(args, "adam" if "adam" in used else "sgd")
    settings.setdefault("STEPS_PER_EPOCH", min(Config.STEPS_PER_EPOCH, stages[0].steps))
    for arm in arms.values():
        configure(Config, {**settings, **arm})
    return Grid(
        dataset=args.dataset,
        arms=arms,
        seeds=args.seeds,
        settings=settings,
        stages=stages,
        model=args.model,
        exclude=args.exclude,
        year=args.year,
        train_subset=args.train_subset,
        val_subset=args.val_subset,
        limit=args.limit,
        dilation_ratio=DILATION_RATIO if args.dilation_ratio is None else args.dilation_ratio,
        box_only=args.box_only,
    )


def _arms_from_args(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The arms that `--grid`, `--arms` and `--arm` name, by name."""
    own = {name: options.parse_settings(settings) for name, *settings in args.arm}
    if args.grid and args.arms:
        raise ValueError("--grid and --arms: expected one of them; received both.")
    of_grids = dict.fromkeys(arm for name in args.grid for arm in GRIDS[name])
    return choose_arms([*(of_grids or args.arms or GRIDS["short"]), *own], own)
