"""Train and evaluate on Cityscapes (https://www.cityscapes-dataset.com).

    # The Edge Agreement paper's setting: batches of four, Sobel filters, masks 28 x 28 or 56 x 56.
    python samples/cityscapes/cityscapes.py train --dataset /path/to/cityscapes \\
        --model imagenet --edge-loss-filters sobel-x sobel-y --mask-size 56

    # COCO's metrics, and with the package cityscapesscripts the benchmark's official AP.
    python samples/cityscapes/cityscapes.py evaluate --dataset /path/to/cityscapes \\
        --model last --official

    # What is wrong with the images and the objects, and what training does about it.
    python samples/cityscapes/cityscapes.py check --dataset /path/to/cityscapes

    # Without the data: draw 40 street scenes in the same layout, and look at everything on a CPU.
    python samples/cityscapes/cityscapes.py train --dataset streets --generate 40 \\
        --image-size 128 --model none --backbone resnet10 --steps 20 --steps-per-epoch 10

The paper (section 5.7) trains by the schedule of Mask R-CNN's appendix A, with batches of four in
place of eight: 24k steps at a rate of 0.01, from 18k on at 0.001, the shorter side drawn from 800
to 1024 pixels for each image, and 1024 in testing. It does not say whether the smaller batch got
more steps. `--schedule cityscapes-24k`, the default, takes the numbers as they stand, and so does
the sample of the published code (at a tenth of the rates, and without the drawn sizes).
`--schedule cityscapes-48k` doubles the steps and halves the rates, so that as many images are seen.

Hours on the whole of Cityscapes were not measured here; the paper reports mask AP 0.156 for the
baseline and 0.177 with Sobel at 28 x 28, 0.149 and 0.180 at 56 x 56.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mrcnn.config import IMAGE_SIDE_MULTIPLE, Config
from mrcnn.datasets.cityscapes import ANNOTATIONS, CLASSES, CityscapesDataset
from mrcnn.logger import logger

DEFAULT_SCHEDULE = "cityscapes-24k"
GENERATED_HEIGHT = 256
# The smallest shorter side that Mask R-CNN trains with, beside the 1024 pixels of the images.
SMALLEST_SIDE = 800 / 1024


class CityscapesConfig(Config):
    """The 8 classes of the instance benchmark, whole images without padding, batches of four."""

    NAME = "cityscapes"
    BACKBONE = "resnet50"
    IMAGES_PER_GPU = 4
    NUM_CLASSES = 1 + len(CLASSES["instance"])
    IMAGE_RESIZE_MODE = "pad64"
    IMAGE_MIN_DIM = 1024
    IMAGE_MAX_DIM = 2048
    IMAGE_PAD_SHAPE = (1024, 2048)
    IMAGE_MIN_DIM_RANGE = (800, 1024)
    MAX_GT_INSTANCES = 150  # streets are crowded


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status."""
    from mrcnn.commands import options
    from mrcnn.commands.backend_messages import without_backend_messages
    from mrcnn.commands.cli import end_the_others
    from mrcnn.commands.parser import Parser

    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("train", "evaluate", "check"))
    options.add_options(
        parser,
        *("dataset", "limit", "start_model", "run_name", "logs"),
        *(*options.SCHEDULE, "seed", *options.NETWORK, *options.TRAINING, *options.HOSTS),
        dataset="with leftImg8bit/ and gtFine/",
        start_model="must be given",
        schedule=DEFAULT_SCHEDULE,
    )
    parser.add_argument(
        "--labels",
        choices=tuple(CLASSES),
        default="instance",
        help="the benchmark's 8 classes, or all 34 labels (default: instance)",
    )
    parser.add_argument(
        "--annotations",
        choices=tuple(ANNOTATIONS),
        default="polygons",
        help="read the polygons, or the images of instance ids (default: polygons)",
    )
    parser.add_argument(
        "--official",
        action="store_true",
        help="compute the benchmark's own AP too, with its package",
    )
    parser.add_argument(
        "--generate",
        type=int,
        metavar="N",
        help="draw N training scenes and a quarter as many to validate with into --dataset first, "
        f"of the height --image-size (default {GENERATED_HEIGHT})",
    )
    parser.set_defaults(default_schedule=DEFAULT_SCHEDULE)
    options.add_verbose_option(parser)
    parser.epilog = (
        "--image-size is the height of the input here, its width being twice that; images that "
        "are larger are shrunk and padded to a square of that width."
    )
    args = parser.parse_args(argv)
    if args.model is None and args.command != "check":
        parser.error("the following arguments are required: --model")
    try:
        with without_backend_messages(args.verbose):
            if args.generate is not None:
                _generate(args)
            if args.command == "check":
                return _check(args)
            _train(args) if args.command == "train" else _evaluate(args)
    except (OSError, ValueError, ImportError) as error:
        logger.error("cityscapes.py: %s", error)
        end_the_others(2)
        return 2
    return 0


def image_settings(dataset: CityscapesDataset, size: int | None = None) -> dict[str, Any]:
    """The settings of the network's input for the images of a data set.

    Args:
        dataset: with all the images that the network is to see.
        size: height of the input, which is twice as wide; None: as large as the largest image.

    Returns:
        Settings of `Config`: images as they are or enlarged, without padding where their sides
        divide by 64; those larger than `size` are shrunk and padded to a square. In training their
        shorter side is drawn, from `SMALLEST_SIDE` of this size up to it.
    """
    sizes = [(info["height"], info["width"]) for info in dataset.image_info]
    height, width = (max(sides) for sides in zip(*sizes, strict=True))
    shape = tuple(side + -side % IMAGE_SIDE_MULTIPLE for side in (height, width))
    if size is not None:
        if any(h > size or w > 2 * h for h, w in sizes):
            # Shrinking is what the mode "square" alone does.
            return {
                "IMAGE_RESIZE_MODE": "square",
                "IMAGE_MIN_DIM": size,
                "IMAGE_MAX_DIM": 2 * size,
                "IMAGE_PAD_SHAPE": None,
                "IMAGE_MIN_DIM_RANGE": _drawn_sides(size),
            }
        height, shape = size, (size, 2 * size)
    return {
        "IMAGE_RESIZE_MODE": "pad64",
        "IMAGE_MIN_DIM": height,
        "IMAGE_MAX_DIM": max(shape),
        "IMAGE_PAD_SHAPE": shape,
        "IMAGE_MIN_DIM_RANGE": _drawn_sides(height),
    }


def _drawn_sides(side: int) -> tuple[int, int]:
    return round(SMALLEST_SIDE * side), side


def _generate(args: argparse.Namespace) -> None:
    from mrcnn.commands.chosen import dataset_of
    from mrcnn.datasets.street_scenes import write_lookalike

    height = args.image_size or GENERATED_HEIGHT
    val = max(1, args.generate // 4)
    logger.info(
        f"Drawing {args.generate} + {val} street scenes, {height}x{2 * height}: {dataset_of(args)}"
    )
    write_lookalike(dataset_of(args), args.generate, val, (height, 2 * height))


def _load(args: argparse.Namespace, subset: str, limit: int = 0) -> CityscapesDataset:
    from mrcnn.commands.chosen import dataset_of

    dataset = CityscapesDataset()
    dataset.load_cityscapes(dataset_of(args), subset, args.annotations, args.labels, limit=limit)
    dataset.prepare()
    return dataset


def _without_size(args: argparse.Namespace) -> argparse.Namespace:
    """The options except --image-size, which `image_settings` takes care of."""
    return argparse.Namespace(**{**vars(args), "image_size": None})


def _train(args: argparse.Namespace) -> None:
    from mrcnn.commands.train import join_processes, train_from_args
    from mrcnn.data.augment import HorizontalFlip
    from mrcnn.runs.settings import derive_config

    join_processes(args)
    train_set, val_set = _load(args, "train"), _load(args, "val")
    base = derive_config(CityscapesConfig, image_settings(train_set, args.image_size))
    train_from_args(base, _without_size(args), train_set, val_set, HorizontalFlip())


def _check(args: argparse.Namespace) -> int:
    from mrcnn.commands.check import check_datasets
    from mrcnn.commands.chosen import settings_from_args
    from mrcnn.runs.settings import configure, derive_config

    train_set, val_set = _load(args, "train"), _load(args, "val")
    base = derive_config(CityscapesConfig, image_settings(train_set, args.image_size))
    config = configure(base, settings_from_args(_without_size(args)))
    return check_datasets(train_set, val_set, config)


def _evaluate(args: argparse.Namespace) -> None:
    from mrcnn.commands.chosen import weights_from_args
    from mrcnn.evaluation import cityscapes, coco
    from mrcnn.evaluation.ground_truth import coco_ground_truth
    from mrcnn.runs import results
    from mrcnn.runs.trained import load_detector

    if args.official:
        cityscapes.official_package()  # not after hours of detecting
    dataset = _load(args, "val", args.limit)
    weights = weights_from_args(CityscapesConfig, _without_size(args))
    config = _inference_config(args, weights, dataset)
    logger.info(results.describe_run(config))
    model = load_detector(config, weights)

    folder = Path(weights).resolve().parent
    split = results.Split(dataset, coco_ground_truth(dataset), "val")
    metrics, detections, timing, _ = coco.evaluate_model(
        model.detector, dataset, split.ground_truth
    )
    logger.info(coco.format_table(metrics))
    logger.info(f"{timing.images} images in {timing.seconds:.1f} s")
    coco.write_csv(folder / "coco_val.csv", metrics)
    if args.official:
        files = folder / "cityscapes_val"
        cityscapes.write_results(files, detections, [info["id"] for info in dataset.image_info])
        official = cityscapes.official_ap(files, dataset)
        logger.info(cityscapes.format_table(official))
        cityscapes.write_csv(folder / "cityscapes_val.csv", official)
    results.draw_page(model, split, folder / "detections_val.png")
    logger.info(f"Metrics and pictures: {folder}")


def _inference_config(args: argparse.Namespace, weights: str, dataset: CityscapesDataset) -> Config:
    """The settings of a run for inference; without them, those that fit the images."""
    from mrcnn.commands.chosen import settings_from_args
    from mrcnn.runs.settings import derive_config
    from mrcnn.runs.trained import inference_config

    fitting = {"NUM_CLASSES": dataset.num_classes, **image_settings(dataset)}
    given = image_settings(dataset, args.image_size) if args.image_size else {}
    config = inference_config(
        weights,
        derive_config(CityscapesConfig, fitting),
        {**given, **settings_from_args(_without_size(args))},
        every_detection=True,
    )
    if config.NUM_CLASSES != dataset.num_classes:
        raise ValueError(
            f"{weights}: expected weights for the {dataset.num_classes} classes, background "
            f"included, of --labels {args.labels}; they are for {config.NUM_CLASSES}."
        )
    return config


if __name__ == "__main__":
    sys.exit(main())
