"""The worker of this package: a training step, or a detection."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.peers.keras_weights import make_alike
from benchmarks.peers.objects import choose_objects
from benchmarks.peers.worker import Spec, Work, serve

# Hardly anything is learned, so that the proposals, and with them the positives, stay as they are.
LEARNING_RATE = 1e-9


def prepare(spec: Spec) -> Work:
    """The work of a row; see `benchmarks.peers.rows.specification`."""
    from benchmarks.peers import devices
    from mrcnn.process import keep_freed_memory

    keep_freed_memory()  # as training and detection do
    work = prepare_training(spec) if spec["kind"] == "train" else prepare_detection(spec)
    work.memory = devices.memory_of_keras(spec)
    work.trace = devices.tracer_of_keras(next(iter(work.calls.values())))
    return work


def configuration(spec: Spec) -> Any:
    """The `Config` of a row, with frozen batch statistics, as torchvision has them."""
    from mrcnn.config import Config
    from mrcnn.runs.settings import configure

    height, width = spec["image_size"]
    settings = {
        "NAME": "peers",
        "BACKBONE": spec["backbone"],
        "IMAGES_PER_GPU": spec["batch_size"],
        "NUM_CLASSES": spec["classes"],
        "RPN_ANCHOR_SCALES": tuple(spec["scales"]),
        "TRAIN_ROIS_PER_IMAGE": spec["rois"],
        "TRAIN_BN": False,
        "LEARNING_RATE": LEARNING_RATE,
        "IMAGE_MIN_DIM": min(height, width),
        "IMAGE_MAX_DIM": max(height, width),
        "DETECTION_MIN_CONFIDENCE": 0.0,
        "DETECTION_NMS_THRESHOLD": 0.9,  # so that random boxes leave enough detections
        **spec.get("settings", {}),
    }
    if height != width:
        settings |= {"IMAGE_RESIZE_MODE": "pad64", "IMAGE_PAD_SHAPE": _multiples(height, width)}
    if spec["dtype"] != "float32":
        settings["MIXED_PRECISION"] = spec["dtype"]
    return configure(Config, settings)


def _multiples(height: int, width: int) -> tuple[int, int]:
    """Sides rounded up to what the pyramid needs."""
    return -(-height // 64) * 64, -(-width // 64) * 64


def prepare_training(spec: Spec) -> Work:
    """A step on one batch, whose objects make as many RoIs positive as asked for."""
    import keras

    from benchmarks import training_step

    config = configuration(spec)
    model = training_step.build(config)
    make_alike(model)
    batch = training_step.random_batch(config)
    proposals = keras.Model(model.input, model.get_layer("ROI").output)
    give_objects(batch, proposals.predict_on_batch(batch), spec["positives"], config)
    targets = keras.Model(model.input, list(model.get_layer("proposal_targets").output))

    def count() -> dict[str, Any]:
        *_, valid, mask_class_ids = targets.predict_on_batch(batch)
        images = len(valid)
        return {
            "rois": float(np.sum(valid)) / images,
            "positives": float(np.sum(mask_class_ids > 0)) / images,
            "loss": losses[-1],
        }

    losses: list[float] = []

    def step() -> None:
        losses.append(float(model.train_on_batch(batch, return_dict=True)["loss"]))

    return Work({"step": step}, _versions(), count)


def give_objects(
    batch: dict[str, np.ndarray], proposals: np.ndarray, positives: int, config: Any
) -> None:
    """Replace the objects of a batch.

    Args:
        batch: changed.
        proposals: [B, N, 4] normalized, which the network makes of the batch's images.
        positives: of an image.
        config: of the network.
    """
    rng = np.random.default_rng(0)
    height, width = batch["input_image"].shape[1:3]
    scale, shift = np.array([height - 1, width - 1] * 2), np.array([0, 0, 1, 1])
    for name in ("input_gt_class_ids", "input_gt_boxes", "input_gt_masks"):
        batch[name] = np.zeros_like(batch[name])
    for image, boxes in enumerate(np.asarray(proposals, np.float64) * scale):
        pixels = np.where((boxes[:, 2:] > boxes[:, :2]).all(axis=1)[:, None], boxes + shift, 0)
        objects = choose_objects(pixels, positives, config.MAX_GT_INSTANCES, rng)
        count = len(objects)
        batch["input_gt_boxes"][image, :count] = objects
        batch["input_gt_class_ids"][image, :count] = rng.integers(1, config.NUM_CLASSES, count)
        batch["input_gt_masks"][image, :count] = 1


def prepare_detection(spec: Spec) -> Work:
    """The graph alone, and `detect` from an image to pasted masks."""
    import tempfile

    import keras

    from benchmarks.inference import graph_of
    from mrcnn.model import MaskRCNN

    keras.utils.set_random_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        model = MaskRCNN("inference", configuration(spec), folder)
    make_alike(model.keras_model)
    shape = (spec["batch_size"], *spec["image_size"], 3)
    images = list(np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8))
    graph, inputs = graph_of(model, images)
    found: list[int] = []

    def whole() -> None:
        found[:] = [len(result["scores"]) for result in model.detect(images)]

    return Work(
        {"graph": lambda: graph.predict_on_batch(inputs), "whole": whole},
        _versions(),
        lambda: {"found": sum(found) / len(found)},
    )


def _versions() -> dict[str, Any]:
    import keras

    backend = keras.backend.backend()
    module = __import__(backend)
    return {"version": f"Keras {keras.__version__}, {backend} {module.__version__}"}


if __name__ == "__main__":
    serve(prepare)
