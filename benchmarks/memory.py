"""Memory over many training steps and detections: it must stay constant.

    python -m benchmarks.memory --steps 5000 --detections 2000

A tiny network trains on synthetic shapes through the loader, with checkpoints, validation and logs
as in any run, and then detects in images of three sizes. From time to time a JSON line gives the
resident memory in MiB and the number of Python's objects; the last line of each part says how much
the memory grew after the warm-up (the first fifth), by a straight line through the samples. The
exit status is 1 if that is more than --limit.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mrcnn.config import Config
from mrcnn.data.augment import HorizontalFlip
from mrcnn.datasets.coco import CocoDataset
from mrcnn.datasets.shapes import write_shapes
from mrcnn.model import MaskRCNN

WARM_UP = 0.2  # share of the samples: graphs are compiled, caches filled
IMAGE_SIZE = 128


class MemoryConfig(Config):
    """A network that is quick to train; it learns nothing worth having."""

    NAME = "memory"
    BACKBONE = "resnet10"
    NUM_CLASSES = 4
    IMAGES_PER_GPU = 2
    IMAGE_MIN_DIM = IMAGE_MAX_DIM = IMAGE_SIZE
    TOP_DOWN_PYRAMID_SIZE = 16
    FPN_CLASSIF_FC_LAYERS_SIZE = 16
    RPN_CONV_FILTERS = 16
    MASK_CONV_FILTERS = 8
    RPN_ANCHOR_SCALES = (8, 16, 24, 32, 48)
    PRE_NMS_LIMIT = 200
    POST_NMS_ROIS_TRAINING = 60
    POST_NMS_ROIS_INFERENCE = 40
    TRAIN_ROIS_PER_IMAGE = 16
    MAX_GT_INSTANCES = 10
    DETECTION_MAX_INSTANCES = 10
    DETECTION_MIN_CONFIDENCE = 0.0
    VALIDATION_STEPS = 5
    LOADER_WORKERS = 2


class Samples:
    """Resident memory by the number of steps done, printed as it is taken."""

    def __init__(self, part: str, every: int) -> None:
        self.part, self.every = part, every
        self.taken: list[tuple[int, float]] = []
        self.started = time.perf_counter()

    def take(self, done: int) -> None:
        if done % self.every == 0:
            self.taken.append((done, resident_mib()))
            self._print(
                done=done,
                mib=round(self.taken[-1][1], 1),
                objects=len(gc.get_objects()),
                seconds=round(time.perf_counter() - self.started, 1),
            )

    def growth(self) -> float:
        """MiB from the end of the warm-up to the end, by a line through the samples."""
        done, mib = np.array(self.taken[int(WARM_UP * len(self.taken)) :]).T
        slope = np.polyfit(done, mib, 1)[0] if len(done) > 1 else 0.0
        growth = float(slope * (done[-1] - done[0]))
        self._print(
            steps=int(done[-1]),
            after_warm_up_mib=round(mib[0], 1),
            at_end_mib=round(mib[-1], 1),
            most_mib=round(mib.max(), 1),
            growth_mib=round(growth, 2),
            growth_mib_per_1000=round(1000 * slope, 3),
        )
        return growth

    def _print(self, **values: Any) -> None:
        print(json.dumps({"part": self.part, **values}), file=sys.__stdout__, flush=True)


class _TakeSamples(keras.callbacks.Callback):
    def __init__(self, samples: Samples) -> None:
        super().__init__()
        self.samples, self.done = samples, 0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.done += 1
        self.samples.take(self.done)


def resident_mib() -> float:
    """Memory of this process that is in RAM now; on Linux only."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def train(folder: str, steps: int, every: int, processes: bool) -> Samples:
    settings = {"STEPS_PER_EPOCH": max(1, steps // 10), "LOADER_PROCESSES": processes}
    config = type("MemoryConfig", (MemoryConfig,), settings)()
    samples = Samples("training", every)
    model = MaskRCNN("training", config, os.path.join(folder, "logs"))
    model.train(
        CocoDataset.of(folder, "train"),
        CocoDataset.of(folder, "val"),
        learning_rate=1e-4,
        epochs=-(-steps // config.STEPS_PER_EPOCH),
        layers="all",
        augmentation=HorizontalFlip(),
        custom_callbacks=[_TakeSamples(samples)],
    )
    return samples


def detect(folder: str, detections: int, every: int) -> Samples:
    settings = {"IMAGES_PER_GPU": 1, "IMAGE_RESIZE_MODE": "pad64"}
    config = type("MemoryConfig", (MemoryConfig,), settings)()
    model = MaskRCNN("inference", config, os.path.join(folder, "logs"))
    rng = np.random.default_rng(0)
    sizes = [(IMAGE_SIZE, IMAGE_SIZE), (IMAGE_SIZE, 190), (200, IMAGE_SIZE)]
    samples = Samples("detection", every)
    for number in range(1, detections + 1):
        size = sizes[number % len(sizes)]
        model.detect([rng.integers(0, 256, (*size, 3), dtype=np.uint8)])
        samples.take(number)
    return samples


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=5000, help="of training")
    parser.add_argument("--detections", type=int, default=2000)
    parser.add_argument("--processes", action="store_true", help="of the loader")
    parser.add_argument("--limit", type=float, default=32, metavar="MIB", help="of the growth")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_shapes(folder, train=64, val=8, image_size=(IMAGE_SIZE, IMAGE_SIZE))
        parts = []
        if arguments.steps:
            every = max(1, arguments.steps // 50)
            with contextlib.redirect_stdout(sys.stderr):  # Keras's own lines
                parts.append(train(folder, arguments.steps, every, arguments.processes))
        if arguments.detections:
            every = max(1, arguments.detections // 50)
            parts.append(detect(folder, arguments.detections, every))
        return int(max(part.growth() for part in parts) > arguments.limit)


if __name__ == "__main__":
    sys.exit(main())
