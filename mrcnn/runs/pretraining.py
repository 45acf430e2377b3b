"""A backbone that is pretrained as a classifier, before there is a detector.

The network is the backbone, dense layers and a softmax over the detector's classes, "no object"
among them; it sees images of one object each, or of none. What it writes is loaded by layer names
into a detector's backbone, like ImageNet weights. Training is that of `MaskRCNN`: the loader, the
exact states, the guard against losses that are not finite.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from mrcnn.checkpoints.losses_file import LOSSES_FILE
from mrcnn.checkpoints.settings_file import BACKBONE_ALONE, NETWORK, TRAINING
from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from mrcnn.model import MaskRCNN
from mrcnn.process import keep_freed_memory, seeded_initializers
from mrcnn.runs.defaults import MAX_VALIDATION_STEPS, has_accelerator
from mrcnn.training import model as training_model

# An image is small and shows one object: batches are large, and images stay in memory.
SETTINGS: dict[str, Any] = {
    "IMAGES_PER_GPU": 32,
    "IMAGE_MIN_DIM": 64,
    "IMAGE_MAX_DIM": 64,
    "TRAIN_BN": None,
    "LOADER_CACHE": "ram",
    "MAX_GT_INSTANCES": 1,
    "MINI_MASK_SHAPE": (2, 2),  # of the batch, not of the network: it has no masks
}
SCHEDULE = "scratch"  # everything learns, with a slow start
PASSES, MIN_STEPS, MAX_STEPS, EPOCHS = 20, 300, 20_000, 10


class BackboneClassifier(MaskRCNN):
    """The network that a backbone is pretrained in; it trains, and does not detect.

    Its data sets give an image one object or none: `mrcnn.datasets.crops.CropDataset`,
    `mrcnn.datasets.class_folders.ClassFolders`, or any whose images show one thing.
    """

    def __init__(self, mode: str, config: Config, model_dir: str | os.PathLike[str]) -> None:
        super().__init__(mode, config, model_dir)
        # So that what starts from the weights knows what they are.
        self.session.details = {TRAINING: {NETWORK: BACKBONE_ALONE}}

    def build(self, mode: str, config: Config) -> keras.Model:
        """Build the graph; see `mrcnn.network.build_classifier`.

        Raises:
            ValueError: the mode is not "training".
        """
        if mode != "training":
            raise ValueError(
                f"mode: expected 'training', because a classifier detects nothing; received "
                f"{mode!r}."
            )
        if config.KEEP_FREED_MEMORY:
            keep_freed_memory()
        with seeded_initializers(config.SEED):
            return training_model.build_classifier(config)


def choose(
    train_set: Dataset, val_set: Dataset | None, given: Mapping[str, Any], steps: int | None
) -> tuple[dict[str, Any], int]:
    """The settings that were not given, and the number of steps.

    Args:
        train_set, val_set: prepared.
        given: settings that were given; they stay.
        steps: if they were given.
    """
    settings = {**SETTINGS, "BACKBONE": "resnet50" if has_accelerator() else "resnet18"}
    merged = {**settings, **given}
    batch = merged["IMAGES_PER_GPU"] * given.get("GPU_COUNT", Config.GPU_COUNT)
    if steps is None:
        a_pass = math.ceil(train_set.num_images / batch)
        steps = min(max(PASSES * a_pass, MIN_STEPS), MAX_STEPS)
    images = 0 if val_set is None else val_set.num_images
    settings["STEPS_PER_EPOCH"] = max(1, steps // EPOCHS)
    settings["VALIDATION_STEPS"] = min(math.ceil(images / batch), MAX_VALIDATION_STEPS)
    return {name: value for name, value in settings.items() if name not in given}, steps


def describe(config: Config) -> str:
    """The few settings that a user wants to see before pretraining starts."""
    height, width, channels = config.IMAGE_SHAPE
    return (
        f"backend {keras.backend.backend()}, backbone {config.BACKBONE} as a classifier of "
        f"{config.NUM_CLASSES - 1} classes and no object\n"
        f"images {height}x{width}x{channels} ({config.IMAGE_RESIZE_MODE}), batch "
        f"{config.BATCH_SIZE}"
    )


def accuracies(log_dir: str | Path) -> dict[str, float]:
    """The accuracy of the last epoch of a run, "training" and perhaps "validation".

    Raises:
        FileNotFoundError: the folder is not that of a run.
    """
    with open(Path(log_dir, LOSSES_FILE), newline="", encoding="utf-8") as file:
        *_, last = csv.DictReader(file)
    names = {"training": "accuracy", "validation": "val_accuracy"}
    return {word: float(last[name]) for word, name in names.items() if last.get(name)}
