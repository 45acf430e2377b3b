"""Seconds and memory of a training step, compared with the best that the machine could do.

    python -m benchmarks.training_step --row shapes
    python -m benchmarks.training_step --row coco-256 --dtype bfloat16
    python -m benchmarks.training_step --row coco-256 --positives 1

The rows are the two steps that the project tracks; every option overrides
one of their settings. One JSON line: the median and best seconds of a step, the limit
(`benchmarks.limits`: useful operations over the throughput of a large convolution, probed
between the steps), their ratio, the seconds of the first step, and the peak memory.

`--positives` says which share of the slots for positive RoIs holds one in each image;
`positive_rois` and `valid_rois` are what came of it, in the whole batch. Useful is the mask branch
on these positives, its last layer for one class, and the box head on the RoIs that are no padding:
`ratio_to_limit`. `ratio_to_slots_limit` counts all slots instead, in use or not.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import time
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from benchmarks import limits
from mrcnn import network
from mrcnn.commands import chosen
from mrcnn.config import BACKBONES, Config
from mrcnn.data.loader import Batch
from mrcnn.data.molding import compose_image_meta
from mrcnn.ops.targets import DetectionTargets
from mrcnn.ops.tensor import Tensor
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
# Of the slots. A convention; `python -m benchmarks.positives` measures trainings.
POSITIVES = 0.5
THIN = 8  # height over width of boxes that no anchor overlaps by half


def random_batch(config: Config, seed: int = 0, thin: bool = False) -> Batch:
    """Noise with boxes whose masks are filled; RoIs around them where the batch gives RoIs.

    Args:
        config: settings.
        seed: of all that is drawn.
        thin: let the boxes be so thin that no RoI of a random network is positive.
    """
    rng = np.random.default_rng(seed)
    height, width, channels = (int(side) for side in config.IMAGE_SHAPE)
    batch, slots = config.BATCH_SIZE, min(config.MAX_GT_INSTANCES, GT_INSTANCES)
    shape = (batch, config.MAX_GT_INSTANCES)
    class_ids, boxes = np.zeros(shape, np.int32), np.zeros((*shape, 4), np.int32)
    masks = np.zeros((*shape, *config.MINI_MASK_SHAPE), np.uint8)
    corners = rng.integers(0, [height // 2, width // 2], (batch, slots, 2))
    sides = rng.integers(height // 8, height // 2, (batch, slots, 2))
    if thin:
        sides[..., 1] = np.maximum(sides[..., 0] // THIN, 2)
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


class WithPositives(keras.layers.Layer):
    """[proposals [B, K, 4], boxes of objects [B, G, 4]]: the first proposals become objects' boxes.

    Args:
        count: how many do, in each image.
        objects: how many objects an image has.
    """

    def __init__(self, count: int, objects: int, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.count, self.objects = count, objects

    def call(self, inputs: list[Tensor]) -> Tensor:
        proposals, boxes = inputs
        rounds = -(-self.count // self.objects)
        positive = keras.ops.tile(boxes[:, : self.objects], (1, rounds, 1))[:, : self.count]
        return keras.ops.concatenate([positive, proposals[:, self.count :]], axis=1)

    def compute_output_shape(self, input_shape: list[tuple]) -> tuple[int | None, ...]:
        return input_shape[0]


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


def build(
    config: Config, layers: str = "all", positives: float | None = None
) -> training_model.TrainingModel:
    """A compiled model in which `layers` learn.

    Args:
        config: settings.
        layers: as in `MaskRCNN.train`.
        positives: the share of the slots that hold a positive RoI in each image of a batch of
            `random_batch(…, thin=True)`; None: whatever the network proposes.
    """
    keras.utils.set_random_seed(0)
    with contextlib.ExitStack() as stack:
        if positives is not None:
            count = round(positives * config.POSITIVE_ROIS_PER_IMAGE)
            stack.enter_context(_proposing(count, min(config.MAX_GT_INSTANCES, GT_INSTANCES)))
        model = training_model.build(config)
    compile.set_trainable(model, layers)
    compile.compile_model(model, config, config.LEARNING_RATE, config.LEARNING_MOMENTUM)
    return model


@contextlib.contextmanager
def _proposing(count: int, objects: int) -> Iterator[None]:
    """Let so many proposals of a training graph that is built inside be objects' boxes."""
    targets_layer = network.RoiTargets

    def with_positives(*args: Any, **kwargs: Any) -> Any:
        layer = targets_layer(*args, **kwargs)

        def call(inputs: list[Tensor]) -> Any:
            rois, class_ids, boxes, masks = inputs
            rois = WithPositives(count, objects, name="with_positives")([rois, boxes])
            return layer([rois, class_ids, boxes, masks])

        return call

    network.RoiTargets = with_positives
    try:
        yield
    finally:
        network.RoiTargets = targets_layer


def useful_rois(model: training_model.TrainingModel, batch: Batch) -> limits.Rois:
    """What the heads have to compute of a batch: its RoIs, and those of them with a mask."""
    probe = keras.Model(model.inputs, model.get_layer("proposal_targets").output)
    targets = DetectionTargets(*probe.predict_on_batch(batch))
    return limits.Rois(
        *(int(np.sum(flags)) for flags in (targets.valid, targets.mask_class_ids > 0))
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_step_options(parser)
    parser.add_argument("--positives", type=float, default=POSITIVES, help="share of the slots")
    parser.add_argument("--steps", type=int, default=8)
    args = parser.parse_args()
    if not 0 <= args.positives <= 1:
        parser.error(f"--positives: expected a share from 0 to 1; received {args.positives}.")
    keep_freed_memory()
    config = step_config(args)
    model = build(config, args.layers, args.positives)
    batch = random_batch(config, thin=True)

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
    rois = useful_rois(model, batch)
    slots = limits.Rois(
        config.BATCH_SIZE * config.TRAIN_ROIS_PER_IMAGE,
        config.BATCH_SIZE * config.POSITIVE_ROIS_PER_IMAGE,
    )
    operations = limits.step_operations(model, rois)
    on_slots = limits.step_operations(model, slots)
    paces = [s * t for s, t in zip(seconds, throughput, strict=True)]
    print(
        json.dumps(
            {
                "benchmark": "training_step",
                "backend": keras.backend.backend(),
                **vars(args),
                "seconds": round(statistics.median(seconds), 3),
                "best_seconds": round(min(seconds), 3),
                "processor_seconds": round(statistics.median(processor), 3),
                "valid_rois": rois.boxes,
                "positive_rois": rois.masks,
                "gflop": round(operations / 1e9, 1),
                "slots_gflop": round(on_slots / 1e9, 1),
                "gflop_per_second": round(statistics.median(throughput) / 1e9, 1),
                "best_gflop_per_second": round(max(throughput) / 1e9, 1),
                "ratio_to_limit": round(statistics.median(paces) / operations, 3),
                "ratio_to_slots_limit": round(statistics.median(paces) / on_slots, 3),
                "best_ratio_to_limit": round(min(seconds) * max(throughput) / operations, 3),
                "first_step_seconds": round(first, 1),
                "peak_gb": round(peak, 2),
            }
        )
    )


if __name__ == "__main__":
    main()
