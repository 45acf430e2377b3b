"""Trains a small network on one device and on two, and compares; see test_devices.py.

Two virtual devices of a CPU: on JAX the environment makes them, on TensorFlow this program.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mrcnn.checkpoints.losses_file import LOSSES_FILE, read_losses_file
from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from mrcnn.data.loader import Loader
from mrcnn.data.stream import SampleStream
from mrcnn.model import MaskRCNN
from mrcnn.ops import gradnorm
from mrcnn.process import set_random_seed
from mrcnn.tensorflow_backend import replicas
from mrcnn.training import coco_evaluation, devices

STEPS = 20


class Rectangles(Dataset):
    """Bright rectangles on noise."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.add_class("own", 1, "rectangle")
        for number in range(count):
            self.add_image("own", number, None, height=64, width=64)
        self.prepare()

    def load_image(self, image_id: int) -> np.ndarray:
        image = np.random.default_rng(image_id).integers(0, 90, (64, 64, 3))
        image[self.load_mask(image_id)[0].any(axis=2)] += 120
        return image.astype(np.uint8)

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(1000 + image_id)
        count = 1 + image_id % 3  # so that the parts of a batch differ
        masks = np.zeros((64, 64, count), bool)
        for number in range(count):
            y, x = rng.integers(0, 40, 2)
            height, width = rng.integers(10, 24, 2)
            masks[y : y + height, x : x + width, number] = True
        return masks, np.ones(count, np.int32)


class Small(Config):
    """A network of some 100,000 weights."""

    NAME = "devices"
    BACKBONE = "resnet10"
    NUM_CLASSES = 2
    IMAGE_MIN_DIM = IMAGE_MAX_DIM = 64
    RPN_ANCHOR_SCALES = (8, 12, 16, 24, 32)
    TOP_DOWN_PYRAMID_SIZE = RPN_CONV_FILTERS = 16
    MASK_CONV_FILTERS = 8
    FPN_CLASSIF_FC_LAYERS_SIZE = 32
    PRE_NMS_LIMIT, POST_NMS_ROIS_TRAINING, TRAIN_ROIS_PER_IMAGE = 200, 60, 16
    POST_NMS_ROIS_INFERENCE = DETECTION_MAX_INSTANCES = 20
    MAX_GT_INSTANCES = 4
    STEPS_PER_EPOCH, VALIDATION_STEPS = STEPS // 2, 1
    LOADER_WORKERS = 0
    EDGE_LOSS_FILTERS = ("sobel-x", "sobel-y")


class Alone(Small):
    """All images of a step on one device."""

    GPU_COUNT, IMAGES_PER_GPU = 1, 4
    TRAIN_BN: bool | None = False


class Shared(Alone):
    """The same images of a step on two."""

    GPU_COUNT, IMAGES_PER_GPU = 2, 2


class Evaluated(Alone):
    """With COCO's metrics after every epoch."""

    EVALUATION_EPOCHS = 1
    EMA_MOMENTUM = 0.9


class EvaluatedShared(Shared):
    """Likewise; one device evaluates."""

    EVALUATION_EPOCHS = 1
    EMA_MOMENTUM = 0.9


# Whatever else adds something up over a batch, keeps something from step to step, or changes the
# way of a batch into the network.
OTHERS: dict[str, dict[str, Any]] = {
    "uncertainty": {"UNCERTAINTY_WEIGHTING": True},
    "gradnorm": {"GRADNORM_ALPHA": 1.5},
    "accumulated": {"GRADIENT_ACCUMULATION_STEPS": 2},
    "averaged": {"EMA_MOMENTUM": 0.9},
    "torchvision": {"ARCHITECTURE": "torchvision"},
    # The ancestor's crops read 0 or a cell where a box ends at the border, as rounding decides.
    "shapes": {
        "IMAGE_SHAPE_GROUPS": [(64, 128), (128, 64)],
        "IMAGE_MAX_DIM": 128,
        "IMAGE_RESIZE_MODE": "square",
        "ARCHITECTURE": "torchvision",
    },
    # Statistics of the whole batch.
    "statistics": {"TRAIN_BN": None},
}


def train(config: Config, folder: Path, epochs: int = 2) -> MaskRCNN:
    set_random_seed(config.SEED)
    model = MaskRCNN("training", config, folder)
    model.train(Rectangles(12), Rectangles(4), config.LEARNING_RATE, epochs, "all", resume=True)
    return model


def number_of_devices(model: MaskRCNN) -> int:
    """On how many the weights are."""
    network = model.keras_model
    if keras.backend.backend() == "tensorflow":
        return network.distribute_strategy.num_replicas_in_sync
    return len(network.weights[0].value.sharding.device_set)


def weights(model: MaskRCNN) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(weight) for weight in model.keras_model.weights]


def difference(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    """The largest, by the largest weight of its variable."""
    pairs = zip(one, other, strict=True)
    return max(float(np.abs(a - b).max() / max(np.abs(a).max(), 0.1)) for a, b in pairs)


def same_end(folder: Path) -> None:
    """The same batches: the same weights, whichever devices they were spread over."""
    alone, shared = train(Alone(), folder / "alone"), train(Shared(), folder / "shared")
    assert (number_of_devices(alone), number_of_devices(shared)) == (1, 2)
    _expect_same(alone, shared, folder)


def own_strategy(folder: Path) -> None:
    """In the scope of a script's own strategy, which has as many replicas as GPU_COUNT says."""
    import tensorflow as tf

    alone = train(Alone(), folder / "alone")
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        shared = train(Shared(), folder / "shared")
    assert number_of_devices(shared) == 2
    _expect_same(alone, shared, folder)


def continued(folder: Path) -> None:
    """A run that began on two devices continues on one, and the other way round."""
    ends = []
    for first, second in ((Alone, Alone), (Shared, Alone), (Alone, Shared)):
        own = folder / f"{first.__name__}{second.__name__}"
        train(first(), own, epochs=1)
        ends.append(train(second(), own))
    for end in ends[1:]:
        _expect_same(ends[0], end, folder)


def others(folder: Path, name: str) -> None:
    """The same, with settings of `OTHERS`."""
    gradnorm.INITIAL_STEPS = 1  # its weights move from the second step on
    ends = []
    for kind in (Alone, Shared):
        config = type(kind.__name__, (kind,), OTHERS[name])()
        # Losses of the second stage, which not every part of a batch has, come in the second epoch.
        epochs = 2 if name == "gradnorm" else 1
        ends.append(train(config, folder / kind.__name__, epochs))
    for layer in filter(None, (end.keras_model.gradnorm for end in ends)):
        assert np.ptp(keras.ops.convert_to_numpy(layer.state.log_weights)) > 0.1
    _expect_same(*ends, folder)


def one_batch(folder: Path) -> None:
    """`train_on_batch` and `test_on_batch` take whole batches, as scripts make them."""
    losses = []
    for config in (Alone(), Shared()):
        model = MaskRCNN("training", config, folder)
        model.compile(1e-3, 0.9)
        stream = SampleStream.of(Rectangles(12), config, seed=0, shuffle=False)
        batch = Loader(stream, workers=0).batch(0)
        network = model.keras_model
        found = [
            network.test_on_batch(batch, return_dict=True),
            network.train_on_batch(batch, return_dict=True),
            network.train_on_batch(batch, return_dict=True),
        ]
        losses.append([float(value) for logs in found for value in logs.values()])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4, atol=1e-5)
    print("not apart")


def evaluated(folder: Path) -> None:
    """What one device finds while two train is what is found while it trains alone."""
    found: list[list[float]] = []
    own = coco_evaluation.detect_images

    def kept(*args: Any, **options: Any) -> Any:
        results, times = own(*args, **options)
        found.append(sorted(result["score"] for result in results))
        return results, times

    coco_evaluation.detect_images = kept
    alone, shared = train(Evaluated(), folder / "alone"), train(EvaluatedShared(), folder / "both")
    assert len(found) == 4 and len(found[1]) > 20  # two epochs of each
    for one, other in zip(found[:2], found[2:], strict=True):
        # At a threshold the last digits decide; one box may be there or not.
        partners = sum(min(abs(score - near) for near in other) < 1e-3 for score in one)
        assert partners >= len(one) - 2 and abs(len(one) - len(other)) <= 2
    metrics = [read_losses_file(Path(m.log_dir) / LOSSES_FILE) for m in (alone, shared)]
    assert all(len(columns["val_segm_AP"]) == 2 for columns in metrics)
    _expect_same(alone, shared, folder)


def _expect_same(one: MaskRCNN, other: MaskRCNN, folder: Path) -> None:
    before = weights(MaskRCNN("training", one.config, folder / "before"))
    moved, apart = difference(before, weights(one)), difference(weights(one), weights(other))
    print(f"moved {moved:.4f}, apart {apart:.2e}")
    # Floats are added in another order, which some processors' compilers make more of than others'.
    assert moved > 1e-2 and apart < 1e-2 * min(moved, 1.0)


RUN = (same_end, own_strategy, continued, others, one_batch, evaluated)

if __name__ == "__main__":
    if keras.backend.backend() == "tensorflow":
        replicas.make_virtual_devices(2)
    assert devices.count_of("all") == 2
    tests = {f.__name__: f for f in RUN}
    what, _, of = sys.argv[1].partition(":")
    tests[what](Path(sys.argv[2]), *([of] if of else []))
