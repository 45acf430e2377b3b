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

from mrcnn.ablation.arms import ARMS, GRIDS, MATCHED, choose_arms
from mrcnn.ablation.outcomes import KINDS, PRIMARY
from mrcnn.commands import chosen, division, options
from mrcnn.config import Config
from mrcnn.logger import logger
from mrcnn.runs.settings import configure

if TYPE_CHECKING:
    from mrcnn.ablation.grid import Grid

HELP = "compare settings: arms x seeds, with tables and figures"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mrcnn ablate`: those of the grid, and those that all arms share."""
    parser.description = (
        "Train arms (sets of settings), each with several seeds, evaluate them, and report the "
        "differences. The same command continues with what is not finished."
    )
    options.add_options(
        parser,
        *("dataset", *options.SUBSETS, *options.ANNOTATIONS, *options.SPLIT, "limit"),
        *("start_model", "exclude", "output", *options.SCHEDULE, "augment"),
        *(*options.NETWORK, *options.TRAINING),
        output="ablation",
        **options.CHOSEN_DEFAULTS,
    )
    group = parser.add_argument_group("what is compared")
    group.add_argument(
        "--grid",
        nargs="+",
        choices=tuple(GRIDS),
        default=[],
        help="arms of the paper's experiments; of several, each gets its own report too",
    )
    group.add_argument(
        "--arms",
        nargs="+",
        metavar="ARM",
        help=f"arms by name, of {', '.join([*ARMS, *MATCHED])} "
        f"(default: {' '.join(GRIDS['short'])})",
    )
    group.add_argument(
        "--arm",
        nargs="+",
        action="append",
        default=[],
        metavar=("NAME", "SETTING=VALUE"),
        help="an arm of your own, such as: --arm wide MASK_CONV_FILTERS=512",
    )
    group.add_argument(
        "--seeds",
        "--seed",
        nargs="+",
        type=int,
        default=[0, 1, 2],
        metavar="SEED",
        help="a run of every arm with each of them (default: 0 1 2)",
    )
    group.add_argument(
        "--mask-share",
        nargs="+",
        type=float,
        default=[],
        metavar="SHARE",
        help="every arm with the masks of such shares of the objects and the boxes of all, such as "
        "0.1 0.25 0.5 1: a learning curve (default: all masks)",
    )
    group.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="runs at a time (default: 1)"
    )
    group.add_argument(
        "--dilation-ratio",
        type=float,
        metavar="RATIO",
        help="width of the boundary that Boundary AP looks at, in parts of the image's diagonal "
        "(default: 0.02; 0.005 is usual for Cityscapes)",
    )
    group.add_argument(
        "--layers",
        metavar="LAYERS",
        help="what learns, in every stage: heads, 3+, 4+, 5+, all or a regular expression on layer "
        "names; all else is frozen, such as by: --model weights.h5 --exclude 'mrcnn_mask.*' "
        "--layers 'mrcnn_mask.*' (default: the schedule's)",
    )
    group.add_argument(
        "--models",
        nargs="+",
        metavar="FILE",
        default=[],
        help="several start weights in the place of --model: the runs of a seed start from the "
        "file whose place, counted from 0, is the seed modulo their number",
    )
    group.add_argument(
        "--primary",
        choices=tuple(KINDS.values()),
        default=PRIMARY,
        help="the AP in which the report tests its headline contrasts (default: segm)",
    )
    group.add_argument(
        "--score-threshold",
        type=float,
        default=Config.DETECTION_MIN_CONFIDENCE,
        metavar="SCORE",
        help="from which on the report counts false positives "
        f"(default: {Config.DETECTION_MIN_CONFIDENCE})",
    )
    group.add_argument(
        "--image-resamples",
        type=int,
        default=0,
        metavar="N",
        help="intervals that count the images in too, by so many resamples of seeds and images, "
        "such as 1000 (default: 0, none)",
    )


def run(args: argparse.Namespace) -> int:
    """Run the grid that the options ask for, and report. Returns 1 when a run failed, else 0."""
    from mrcnn.ablation import grid as grids
    from mrcnn.ablation import learning_curve
    from mrcnn.ablation import report as reports

    output = args.output or "ablation"
    if args.image_resamples < 0:
        raise ValueError(
            f"--image-resamples: expected at least 0; received {args.image_resamples}."
        )
    grid = _grid_from_args(args)
    logger.info(
        f"{len(grid.runs)} runs: {', '.join(grid.arms)}; seeds {grid.seeds}. Folder: {output}"
    )
    failures = grids.run_grid(grid, output, args.jobs)
    command = shlex.join(["mrcnn", *sys.argv[1:]]) if sys.argv[1:] else ""
    report_options = reports.ReportOptions(
        command, args.primary, args.image_resamples, args.score_threshold
    )
    report = reports.write_report(grid, output, report_options)
    for name in args.grid if len(args.grid) > 1 else ():
        part = replace(grid, arms={arm: grid.arms[arm] for arm in _reported(args, name)})
        reports.write_report(part, output, report_options, Path(output, "reports", name))
    if args.mask_share:
        curve = learning_curve.write_learning_curve(
            grid, output, _arms_from_args(args), args.mask_share
        )
        logger.info(f"Learning curve: {curve}")
    logger.info(
        f"Report: {report}" if report else "No run is finished: there is nothing to report."
    )
    if failures:
        logger.info(
            f"{len(failures)} of {len(grid.runs)} runs failed; run the same command to continue."
        )
    return 1 if failures else 0


def _grid_from_args(args: argparse.Namespace) -> Grid:
    """The grid, with all of its settings checked: not after hours of other arms."""
    from mrcnn.ablation.grid import Grid, expect_arms
    from mrcnn.ablation.learning_curve import name_of, with_mask_shares
    from mrcnn.checkpoints import folders
    from mrcnn.evaluation.boundary import DILATION_RATIO
    from mrcnn.runs import defaults

    arms = _arms_from_args(args)
    matched = _matched(arms)
    if args.mask_share:
        arms = with_mask_shares(arms, args.mask_share)
        matched = {
            name_of(arm, share): name_of(reference, share)
            for share in args.mask_share
            for arm, reference in matched.items()
        }
    expect_arms(arms, args.seeds)
    if args.models and args.model:
        raise ValueError("--model and --models: expected one of them; received both.")
    for path in args.models:
        folders.weights_of(path)
    first_model = args.models[0] if args.models else args.model
    chosen.fill_data_options(args, {})
    given = chosen.settings_from_args(args)
    division.divide(args, args.seeds[0], args.train_subset)
    train_set, val_set = (
        chosen.load_subset(args, subset, ground_truth=False)
        for subset in (args.train_subset, args.val_subset)
    )
    length = defaults.Length(args.schedule, args.steps, args.scale)
    choice = defaults.choose(train_set, val_set, given, first_model, length)
    if args.exclude and choice.model.lower() == "none":
        raise ValueError("--exclude: expected start weights to leave layers out of; give --model.")
    if length == defaults.ASKED_FOR_NOTHING:
        args.steps = choice.steps
    settings = {**choice.settings, **given}
    used = [{**settings, **arm}.get("OPTIMIZER") for arm in arms.values()]
    stages = chosen.stages_from_args(args, "adam" if "adam" in used else "sgd", choice.schedule)
    for arm in arms.values():
        configure(Config, {**settings, **arm})
    if args.layers is not None:
        stages = [replace(stage, layers=args.layers) for stage in stages]
        _expect_layers(args.layers, {**settings, "NUM_CLASSES": train_set.num_classes})
    if matched and "adam" in used:
        logger.warning(
            f"{', '.join(matched)}: with OPTIMIZER=adam the size of a step does not depend on the "
            "size of the gradients, so that a factor of the mask loss changes almost nothing where "
            "only the mask branch learns. OPTIMIZER=sgd gives the control its meaning."
        )
    return Grid(
        dataset=chosen.dataset_of(args),
        arms=arms,
        seeds=args.seeds,
        settings=settings,
        stages=stages,
        model=choice.model,
        exclude=args.exclude,
        year=args.year,
        train_subset=args.train_subset,
        val_subset=args.val_subset,
        limit=args.limit,
        dilation_ratio=DILATION_RATIO if args.dilation_ratio is None else args.dilation_ratio,
        box_only=args.box_only,
        skip_invalid=args.skip_invalid,
        augment=args.augment,
        models=args.models,
        matched=matched,
        split=_split_folder(args),
        image_dir=args.image_dir,
    )


def _split_folder(args: argparse.Namespace) -> str:
    """The folder of `split.json`, which all runs read; "" where nothing is divided.

    Raises:
        ValueError: the folder holds another one.
    """
    from mrcnn.datasets.division import Division

    divided = division.division_of(args)
    if divided is None:
        return ""
    folder = Path(args.output or "ablation").resolve()
    before = Division.read(folder)
    if before is None:
        divided.write(folder)
    elif before != divided:
        raise ValueError(
            f"{folder}: expected the split that its runs were started with, {before.describe()}; "
            f"received {divided.describe()}. Name another --output, or give the same images, "
            f"--split, --split-by and first seed."
        )
    return str(folder)


def _reported(args: argparse.Namespace, grid: str) -> list[str]:
    """The arms of one of several grids, with every share of the masks."""
    from mrcnn.ablation.learning_curve import name_of

    shares = args.mask_share
    return [name_of(arm, s) for s in shares for arm in GRIDS[grid]] or list(GRIDS[grid])


def _matched(arms: dict[str, dict[str, Any]]) -> dict[str, str]:
    """The control arms among the arms, with the arm that each is a control of.

    Raises:
        ValueError: that one is not among them.
    """
    found = {arm: MATCHED[arm] for arm in arms if arm in MATCHED}
    for arm, reference in found.items():
        if reference not in arms:
            raise ValueError(
                f"arm {arm!r}: expected {reference} among the arms too, whose gradients it "
                f"matches; received {', '.join(arms)}. Add {reference} to --arms."
            )
    return found


def _expect_layers(layers: str, settings: dict[str, Any]) -> None:
    """Check that the network has layers of a group or regular expression.

    Raises:
        ValueError: it has none, or it is no regular expression.
    """
    from mrcnn import network
    from mrcnn.training.stages import matching_layers

    matching_layers(network.build_training(configure(Config, settings)), layers)


def _arms_from_args(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The arms that `--grid`, `--arms` and `--arm` name, by name."""
    own = {name: chosen.parse_settings(settings) for name, *settings in args.arm}
    if args.grid and args.arms:
        raise ValueError("--grid and --arms: expected one of them; received both.")
    of_grids = dict.fromkeys(arm for name in args.grid for arm in GRIDS[name])
    return choose_arms([*(of_grids or args.arms or GRIDS["short"]), *own], own)
