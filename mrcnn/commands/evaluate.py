"""The command `mrcnn evaluate`: from weights, and the settings beside them, to metrics.

`evaluate_from_args` is shared with the samples, which differ in their data and their configuration.

Heavy modules are imported where they are used, so that `mrcnn --help` is quick.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mrcnn.commands import options
from mrcnn.config import Config
from mrcnn.logger import logger
from mrcnn.runs.settings import derive_config

if TYPE_CHECKING:
    from mrcnn.evaluation.coco import Metrics
    from mrcnn.runs.results import Split

HELP = "evaluate weights with pycocotools"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mrcnn evaluate`."""
    parser.add_argument("dataset", help="folder with annotations/instances_SUBSET[YEAR].json")
    parser.add_argument("--model", required=True, help="a weights file; settings lie beside it")
    parser.add_argument("--subset", default="val")
    parser.add_argument(
        "--box-only", action="store_true", help="accept boxes without masks, as for training"
    )
    parser.add_argument(
        "--skip-invalid", action="store_true", help="leave bad annotations out, as for training"
    )
    parser.add_argument("--limit", type=int, default=0, help="number of images (default: all)")
    parser.add_argument("--output", help="folder of the results (default: beside the weights)")
    parser.add_argument("--year", default="", help="in the data set's file names")
    parser.add_argument("--logs", default="logs", help="folder of the log folders")
    options.add_settings_options(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate the weights on a subset."""
    from mrcnn.datasets.coco import CocoDataset
    from mrcnn.runs.results import Split

    dataset = CocoDataset.of(
        *(args.dataset, args.subset, args.year),
        box_only=args.box_only,
        skip_invalid=args.skip_invalid,
    )
    split = Split(
        dataset,
        dataset.ground_truth,
        f"{Path(args.subset.removesuffix('.json')).name}{args.year}",
        args.limit,
    )
    evaluate_from_args(derive_config(Config, {"NAME": "evaluation"}), args, args.model, split)
    return 0


def evaluate_from_args(
    base: type[Config], args: argparse.Namespace, weights: str | Path, split: Split
) -> Metrics:
    """Evaluate weights with the settings beside them, which the options change.

    Args:
        base: the configuration, where the weights have no settings beside them; its NUM_CLASSES
            is the data's then.
        args: of `mrcnn.commands.options.add_settings_options`, perhaps with `output`, the folder
            of the results; they go beside the weights without it.
        weights: a weights file.
        split: the images.
    """
    from mrcnn.runs import results, trained

    config = trained.inference_config(
        weights,
        derive_config(base, {"NUM_CLASSES": split.dataset.num_classes}),
        options.settings_from_args(args),
        every_detection=True,
    )
    logger.info(results.describe_run(config))
    model = trained.load_detector(config, weights)
    folder = getattr(args, "output", None) or Path(weights).resolve().parent
    return results.evaluate_run(model, split, folder)
