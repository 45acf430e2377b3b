"""Mask R-CNNs of Detectron2 with random weights, as arrays: both sides make them from a seed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.random_pictures import random_picture

FIXTURES = Path(__file__).parent / "fixtures" / "detectron2"
CLASSES = 4  # without the background
MIN_SIZE, MAX_SIZE = 128, 192
SIZES = ((150, 210), (300, 160))  # enlarged, and shrunk with its longer side at the bound
# Training: the second image leaves a part of the network's input unused.
SIDE, HEIGHT, WIDTH, OBJECTS = 128, 96, 128, 5
# Nearly those of anchors, and odd. Of an object within several anchors, or in the middle between
# two, one is as good as the other but for a rounding, and Detectron2 lets that decide.
OBJECT_SIDES = ((33, 33), (23, 45), (65, 67), (45, 23), (35, 33))
ANCHORS = 3 * sum((SIDE // stride) ** 2 for stride in (4, 8, 16, 32, 64))
PROPOSALS, ROIS = 60, 160


class Fixture(NamedTuple):
    """What Detectron2 made of a network."""

    shapes: dict[str, tuple[int, ...]]  # of its tensors
    numbers: dict[str, np.ndarray]


def fixture(name: str) -> Fixture:
    """The numbers of `make_detectron2.py`."""
    shapes = json.loads((FIXTURES / f"{name}.json").read_text())
    with np.load(FIXTURES / f"{name}.npz", allow_pickle=False) as stored:
        numbers = {key: stored[key] for key in stored.files}
    return Fixture({key: tuple(shape) for key, shape in shapes.items()}, numbers)


def tensors(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights of which activations and boxes are far from constant."""
    found = {}
    for number, (name, shape) in enumerate(sorted(shapes.items())):
        rng = np.random.default_rng([seed, number])
        if name.endswith("running_var"):
            value = rng.uniform(0.5, 1.5, shape)
        elif ".norm." in name and name.endswith(".weight"):
            # The branches of a ResNet add up: small, so that they do not grow beyond bounds.
            last = "conv3" in name or ("conv2" in name and name.replace("v2", "v3") not in shapes)
            value = rng.uniform(0.5, 1.5, shape) * (0.3 if last else 1.0)
        elif name.endswith(".weight"):
            fan_in = np.prod(shape[1:])
            value = rng.normal(0, 1, shape) * _spread(name, fan_in)
        else:
            value = rng.normal(0, 0.1, shape)
        found[name] = value.astype(np.float32)
    return found


def _spread(name: str, fan_in: Any) -> float:
    for part, deviation in (
        ("objectness", 0.01),
        ("anchor_deltas", 0.002),
        ("bbox_pred", 0.01),
        ("mask_head.predictor", 0.02),
    ):
        if part in name:
            return deviation
    if "stem" in name:  # pixels are not divided by their deviation
        return float(np.sqrt(2 / fan_in)) / 58
    return float(np.sqrt(2 / fan_in))


def calibration(features: np.ndarray, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What gives every class its RoIs: logits of mean 0 and deviation 1.5 for features of RoIs."""
    logits = features @ arrays["roi_heads.box_predictor.cls_score.weight"].T
    factor = (1.5 / logits.std(axis=0)).astype(np.float32)
    return {
        "score_factor": factor,
        "score_bias": -(logits * factor).mean(axis=0).astype(np.float32),
    }


def calibrated(arrays: dict[str, np.ndarray], given: Fixture) -> dict[str, np.ndarray]:
    """The same with scores that differ: the fixture holds the factors."""
    name = "roi_heads.box_predictor.cls_score"
    scaled = arrays[f"{name}.weight"] * given.numbers["score_factor"][:, None]
    return {**arrays, f"{name}.weight": scaled, f"{name}.bias": given.numbers["score_bias"]}


class Scene(NamedTuple):
    """An image to train on."""

    picture: np.ndarray  # uint8 [H, W, 3], red, green and blue
    class_ids: np.ndarray  # [N] from 1 on
    boxes: np.ndarray  # [N, 4] whole pixels
    masks: np.ndarray  # uint8 [N, H, W], with holes


def scenes() -> list[Scene]:
    """A square image and a wide one."""
    found = []
    for seed, (size, count) in enumerate([((SIDE, SIDE), OBJECTS), ((HEIGHT, WIDTH), 3)]):
        rng = np.random.default_rng(seed)
        sides = np.array(OBJECT_SIDES[:count])
        corners = rng.integers(0, np.array(size) - sides)
        boxes = np.concatenate([corners, corners + sides], axis=1)
        masks = np.zeros((count, *size), np.uint8)
        for mask, (y1, x1, y2, x2) in zip(masks, boxes, strict=True):
            mask[y1:y2, x1:x2] = rng.random((y2 - y1, x2 - x1)) < 0.8
        class_ids = rng.integers(1, CLASSES + 1, count).astype(np.int32)
        found.append(Scene(random_picture(*size, seed=seed), class_ids, boxes, masks))
    return found
