"""`mrcnn ablate`: the options of a grid, and its run from start to report."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from mrcnn.ablation import grid as grids
from mrcnn.ablation.arms import ARMS, GRIDS, choose
from mrcnn.commands import options
from mrcnn.config import Config
from mrcnn.evaluation.boundary import DILATION_RATIO
from mrcnn.runs import settings as runs_settings


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the grid, beside those of `recipe` that all arms share."""
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
        default=DILATION_RATIO,
        help="of Boundary AP (default 0.02 of the diagonal; 0.005 for Cityscapes)",
    )


def run(args: argparse.Namespace) -> int:
    """Run the grid that the options ask for. Returns the number of runs that failed."""
    own = {}
    for name, *settings in args.arm:
        own[name] = dict(options.parse_setting(text) for text in settings)
    if args.grid and args.arms:
        raise ValueError("--grid and --arms: expected one of them; received both.")
    if args.exclude and args.model == "none":
        raise ValueError("--exclude: expected start weights to leave layers out of; give --model.")
    of_grids = dict.fromkeys(arm for name in args.grid for arm in GRIDS[name])
    names = [*(of_grids or args.arms or GRIDS["short"]), *own]
    arms = choose(names, own)
    grids.expect_arms(arms, args.seeds)
    stages = options.stages_of(args)
    settings: dict[str, Any] = options.settings_of(args)
    settings.setdefault("STEPS_PER_EPOCH", min(Config.STEPS_PER_EPOCH, stages[0].steps))
    grid = grids.Grid(
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
        dilation_ratio=args.dilation_ratio,
        box_only=args.box_only,
    )
    for arm in arms.values():  # wrong settings are found before hours of other arms
        runs_settings.configure(Config, {**settings, **arm})
    print(f"{len(grid.runs)} runs: {', '.join(arms)}; seeds {args.seeds}. Folder: {args.output}")
    failures = grids.run(grid, args.output, args.jobs)
    command = shlex.join(["mrcnn", *sys.argv[1:]]) if sys.argv[1:] else ""
    report = grids.report(grid, args.output, command)
    for name in args.grid if len(args.grid) > 1 else ():
        part = replace(grid, arms={arm: arms[arm] for arm in GRIDS[name]})
        grids.report(part, args.output, command, Path(args.output, "reports", name))
    print(f"Report: {report}" if report else "No run is finished: there is nothing to report.")
    if failures:
        print(f"{len(failures)} of {len(grid.runs)} runs failed; run the same command to go on.")
    return len(failures)
