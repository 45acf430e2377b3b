"""What learned weights of the losses cost: a training step with them over one without.

    python -m benchmarks.loss_weighting --image-size 256 --backbone resnet50 --steps 12

The networks live in one process, start from the same seed and take turns, step by step, so that a
busy machine slows all alike. One JSON line: the median seconds of each, wall-clock and CPU, and the
median of the ratios of neighboring steps with the quartiles. `uncertainty` is
UNCERTAINTY_WEIGHTING, `gradnorm` GRADNORM_ALPHA, which needs the gradient of each loss at the
feature pyramid.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import keras
import numpy as np

from benchmarks.training_step import random_batch
from mrcnn.config import Config
from mrcnn.process import keep_freed_memory
from mrcnn.runs import settings as runs_settings
from mrcnn.training import compile
from mrcnn.training import model as training_model

PLAIN = "plain"
VARIANTS: dict[str, dict[str, Any]] = {
    PLAIN: {},
    "uncertainty": {"UNCERTAINTY_WEIGHTING": True},
    "gradnorm": {"GRADNORM_ALPHA": 1.5},
}
WARM_UP = 2  # the first steps compile


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--rois", type=int, default=200)
    parser.add_argument("--steps", type=int, default=12)
    args = parser.parse_args()
    keep_freed_memory()
    settings = {
        "NAME": "benchmark",
        "BACKBONE": args.backbone,
        "IMAGE_MIN_DIM": args.image_size,
        "IMAGE_MAX_DIM": args.image_size,
        "IMAGES_PER_GPU": args.batch_size,
        "TRAIN_ROIS_PER_IMAGE": args.rois,
        "NUM_CLASSES": 81,
        "EDGE_LOSS_FILTERS": ("sobel-x", "sobel-y"),
        # The RoIs are given, so that every slot of the mask branch is busy.
        "USE_RPN_ROIS": False,
        "POST_NMS_ROIS_TRAINING": 1000,
    }
    models = {}
    for name, own in VARIANTS.items():
        config = runs_settings.configure(Config, {**settings, **own})
        keras.utils.set_random_seed(0)
        models[name] = training_model.build(config)
        compile.compile_model(models[name], config, 1e-4, 0.9)
    batch = random_batch(config)
    clock: dict[str, list[float]] = {name: [] for name in models}
    cpu: dict[str, list[float]] = {name: [] for name in models}
    for number in range(args.steps + WARM_UP):
        for name in list(models) if number % 2 else list(models)[::-1]:
            started, started_cpu = time.perf_counter(), time.process_time()
            float(models[name].train_on_batch(batch, return_dict=True)["loss"])
            if number >= WARM_UP:
                clock[name].append(time.perf_counter() - started)
                cpu[name].append(time.process_time() - started_cpu)
    found = {"clock": summary(clock), "cpu": summary(cpu)}
    print(json.dumps({"backend": keras.backend.backend(), **vars(args), **found}))


def summary(seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Medians, and the ratios to the plain step beside."""
    found: dict[str, Any] = {}
    for name, values in seconds.items():
        ratios = np.array(values) / np.array(seconds[PLAIN])
        found[name] = {
            "seconds": round(float(np.median(values)), 4),
            "ratio": round(float(np.median(ratios)), 4),
            "ratio_quartiles": np.round(np.quantile(ratios, [0.25, 0.75]), 4).tolist(),
        }
    return found


if __name__ == "__main__":
    main()
