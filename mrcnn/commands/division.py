"""The options `--split` and `--split-by`, and the split that a run remembers."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcnn.commands import chosen, options
from mrcnn.logger import logger

if TYPE_CHECKING:
    from mrcnn.datasets.division import Division


def divide(args: argparse.Namespace, seed: int, subset: str = "train") -> None:
    """Divide the data set as the options ask, for `chosen.load_subset`.

    Args:
        args: of a command that has the options `options.SPLIT`.
        seed: decides which images are held out.
        subset: that is divided.

    Raises:
        OSError, ValueError: it cannot be divided.
    """
    if args.split is None:
        if args.split_by is not None:
            raise ValueError("--split-by: expected --split SHARE, of which it is an option.")
        return
    val_subset = getattr(args, "val_subset", None)
    if val_subset not in (None, "val"):
        raise ValueError(
            f"--split: expected to validate on what is held out, the subset 'val'; received "
            f"--val-subset {val_subset!r}. Leave one of the two out."
        )
    from mrcnn.runs.division import divide_dataset

    args.division = divide_dataset(
        *(chosen.dataset_of(args), subset, args.year or ""),
        share=args.split,
        by=args.split_by,
        seed=seed,
        image_dir=args.image_dir,
    )


def divide_as_before(
    args: argparse.Namespace, stored: Mapping[str, Any], folder: str | os.PathLike[str]
) -> None:
    """Divide the data set as the run was started with.

    Args:
        args: of a command that has the options `options.SPLIT`.
        stored: what the run remembers of its options.
        folder: of the run.

    Raises:
        ValueError: another division is asked for, or the images are no longer there.
    """
    from mrcnn.datasets.division import Division
    from mrcnn.runs.division import applies

    asked = {name: getattr(args, name) for name in options.SPLIT}
    before = {name: stored.get(name) for name in options.SPLIT}
    given = {name: value for name, value in asked.items() if value is not None}
    if any(before[name] != value for name, value in given.items()):
        raise ValueError(
            f"--split: the run that continues was started with {_words(before)}; received "
            f"{_words(asked)}. Leave it out, or start a new run."
        )
    division = Division.read(folder)
    for name in options.SPLIT:
        setattr(args, name, before[name])
    if before["split"] is None:
        return
    if division is None:
        raise FileNotFoundError(
            f"{Path(folder)}: expected split.json, the split that the run was started with; there "
            f"is none. Put it back, or start a new run."
        )
    if not applies(division, chosen.dataset_of(args), args.year or "", args.image_dir):
        raise ValueError(
            f"{chosen.dataset_of(args)}: expected the images of {Path(folder, 'split.json')}; it "
            f"has none of them."
        )
    args.division = division


def divide_as_run(args: argparse.Namespace, weights: str | os.PathLike[str], subset: str) -> None:
    """Divide a data set as the run of some weights did, if it is the one that was divided.

    Args:
        args: of a command that reads one subset.
        weights: a weights file.
        subset: that is read.

    Raises:
        ValueError: some of the run's images are not there.
    """
    from mrcnn.datasets.division import Division
    from mrcnn.runs.division import applies

    division = Division.read(Path(weights).resolve().parent)
    if division is None or division.part(subset) is None:
        return
    if applies(division, chosen.dataset_of(args), args.year or "", args.image_dir):
        logger.info(f"The run's split: {division.describe()}.")
        args.division = division


def remembered(args: argparse.Namespace) -> dict[str, Any]:
    """What a run remembers of its split, by option; empty where there is none."""
    if division_of(args) is None:
        return {}
    return {name: getattr(args, name, None) for name in options.SPLIT}


def division_of(args: argparse.Namespace) -> Division | None:
    """The division of the data set, as one of the functions here has chosen it."""
    return getattr(args, "division", None)


def _words(values: Mapping[str, Any]) -> str:
    words = [
        f"--{name.replace('_', '-')} {value}" for name, value in values.items() if value is not None
    ]
    return " ".join(words) or "no split"
