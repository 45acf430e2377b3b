"""What the Edge Agreement Head costs: a training step with it compared with one without.

    python -m benchmarks.edge_head --image-size 256 --backbone resnet50 --filters sobel laplace

Both networks live in one process, start from the same seed and take turns, step by step, so
that a busy machine slows both alike. One JSON line: the median seconds of each, wall-clock and
CPU, the median of the ratios of neighboring steps with the quartiles, and the trainable
variables that the head adds (there should be none).

Where wall-clock times are noisy, the ratio of CPU times says more. `head_alone` is an upper bound
that needs no difference of large numbers: a training step of a network that is the head on masks of
the same shape and one small layer before it, over a step of the plain network. On an accelerator
the CPU times mean nothing.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from benchmarks.training_step import random_batch
from mrcnn import network
from mrcnn.config import Config
from mrcnn.data.loader import Batch
from mrcnn.process import keep_freed_memory
from mrcnn.runs import settings as runs_settings
from mrcnn.training import compile
from mrcnn.training import model as training_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--rois", type=int, default=200)
    parser.add_argument("--mask-size", type=int, default=28)
    parser.add_argument("--filters", nargs="+", default=["sobel"])
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()
    keep_freed_memory()
    settings = {
        "NAME": "benchmark",
        "BACKBONE": args.backbone,
        "IMAGE_MIN_DIM": args.image_size,
        "IMAGE_MAX_DIM": args.image_size,
        "IMAGES_PER_GPU": args.batch_size,
        "TRAIN_ROIS_PER_IMAGE": args.rois,
        "MASK_SHAPE": (args.mask_size, args.mask_size),
        "NUM_CLASSES": 81,
        # The RoIs are given, so that every slot of the mask branch is busy.
        "USE_RPN_ROIS": False,
        "POST_NMS_ROIS_TRAINING": 1000,
    }
    models = {}
    for name, filters in (("plain", ()), ("edge", args.filters)):
        config = runs_settings.configure(Config, {**settings, "EDGE_LOSS_FILTERS": filters})
        keras.utils.set_random_seed(0)
        models[name] = training_model.build(config)
        compile.compile_model(models[name], config, 1e-4, 0.9)
    batch = random_batch(config)
    batches = {"plain": batch, "edge": batch, "head": head_batch(config)}
    models["head"] = head_model(config)
    compile.compile_model(models["head"], config, 1e-4, 0.9)
    clock = {name: [] for name in models}
    cpu = {name: [] for name in models}
    for number in range(args.steps + 2):
        order = list(models) if number % 2 else list(models)[::-1]
        for name in order:
            started, started_cpu = time.perf_counter(), time.process_time()
            losses = models[name].train_on_batch(batches[name], return_dict=True)
            float(losses["loss"])
            if number >= 2:  # the first compile
                clock[name].append(time.perf_counter() - started)
                cpu[name].append(time.process_time() - started_cpu)
            if name == "edge":
                edge_loss = float(losses["mrcnn_mask_edge_loss"])
    variables = {name: len(model.trainable_variables) for name, model in models.items()}
    print(
        json.dumps(
            {
                "backend": keras.backend.backend(),
                **vars(args),
                "clock": summary(clock),
                "cpu": summary(cpu),
                "edge_loss": round(edge_loss, 4),
                "added_variables": variables["edge"] - variables["plain"],
            }
        )
    )


def head_model(config: Config) -> training_model.TrainingModel:
    """One layer that learns, and the Edge Agreement Head on masks of the size used in training."""
    shape = (config.BATCH_SIZE, config.POSITIVE_ROIS_PER_IMAGE, *config.MASK_SHAPE)
    inputs = {
        "predicted": keras.Input(batch_shape=shape, name="predicted"),
        "target": keras.Input(batch_shape=shape, name="target"),
        "class_ids": keras.Input(batch_shape=shape[:2], name="class_ids", dtype="int32"),
    }
    masks = keras.layers.Dense(shape[-1], activation="sigmoid")(inputs["predicted"])
    loss = network.build_edge_head(config.edge_settings(), config)(
        [masks, inputs["target"], inputs["class_ids"]]
    )
    return training_model.TrainingModel(inputs=inputs, outputs={"mrcnn_mask_edge_loss": loss})


def head_batch(config: Config) -> Batch:
    """Masks of noise, all positive."""
    rng = np.random.default_rng(0)
    shape = (config.BATCH_SIZE, config.POSITIVE_ROIS_PER_IMAGE, *config.MASK_SHAPE)
    return {
        "predicted": rng.random(shape, np.float32),
        "target": (rng.random(shape) > 0.5).astype(np.float32),
        "class_ids": np.ones(shape[:2], np.int32),
    }


def summary(seconds: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Medians, and the ratios of neighboring steps."""
    plain = np.array(seconds["plain"])
    ratios = np.array(seconds["edge"]) / plain
    return {
        **{f"{name}_seconds": round(float(np.median(seconds[name])), 4) for name in seconds},
        "ratio": round(float(np.median(ratios)), 4),
        "ratio_quartiles": np.round(np.quantile(ratios, [0.25, 0.75]), 4).tolist(),
        "head_alone": round(float(np.median(np.array(seconds["head"]) / plain)), 4),
    }


if __name__ == "__main__":
    main()
