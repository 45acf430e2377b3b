"""The command `mrcnn demo`: learn synthetic shapes from scratch, and show what was learned.

Writes into one folder: the data set in COCO's layout, the log folder with weights and
losses, the COCO metrics as CSV, the loss curves and a page of detections as PNG.

Heavy modules are imported where they are used, so that `mrcnn --help` is quick.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mrcnn.commands import options
from mrcnn.config import Config
from mrcnn.datasets.shapes import CLASS_NAMES, write_shapes
from mrcnn.files.lock import lock_folder
from mrcnn.logger import logger
from mrcnn.runs.settings import configure
from mrcnn.training.stages import Stage, of_length

HELP = "train, evaluate and draw on synthetic shapes"
TRAIN_IMAGES = 320
VAL_IMAGES = 40
# Nothing is pretrained, so everything learns from the first step on.
STAGES = (Stage("all", 5e-4, 600), Stage("all", 5e-5, 100))
STEPS = sum(stage.steps for stage in STAGES)


class DemoConfig(Config):
    """A small network for 128x128 images, with the Edge Agreement Head of the paper."""

    NAME = "shapes"
    NUM_CLASSES = 1 + len(CLASS_NAMES)
    BACKBONE = "resnet10"
    IMAGE_MIN_DIM = 128
    IMAGE_MAX_DIM = 128
    IMAGES_PER_GPU = 4
    STEPS_PER_EPOCH = 50
    VALIDATION_STEPS = 2
    TRAIN_BN = None  # nothing is pretrained, so batch statistics have to be learned
    OPTIMIZER = "adam"
    TOP_DOWN_PYRAMID_SIZE = 64
    RPN_CONV_FILTERS = 64
    MASK_CONV_FILTERS = 32
    FPN_CLASSIF_FC_LAYERS_SIZE = 256
    RPN_ANCHOR_SCALES = (8, 16, 32, 64, 128)
    PRE_NMS_LIMIT = 600
    POST_NMS_ROIS_TRAINING = 200
    POST_NMS_ROIS_INFERENCE = 100
    TRAIN_ROIS_PER_IMAGE = 32
    MAX_GT_INSTANCES = 24
    DETECTION_MAX_INSTANCES = 30
    EDGE_LOSS_FILTERS = ("sobel-x", "sobel-y")
    # Shapes are easy to find and to outline; telling a square from a circle is what takes time.
    LOSS_WEIGHTS = {**Config.LOSS_WEIGHTS, "mrcnn_class_loss": 3.0}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mrcnn demo`."""
    parser.description = (
        "Draw a data set of shapes, train a small network on it, evaluate it, and draw pictures."
    )
    options.add_options(parser, "output", "steps", output="demo_output", steps=str(STEPS))


def run(args: argparse.Namespace) -> int:
    """Run the demo that the options ask for."""
    run_demo(args.output or "demo_output", args.steps or STEPS)
    return 0


def run_demo(
    output: str | Path, steps: int = STEPS, settings: Mapping[str, Any] | None = None
) -> Path:
    """Write a data set, train on it, evaluate, and draw.

    Args:
        output: folder of everything it writes; made when missing.
        steps: training steps in all.
        settings: settings of `DemoConfig` to change.

    Returns:
        The folder with the results.

    Raises:
        FolderTakenError: another demo writes into the folder.
    """
    with lock_folder(output):
        return _run_demo(Path(output), steps, settings or {})


def _run_demo(output: Path, steps: int, settings: Mapping[str, Any]) -> Path:
    from mrcnn.checkpoints import folders
    from mrcnn.data.augment import HorizontalFlip
    from mrcnn.datasets.coco import CocoDataset
    from mrcnn.model import MaskRCNN
    from mrcnn.process import set_random_seed
    from mrcnn.runs import results
    from mrcnn.runs.trained import open_run

    started = time.perf_counter()
    data = output / "shapes"
    logger.info(f"1/4 Data: {TRAIN_IMAGES} + {VAL_IMAGES} images in COCO layout, {data}")
    write_shapes(data, TRAIN_IMAGES, VAL_IMAGES)
    train_set, val_set = CocoDataset.of(data, "train"), CocoDataset.of(data, "val")
    for name, data_set in (("train", train_set), ("val", val_set)):
        logger.info(f"    {name}: {data_set.summary()}")

    config = configure(DemoConfig, settings)
    chosen = of_length(STAGES, steps)
    logger.info(f"2/4 Training from scratch\n{results.describe_run(config, chosen)}")
    set_random_seed(config.SEED)
    model = MaskRCNN("training", config, output / "logs")
    model.train_stages(train_set, val_set, chosen, augmentation=HorizontalFlip())

    logger.info("3/4 Evaluation with pycocotools on images the network has not seen")
    weights = folders.last_checkpoint(model.log_dir)
    detector = open_run(weights, type(config), {"IMAGES_PER_GPU": 8}, every_detection=True)
    split = results.Split(val_set, val_set.ground_truth, "val")
    page = results.Page(images=12)
    results.evaluate_run(detector, split, output, page, run_folder=model.log_dir)

    logger.info("4/4 Loss curves")
    losses = results.draw_loss_curves(model.log_dir, output / results.LOSS_CURVES_FILE)
    logger.info(f"Loss curves: {losses}\nWeights: {weights}")
    logger.info(f"Done in {time.perf_counter() - started:.0f} s. Everything is in {output}")
    return output
