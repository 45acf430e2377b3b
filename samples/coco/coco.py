"""Train and evaluate on MS COCO, as the Edge Agreement paper does (arXiv 1809.07069).

    # The paper's recommended setting: Sobel filters, L2, three stages of 160k steps in all.
    python samples/coco/coco.py train --dataset /path/to/coco --year 2017 --model imagenet \\
        --backbone resnet50 --edge-loss-filters sobel-x sobel-y

    # The baseline: the same without --edge-loss-filters.

    # Continue with the newest run; evaluate it.
    python samples/coco/coco.py train --dataset /path/to/coco --year 2017 --model last
    python samples/coco/coco.py evaluate --dataset /path/to/coco --year 2017 --model last

    # A look at everything in minutes, on a CPU.
    python samples/coco/coco.py train --dataset /path/to/coco --year 2017 --model none \\
        --image-size 128 --backbone resnet10 --steps 20 --steps-per-epoch 10

Hours on the whole of COCO were not measured here; the paper reports mask AP 0.188 for the
baseline and 0.202 with Sobel and L2.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mrcnn.config import Config
from mrcnn.logger import logger

if TYPE_CHECKING:
    from pycocotools.coco import COCO

    from mrcnn.datasets.coco import CocoDataset

DEFAULT_DATASET_YEAR, DEFAULT_SCHEDULE = "2014", "paper-160k"


class CocoConfig(Config):
    """COCO's 80 classes; images fit 1024 x 1024, batches of two, as in the paper."""

    NAME = "coco"
    IMAGES_PER_GPU = 2
    NUM_CLASSES = 1 + 80


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status."""
    from mrcnn.commands import options
    from mrcnn.commands.backend_messages import without_backend_messages
    from mrcnn.commands.cli import end_the_others
    from mrcnn.commands.parser import Parser

    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("train", "evaluate"))
    options.add_options(
        parser,
        *("dataset", "year", "limit", "start_model", "run_name", "logs"),
        *(*options.SCHEDULE, "seed", *options.NETWORK, *options.TRAINING, *options.HOSTS),
        dataset="COCO's",
        year=DEFAULT_DATASET_YEAR,
        start_model="must be given",
        schedule=DEFAULT_SCHEDULE,
    )
    parser.add_argument(
        "--download",
        nargs="?",
        type=_boolean,
        const=True,
        default=False,
        help="download the data set into --dataset first",
    )
    parser.set_defaults(default_schedule=DEFAULT_SCHEDULE)
    options.add_verbose_option(parser)
    args = parser.parse_args(argv)
    args.year = args.year or DEFAULT_DATASET_YEAR
    if args.model is None:
        parser.error("the following arguments are required: --model")
    try:
        with without_backend_messages(args.verbose):
            _train(args) if args.command == "train" else _evaluate(args)
    except (OSError, ValueError, FloatingPointError) as error:
        logger.error("coco.py: %s", error)
        end_the_others(2)
        return 2
    return 0


def _train(args: argparse.Namespace) -> None:
    from mrcnn.commands.train import join_processes, train_from_args
    from mrcnn.data.augment import HorizontalFlip

    join_processes(args)
    # COCO 2014 is trained on with the part of its validation set that minival leaves.
    train_set, _ = _load(args, "train", *(["valminusminival"] if args.year == "2014" else []))
    val_set, _ = _load(args, _val_subset(args))
    train_from_args(CocoConfig, args, train_set, val_set, HorizontalFlip())


def _evaluate(args: argparse.Namespace) -> None:
    from mrcnn.commands.chosen import weights_from_args
    from mrcnn.commands.evaluate import evaluate_from_args
    from mrcnn.runs.results import Split

    subset = _val_subset(args)
    dataset, truth = _load(args, subset)
    split = Split(dataset, truth, f"{subset}{args.year}", args.limit)
    evaluate_from_args(CocoConfig, args, weights_from_args(CocoConfig, args), split)


def _val_subset(args: argparse.Namespace) -> str:
    return "minival" if args.year == "2014" else "val"


def _load(args: argparse.Namespace, *subsets: str) -> tuple[CocoDataset, COCO]:
    """One data set of all `subsets`, and the ground truth of the last."""
    from mrcnn.commands.chosen import dataset_of
    from mrcnn.datasets import coco_download
    from mrcnn.datasets.coco import CocoDataset

    dataset, truth = CocoDataset(), None
    for subset in subsets:
        if args.download:
            coco_download.download_coco(dataset_of(args), subset, args.year)
        truth = dataset.load_coco(dataset_of(args), subset, year=args.year, return_coco=True)
    dataset.prepare()
    return dataset, truth


def _boolean(text: str) -> bool:
    values = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in values:
        raise argparse.ArgumentTypeError(f"expected true or false; received {text!r}")
    return values[text.lower()]


if __name__ == "__main__":
    sys.exit(main())
