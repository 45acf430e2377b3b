"""What `mrcnn train` chooses where nothing was asked for: for people with a few hundred images.

The Python `Config` keeps Matterport's defaults; these are the command's. They depend on the data
set, on the weights that are on this machine, and on whether there is an accelerator.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from mrcnn.data.orientation import shown_size
from mrcnn.doctor.anchors import AnchorCoverage
from mrcnn.process import device_names
from mrcnn.runs import start_weights
from mrcnn.setting_rules.values import next_side
from mrcnn.training import stages
from mrcnn.weights import pretrained

# From a random start everything has to be learned; trained weights need fewer passes.
PASSES_FROM_SCRATCH, PASSES_FROM_TRAINED = 40, 20
MIN_STEPS_FROM_SCRATCH, MIN_STEPS_FROM_TRAINED = 1000, 400
MAX_STEPS = 20_000
EPOCHS = 20  # weights are written so often, unless a pass over the data is longer
MIN_STEPS_PER_EPOCH, MAX_STEPS_PER_EPOCH, MAX_VALIDATION_STEPS = 10, 1000, 50
# The side of the images that the network sees, by where it runs, unless they are smaller.
LARGEST_SIDE = {"cpu": 320, "accelerator": 1024}
# Of a network that starts from random weights on a CPU. At Matterport's widths (256 to 1024
# channels, 200 RoIs) a step takes seven times as long.
SMALL_NETWORK = {
    "TOP_DOWN_PYRAMID_SIZE": 64,
    "RPN_CONV_FILTERS": 64,
    "MASK_CONV_FILTERS": 64,
    "FPN_CLASSIF_FC_LAYERS_SIZE": 256,
    "TRAIN_ROIS_PER_IMAGE": 64,
}
# Where an image has more objects than Matterport's limit of 100: room for all, in such steps.
OBJECTS_STEP, MAX_OBJECTS = 50, 400
SIZES_LOOKED_AT = 50  # images
# Settings that the shapes of Matterport's COCO weights fix.
_FIXED_BY_COCO = frozenset(
    (
        *("TOP_DOWN_PYRAMID_SIZE", "RPN_CONV_FILTERS", "MASK_CONV_FILTERS"),
        *("FPN_CLASSIF_FC_LAYERS_SIZE", "MASK_SHAPE", "RPN_ANCHOR_RATIOS", "IMAGE_CHANNEL_COUNT"),
    )
)
# What a trained network has learned with, beside its backbone: the shapes of its weights, and the
# meaning of what they say.
_LEARNED_WITH = (
    *("TOP_DOWN_PYRAMID_SIZE", "RPN_CONV_FILTERS", "MASK_CONV_FILTERS"),
    *("FPN_CLASSIF_FC_LAYERS_SIZE", "POOL_SIZE", "MASK_POOL_SIZE", "MASK_SHAPE", "ROI_POOLING"),
    *("RPN_ANCHOR_SCALES", "RPN_ANCHOR_RATIOS", "RPN_ANCHOR_STRIDE", "BACKBONE_STRIDES"),
    *("RPN_BBOX_STD_DEV", "BBOX_STD_DEV", "USE_MINI_MASK", "MINI_MASK_SHAPE"),
    *("IMAGE_CHANNEL_COUNT", "MEAN_PIXEL", "STD_PIXEL", "ARCHITECTURE"),
)


@dataclass(frozen=True)
class Length:
    """What was given of a schedule, as the options of these names; None: nothing."""

    schedule: str | None = None
    steps: int | None = None
    scale: float | None = None


ASKED_FOR_NOTHING = Length()


@dataclass(frozen=True)
class Choice:
    """What is chosen for a training.

    Attributes:
        model: start weights, as `--model` takes them.
        schedule: of `mrcnn.training.stages.SCHEDULES`.
        steps: of the whole schedule.
        settings: of the configuration, without those that were given.
        reason: a sentence on the start weights: which, and how to get better ones.
    """

    model: str
    schedule: str
    steps: int
    settings: dict[str, Any]
    reason: str


def choose(
    train_set: Dataset,
    val_set: Dataset | None,
    given: Mapping[str, Any],
    model: str | None = None,
    length: Length = ASKED_FOR_NOTHING,
) -> Choice:
    """Choose what was not given.

    Args:
        train_set, val_set: prepared.
        given: settings that were given; they stay.
        model: start weights, if they were given.
        length: what was given of the schedule.
    """
    on_accelerator = has_accelerator()
    chosen_model, reason = (model, "") if model else _weights_at_hand(given)
    trained = not start_weights.starts_untrained(chosen_model)
    beside = start_weights.settings_beside(chosen_model)
    settings: dict[str, Any] = {
        "BACKBONE": beside.get("BACKBONE") or _backbone(chosen_model, on_accelerator),
        "IMAGES_PER_GPU": Config.IMAGES_PER_GPU if on_accelerator or trained else 4,
        # Frozen statistics suit trained weights; with random ones they have to be learned.
        "TRAIN_BN": False if trained else None,
    }
    if not (trained or on_accelerator):
        settings |= SMALL_NETWORK
    if trained:
        settings |= {name: beside[name] for name in _LEARNED_WITH if name in beside}
    settings |= _room_for_objects(train_set, val_set)
    side = _image_side(train_set, LARGEST_SIDE["accelerator" if on_accelerator else "cpu"])
    if not {"IMAGE_MIN_DIM", "IMAGE_MAX_DIM"} & given.keys():
        settings |= {"IMAGE_MIN_DIM": side, "IMAGE_MAX_DIM": side}
    batch = {**settings, **given}["IMAGES_PER_GPU"] * given.get("GPU_COUNT", Config.GPU_COUNT)
    a_pass = math.ceil(train_set.num_images / batch)
    schedule = length.schedule or ("paper-160k" if trained else "scratch")
    steps = length.steps
    if steps is None and (length.schedule or length.scale):
        steps = sum(stage.steps for stage in stages.schedule(schedule, length.scale or 1.0))
    elif steps is None:
        steps = _length(a_pass, trained)
    settings["STEPS_PER_EPOCH"] = max(
        1, min(max(a_pass, steps // EPOCHS, MIN_STEPS_PER_EPOCH), MAX_STEPS_PER_EPOCH, steps)
    )
    images = 0 if val_set is None else val_set.num_images
    settings["VALIDATION_STEPS"] = min(math.ceil(images / batch), MAX_VALIDATION_STEPS)
    settings = {name: value for name, value in settings.items() if name not in given}
    return Choice(chosen_model, schedule, steps, settings, reason)


def anchor_settings(
    coverage: AnchorCoverage | None, model: str, given: Mapping[str, Any]
) -> dict[str, Any]:
    """The anchor scales for random heads, where others than Matterport's fit the objects better.

    Trained weights have learned with their own.

    Args:
        coverage: how well anchors fit the objects; None: unknown.
        model: start weights.
        given: settings that were given; they stay.
    """
    if coverage is None or "RPN_ANCHOR_SCALES" in given:
        return {}
    if not start_weights.starts_untrained(model):
        return {}
    if coverage.recommended == coverage.scales:
        return {}
    return {"RPN_ANCHOR_SCALES": coverage.recommended}


def has_accelerator() -> bool:
    """Whether Keras's backend sees a GPU or a TPU."""
    # Of a kind that is not there, JAX does not list none: it raises an error.
    return any(not device.startswith("cpu") for device in device_names())


def _weights_at_hand(given: Mapping[str, Any]) -> tuple[str, str]:
    """The best start weights on this machine that fit, and a sentence on them."""
    backbone = given.get("BACKBONE")
    coco, imagenet = pretrained.coco_weights_at_hand(), pretrained.imagenet_weights_at_hand()
    if coco and backbone in (None, "resnet101") and not _FIXED_BY_COCO & given.keys():
        return "coco", f"COCO weights, which are on this machine ({coco})."
    better = "--model coco downloads Matterport's COCO weights (246 MB), the best start"
    if imagenet and backbone in (None, "resnet50"):
        return "imagenet", f"ImageNet weights, which are on this machine ({imagenet}). {better}."
    return "none", (
        f"random, because no trained ones are on this machine. {better}; --model imagenet those "
        "of ResNet-50 (90 MB)."
    )


def _backbone(model: str, on_accelerator: bool) -> str:
    if model.lower() == "coco":
        return "resnet101"
    return "resnet50" if on_accelerator or model.lower() == "imagenet" else "resnet18"


def _room_for_objects(*datasets: Dataset | None) -> dict[str, int]:
    """The limits of objects an image, where some image has more than the default allows."""
    counts = [
        len(info.get("annotations") or ())
        for dataset in datasets
        if dataset is not None
        for info in dataset.image_info
    ]
    most = max(counts, default=0)
    if most <= Config.MAX_GT_INSTANCES:
        return {}
    room = min(MAX_OBJECTS, math.ceil(most / OBJECTS_STEP) * OBJECTS_STEP)
    return {"MAX_GT_INSTANCES": room, "DETECTION_MAX_INSTANCES": room}


def _image_side(dataset: Dataset, largest: int) -> int:
    """The usual longer side of the images, as the network can take it, at most `largest`."""
    ids = dataset.image_ids[:: max(1, dataset.num_images // SIZES_LOOKED_AT)]
    sides = [side for side in (_longer_side(dataset.image_info[i]) for i in ids) if side]
    return min(largest, next_side(float(np.quantile(sides, 0.75)))) if sides else largest


def _longer_side(info: Mapping[str, Any]) -> int | None:
    """Of an image, where it is stated or its file's header says it."""
    height, width = info.get("height"), info.get("width")
    try:
        if height is not None and width is not None:
            return max(int(height), int(width))
        return max(shown_size(info, Config()))
    except (OSError, KeyError, TypeError, ValueError):  # made on demand, or broken: others tell
        return None


def _length(steps_of_a_pass: int, trained: bool) -> int:
    passes = PASSES_FROM_TRAINED if trained else PASSES_FROM_SCRATCH
    least = MIN_STEPS_FROM_TRAINED if trained else MIN_STEPS_FROM_SCRATCH
    return min(max(least, passes * steps_of_a_pass), MAX_STEPS)
