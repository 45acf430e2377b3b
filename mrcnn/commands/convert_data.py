"""The command `mrcnn convert-data`: annotations of any format that is read, written in another one.

Heavy modules are imported where they are used, so that `mrcnn --help` is quick.
"""

from __future__ import annotations

import argparse

from mrcnn.commands import chosen, division, options
from mrcnn.config import Config
from mrcnn.logger import logger

HELP = "convert annotations to COCO's, labelme's or YOLO's format"
# `mrcnn.datasets.formats.convert.WRITERS`, which is not imported for `--help`.
TO = ("coco", "labelme", "yolo", "webdataset")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mrcnn convert-data`."""
    parser.description = (
        "Write a copy of a data set in another format, with its images as hard links or copies. "
        "What the other format cannot hold is counted and said. docs/formats.md lists the formats."
    )
    options.add_options(
        parser, "dataset", "year", "skip_invalid", "image_dir", *options.SPLIT, "seed"
    )
    parser.add_argument("out", metavar="OUT", help="a new folder for the copy")
    parser.add_argument("--to", required=True, choices=TO, help="the format of the copy")


def run(args: argparse.Namespace) -> int:
    """Convert, and say what was lost."""
    from mrcnn.datasets.formats.convert import convert
    from mrcnn.datasets.layouts import find_subsets

    division.divide(args, Config.SEED if args.seed is None else args.seed)
    subsets = find_subsets(
        *(chosen.dataset_of(args), args.year or "", division.division_of(args), args.image_dir)
    )
    parts = convert(subsets, args.out, args.to, bool(args.skip_invalid))
    for part in parts:
        objects = sum(len(picture.annotations) for picture in part.pictures)
        told = [f"{count} {words}" for words, count in part.counts.items() if count]
        logger.info(
            f"{args.out}, {part.name}: {len(part.pictures)} images with {objects} objects; "
            f"{', '.join(told) or 'nothing is lost'}."
        )
    logger.info(f"Next: mrcnn check {args.out}")
    return 0
