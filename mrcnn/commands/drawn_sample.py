"""What the samples share whose images are drawn when they are needed: train, then evaluate.

Heavy modules are imported where they are used, so that `--help` is quick.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mrcnn.commands import options
from mrcnn.commands.backend_messages import without_backend_messages
from mrcnn.commands.parser import Parser
from mrcnn.config import Config
from mrcnn.logger import logger

if TYPE_CHECKING:
    from mrcnn.data.dataset import Dataset

FROM_SCRATCH_RATE = 5e-4  # of Adam


@dataclass(frozen=True)
class DrawnSample:
    """A sample without files.

    Attributes:
        name: of its script, for messages.
        description: of the command line.
        config: settings for trained start weights.
        small_config: settings of a network that learns from a random start on a CPU.
        draw: from settings, "train" or "val", and a number of images to the prepared data set.
        steps: length of the training.
        train_images, val_images: how many to draw.
    """

    name: str
    description: str
    config: type[Config]
    small_config: type[Config]
    draw: Callable[[Config, str, int], Dataset]
    steps: int
    train_images: int = 500
    val_images: int = 50


def main(sample: DrawnSample, argv: Sequence[str] | None = None) -> int:
    """Run the command line of a sample. Returns the exit status."""
    parser = Parser(
        description=sample.description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_options(
        parser,
        *("start_model", "run_name", "logs", "train_images", "val_images"),
        *(*options.SCHEDULE, "seed", *options.NETWORK, *options.TRAINING),
        start_model="none",
        steps=str(sample.steps),
        train_images=str(sample.train_images),
        val_images=str(sample.val_images),
    )
    parser.set_defaults(default_schedule="scratch")
    options.add_verbose_option(parser)
    args = parser.parse_args(argv)
    args.model = args.model or "none"
    try:
        with without_backend_messages(args.verbose):
            _run(sample, args)
    except (ImportError, OSError, ValueError) as error:
        logger.error("%s: %s", sample.name, error)
        return 2
    return 0


def _run(sample: DrawnSample, args: argparse.Namespace) -> None:
    """Train, then evaluate the weights on images that the network has not seen."""
    from mrcnn.commands.chosen import settings_from_args
    from mrcnn.commands.evaluate import evaluate_from_args
    from mrcnn.commands.train import train_from_args
    from mrcnn.evaluation.ground_truth import coco_ground_truth
    from mrcnn.runs.results import Split
    from mrcnn.runs.settings import configure

    base = sample.config
    if args.model.lower() == "none":
        base = sample.small_config
        args.learning_rate = args.learning_rate or FROM_SCRATCH_RATE
    if args.model != "last" and args.steps is None and args.scale is None:
        args.steps = sample.steps
    config = configure(base, settings_from_args(args))
    train_set = sample.draw(config, "train", args.train_images or sample.train_images)
    val_set = sample.draw(config, "val", args.val_images or sample.val_images)
    weights = train_from_args(base, args, train_set, val_set)
    evaluate_from_args(base, args, weights, Split(val_set, coco_ground_truth(val_set)))
