"""Seconds and memory of a training step, compared with the best that the machine could do.

    python -m benchmarks.training_step --row shapes
    python -m benchmarks.training_step --row coco-256 --dtype bfloat16

The rows are the two steps that the project tracks; every option overrides
one of their settings. One JSON line: the median and best seconds of a step, the limit
(`benchmarks.limits`: useful operations over the throughput of a large convolution, probed
between the steps), their ratio, the seconds of the first step, and the peak memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import keras
import numpy as np

from benchmarks import limits
from mrcnn.commands import chosen
from mrcnn.config import BACKBONES, Config
from mrcnn.data.loader import Batch
from mrcnn.data.molding import compose_image_meta
from mrcnn.process import keep_freed_memory
from mrcnn.runs import settings
from mrcnn.training import compile
from mrcnn.training import model as training_model

ROWS: dict[str, dict[str, Any]] = {
    # The shapes sample: ResNet-50, 128², batch 8, 32 RoIs an image.
    "shapes": {
        "BACKBONE": "resnet50",
        "IMAGE_MIN_DIM": 128,
        "IMAGE_MAX_DIM": 128,
        "IMAGES_PER_GPU": 8,
        "TRAIN_ROIS_PER_IMAGE": 32,
        "NUM_CLASSES": 4,
        "RPN_ANCHOR_SCALES": (8, 16, 32, 64, 128),
    },
    # ResNet-101, 256², batch 2, 200 RoIs an image.
    "coco-256": {
        "BACKBONE": "resnet101",
        "IMAGE_MIN_DIM": 256,
        "IMAGE_MAX_DIM": 256,
        "IMAGES_PER_GPU": 2,
        "TRAIN_ROIS_PER_IMAGE": 200,
        "NUM_CLASSES": 81,
        "RPN_ANCHOR_SCALES": (16, 32, 64, 128, 256),
    },
}
WARM_UP_STEPS = 3
GT_INSTANCES = 12


def random_batch(config: Config, seed: int = 0) -> Batch:
    """Noise with boxes whose masks are filled; RoIs around them where the batch gives RoIs."""
    rng = np.random.default_rng(seed)
    height, width, channels = (int(side) for side in config.IMAGE_SHAPE)
    batch, slots = config.BATCH_SIZE, min(config.MAX_GT_INSTANCES, GT_INSTANCES)
    shape = (batch, config.MAX_GT_INSTANCES)
    class_ids, boxes = np.zeros(shape, np.int32), np.zeros((*shape, 4), np.int32)
    masks = np.zeros((*shape, *config.MINI_MASK_SHAPE), np.uint8)
    corners = rng.integers(0, [height // 2, width // 2], (batch, slots, 2))
    sides = rng.integers(height // 8, height // 2, (batch, slots, 2))
    boxes[:, :slots] = np.concatenate([corners, corners + sides], axis=-1)
    class_ids[:, :slots] = rng.integers(1, config.NUM_CLASSES, (batch, slots))
    masks[:, :slots] = 1
    meta = compose_image_meta(
        0,
        (height, width, channels),
        (height, width, channels),
        (0, 0, height, width),
        1.0,
        np.ones(config.NUM_CLASSES, np.int32),
    )
    arrays = {
        "input_image": rng.integers(0, 256, (batch, height, width, channels)).astype(np.uint8),
        "input_image_meta": np.repeat(meta[None].astype(np.float32), batch, axis=0),
        "input_gt_class_ids": class_ids,
        "input_gt_boxes": boxes,
        "input_gt_masks": masks,
    }
    if not config.USE_RPN_ROIS:
        rois = np.resize(boxes[:, :slots], (batch, config.POST_NMS_ROIS_TRAINING, 4))
        arrays["input_rois"] = rois.astype(np.int32)
    return arrays


def add_step_options(parser: argparse.ArgumentParser) -> None:
    """Options that choose a step."""
    parser.add_argument("--row", choices=tuple(ROWS), default="shapes")
    parser.add_argument("--backbone", choices=BACKBONES)
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--rois", type=int, help="training RoIs an image")
    parser.add_argument("--layers", default="all", help="what learns, as in MaskRCNN.train")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE")


def step_config(args: argparse.Namespace) -> Config:
    """The configuration that the options ask for."""
    given = {
        "NAME": "benchmark",
        **ROWS[args.row],
        **chosen.parse_settings(args.set),
    }
    if args.dtype != "float32":
        given["MIXED_PRECISION"] = args.dtype
    if args.image_size:
        given |= {"IMAGE_MIN_DIM": args.image_size, "IMAGE_MAX_DIM": args.image_size}
    for setting, value in (
        ("BACKBONE", args.backbone),
        ("IMAGES_PER_GPU", args.batch_size),
        ("TRAIN_ROIS_PER_IMAGE", args.rois),
    ):
        if value:
            given[setting] = value
    return settings.configure(Config, given)


def build(config: Config, layers: str = "all") -> training_model.TrainingModel:
    """A compiled model in which `layers` learn."""
    keras.utils.set_random_seed(0)
    model = training_model.build(config)
    compile.set_trainable(model, layers)
    compile.compile_model(model, config, config.LEARNING_RATE, config.LEARNING_MOMENTUM)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_step_options(parser)
    parser.add_argument("--steps", type=int, default=8)
    args = parser.parse_args()
    keep_freed_memory()
    config = step_config(args)
    model = build(config, args.layers)
    batch = random_batch(config)

    def step() -> float:
        return float(model.train_on_batch(batch, return_dict=True)["loss"])

    first = limits.timed(step)
    for _ in range(WARM_UP_STEPS):
        step()
    peak = limits.peak_memory()
    probe = limits.Probe(args.dtype)  # takes memory of its own
    seconds, processor, throughput = [], [], []
    for _ in range(args.steps):
        throughput.append(probe())
        processor_started = time.process_time()
        seconds.append(limits.timed(step))
        processor.append(time.process_time() - processor_started)
    operations = limits.step_operations(model)
    ratios = [s * t / operations for s, t in zip(seconds, throughput, strict=True)]
    print(
        json.dumps(
            {
                "benchmark": "training_step",
                "backend": keras.backend.backend(),
                **vars(args),
                "seconds": round(statistics.median(seconds), 3),
                "best_seconds": round(min(seconds), 3),
                "processor_seconds": round(statistics.median(processor), 3),
                "gflop": round(operations / 1e9, 1),
                "gflop_per_second": round(statistics.median(throughput) / 1e9, 1),
                "best_gflop_per_second": round(max(throughput) / 1e9, 1),
                "ratio_to_limit": round(statistics.median(ratios), 3),
                "best_ratio_to_limit": round(min(seconds) * max(throughput) / operations, 3),
                "first_step_seconds": round(first, 1),
                "peak_gb": round(peak, 2),
            }
        )
    )


if __name__ == "__main__":
    main()
