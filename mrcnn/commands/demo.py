"""The main job on an embedded default: learn synthetic shapes from scratch, and show it.

Writes into one folder: the data set in COCO's layout, the log folder with weights and
losses, the COCO metrics as CSV, the loss curves and a page of detections as PNG.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from mrcnn.config import Config
from mrcnn.data.augment import HorizontalFlip
from mrcnn.datasets.coco import CocoDataset
from mrcnn.datasets.shapes import CLASS_NAMES, write_shapes
from mrcnn.model import MaskRCNN
from mrcnn.process import set_random_seed
from mrcnn.runs import results
from mrcnn.runs import settings as runs_settings
from mrcnn.training import stages
from mrcnn.training.stages import Stage

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


def run(output: str | Path, steps: int = STEPS, **settings: Any) -> Path:
    """Run the demo.

    Args:
        output: folder of everything it writes; made when missing.
        steps: training steps in all.
        settings: settings of `DemoConfig` to change.

    Returns:
        The folder with the results.
    """
    started = time.perf_counter()
    output = Path(output)
    data = output / "shapes"
    print(f"1/4 Data: {TRAIN_IMAGES} + {VAL_IMAGES} images in COCO layout, {data}")
    write_shapes(data, TRAIN_IMAGES, VAL_IMAGES)
    train_set, val_set = CocoDataset.of(data, "train"), CocoDataset.of(data, "val")
    for name, data_set in (("train", train_set), ("val", val_set)):
        print(f"    {name}: {data_set.summary()}")

    config = runs_settings.configure(DemoConfig, settings)
    whole = sum(stage.steps for stage in STAGES)
    chosen = [replace(stage, steps=max(1, round(stage.steps * steps / whole))) for stage in STAGES]
    print(f"2/4 Training from scratch\n{results.describe(config, chosen)}")
    set_random_seed(config.SEED)
    model = MaskRCNN("training", config, output / "logs")
    runs_settings.save_settings(config, model.log_dir)
    model.train_stages(train_set, val_set, chosen, augmentation=HorizontalFlip())

    print("3/4 Evaluation with pycocotools on images the network has not seen")
    weights = model.find_last()
    detecting = runs_settings.configure(
        DemoConfig, {**settings, **runs_settings.inference_settings(config), "IMAGES_PER_GPU": 8}
    )
    detector = MaskRCNN("inference", detecting, output / "logs")
    detector.load_weights(weights, by_name=True)
    results.evaluate(detector, val_set, val_set.ground_truth, output, "val", pictures=12)

    print("4/4 Loss curves")
    ends = stages.epochs(chosen, config.STEPS_PER_EPOCH)
    losses = results.report_losses(model.log_dir, ends, output / "losses.png")
    print(f"Loss curves: {losses}\nWeights: {weights}")
    print(f"Done in {time.perf_counter() - started:.0f} s. Everything is in {output}")
    return output
