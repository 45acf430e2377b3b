"""Train and evaluate on MS COCO, as the Edge Agreement paper does (arXiv 1809.07069).

    # The paper's recommended setting: Sobel filters, L2, three stages of 160k steps in all.
    python samples/coco/coco.py train --dataset /path/to/coco --year 2017 --model imagenet \\
        --backbone resnet50 --edge-loss-filters sobel-x sobel-y

    # The baseline: the same without --edge-loss-filters.

    # Go on with the newest run; evaluate it.
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
from pathlib import Path
from typing import TYPE_CHECKING

from mrcnn.config import Config
from mrcnn.logger import logger

if TYPE_CHECKING:
    from pycocotools.coco import COCO

    from mrcnn.datasets.coco import CocoDataset

ROOT = Path(__file__).resolve().parent.parent.parent
DEFAULT_LOGS_DIR = ROOT / "logs"
DEFAULT_DATASET_YEAR = "2014"


class CocoConfig(Config):
    """COCO's 80 classes; images fit 1024 x 1024, batches of two, as in the paper."""

    NAME = "coco"
    IMAGES_PER_GPU = 2
    NUM_CLASSES = 1 + 80


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status."""
    from mrcnn.commands import options
    from mrcnn.commands.backend_messages import without_backend_messages

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("train", "evaluate"))
    parser.add_argument("--dataset", required=True, help="folder of the data set")
    parser.add_argument("--year", default=DEFAULT_DATASET_YEAR, help="2014 (default), 2017, …")
    parser.add_argument(
        "--model", required=True, help="none, imagenet, coco, last, or a weights file"
    )
    parser.add_argument("--logs", default=DEFAULT_LOGS_DIR, help="folder of the log folders")
    parser.add_argument(
        "--limit", type=int, default=500, help="images to evaluate on (default 500; 0: all)"
    )
    parser.add_argument(
        "--download",
        nargs="?",
        type=_boolean,
        const=True,
        default=False,
        help="download the data set into --dataset first",
    )
    options.add_schedule_options(parser, default="paper-160k")
    options.add_settings_options(parser)
    options.add_verbose_option(parser)
    args = parser.parse_args(argv)
    try:
        with without_backend_messages(args.verbose):
            _train(args) if args.command == "train" else _evaluate(args)
    except (OSError, ValueError, FloatingPointError) as error:
        logger.error("coco.py: %s", error)
        return 2
    return 0


def _train(args: argparse.Namespace) -> None:
    from mrcnn.commands.train import train_from_args
    from mrcnn.data.augment import HorizontalFlip

    # COCO 2014 is trained on with the part of its validation set that minival leaves.
    train_set, _ = _load(args, "train", *(["valminusminival"] if args.year == "2014" else []))
    val_set, _ = _load(args, _val_subset(args))
    train_from_args(CocoConfig, args, train_set, val_set, HorizontalFlip())


def _evaluate(args: argparse.Namespace) -> None:
    from mrcnn.commands.evaluate import evaluate_from_args
    from mrcnn.commands.options import weights_from_args
    from mrcnn.runs.results import Split

    subset = _val_subset(args)
    dataset, truth = _load(args, subset)
    split = Split(dataset, truth, f"{subset}{args.year}", args.limit)
    evaluate_from_args(CocoConfig, args, weights_from_args(CocoConfig, args), split)


def _val_subset(args: argparse.Namespace) -> str:
    return "minival" if args.year == "2014" else "val"


def _load(args: argparse.Namespace, *subsets: str) -> tuple[CocoDataset, COCO]:
    """One data set of all `subsets`, and the ground truth of the last."""
    from mrcnn.datasets import coco_download
    from mrcnn.datasets.coco import CocoDataset

    dataset, truth = CocoDataset(), None
    for subset in subsets:
        if args.download:
            coco_download.download_coco(args.dataset, subset, args.year)
        truth = dataset.load_coco(args.dataset, subset, year=args.year, return_coco=True)
    dataset.prepare()
    return dataset, truth


def _boolean(text: str) -> bool:
    values = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in values:
        raise argparse.ArgumentTypeError(f"expected true or false; received {text!r}")
    return values[text.lower()]


if __name__ == "__main__":
    sys.exit(main())
