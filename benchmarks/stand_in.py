"""A network that trains in milliseconds, in place of Mask R-CNN: what is measured is around it.

It has what the state of training is made of: weights in two groups, batch statistics, random
states, losses by name, an optimizer. Its data set is made on demand.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from mrcnn.layers.losses import LossLayer
from mrcnn.model import MaskRCNN
from mrcnn.training.model import TrainingNetwork

SIDE = 64  # pixels, of every image


class StandInConfig(Config):
    """Settings of small images and short epochs; the network depends on few of them."""

    NAME = "stand-in"
    BACKBONE = "resnet10"
    NUM_CLASSES = 2
    IMAGE_MIN_DIM = IMAGE_MAX_DIM = SIDE
    FPN_CLASSIF_FC_LAYERS_SIZE = 16
    MAX_GT_INSTANCES = 2
    MINI_MASK_SHAPE = (14, 14)
    STEPS_PER_EPOCH = 5
    VALIDATION_STEPS = 3
    TRAIN_BN = None  # statistics are part of the state
    CHECKPOINT_STEPS = 2
    LOADER_WORKERS = 1


class Squares(Dataset):
    """A bright square on noise; both depend on the image's id."""

    def add(self, count: int) -> Squares:
        self.add_class("squares", 1, "square")
        for index in range(count):
            self.add_image("squares", index, None)
        self.prepare()
        return self

    def load_image(self, image_id: int) -> np.ndarray:
        noise = np.random.default_rng(int(image_id)).integers(0, 100, (SIDE, SIDE, 3))
        image = noise.astype(np.uint8)
        image[self.load_mask(image_id)[0][..., 0]] = 230
        return image

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        y, x = np.random.default_rng(1000 + int(image_id)).integers(0, SIDE // 2, 2)
        mask = np.zeros((SIDE, SIDE, 1), bool)
        mask[y : y + 28, x : x + 28] = True
        return mask, np.array([1], np.int32)


class StandIn(MaskRCNN):
    """Matterport's class over a network of a few layers; "heads" and "all" differ."""

    def build(self, mode: str, config: Config) -> keras.Model:
        return build_network(config)


@keras.saving.register_keras_serializable(package="benchmarks")
class Noise(keras.layers.Layer):
    """Adds noise whose random state is part of the state of training, as target sampling's is."""

    def __init__(self, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = 0.1
        self.random = keras.random.SeedGenerator(seed)

    def call(self, inputs: Any) -> Any:
        return inputs + self.factor * keras.random.normal(ops.shape(inputs), seed=self.random)


def build_network(config: Config) -> TrainingNetwork:
    """From the loader's batch to two losses under names of Mask R-CNN's."""
    batch, slots = config.BATCH_SIZE, config.MAX_GT_INSTANCES
    shapes = {
        "input_image": ((SIDE, SIDE, 3), "uint8"),
        "input_image_meta": ((config.IMAGE_META_SIZE,), "float32"),
        "input_gt_class_ids": ((slots,), "int32"),
        "input_gt_boxes": ((slots, 4), "int32"),
        "input_gt_masks": ((slots, *config.MINI_MASK_SHAPE), "uint8"),
    }
    inputs = {
        name: keras.Input(batch_shape=(batch, *shape), dtype=dtype, name=name)
        for name, (shape, dtype) in shapes.items()
    }
    x = keras.layers.Rescaling(1 / 255)(inputs["input_image"])
    x = keras.layers.AveragePooling2D(4)(x)
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="res2a_branch2a")(x)
    x = keras.layers.BatchNormalization(name="bn2a_branch2a")(x)
    x = Noise(config.SEED, name="noise")(keras.layers.Flatten()(x))
    width = config.FPN_CLASSIF_FC_LAYERS_SIZE
    x = keras.layers.Dense(width, activation="relu", name="mrcnn_class_conv1")(x)
    x = keras.layers.Dense(slots * 4, name="mrcnn_bbox_fc")(x)
    x = keras.layers.Reshape((slots, 1, 4))(x)
    boxes = keras.layers.Rescaling(1 / SIDE)(inputs["input_gt_boxes"])
    logits = keras.layers.Dense(2, name="rpn_class_raw")(x[:, :, 0])
    class_ids = inputs["input_gt_class_ids"]
    of_classes = keras.layers.Concatenate(axis=2)([x, x])
    outputs = {
        "mrcnn_bbox_loss": LossLayer("mrcnn_bbox_loss")([boxes, class_ids, of_classes]),
        "rpn_class_loss": LossLayer("rpn_class_loss")([class_ids, logits]),
    }
    return TrainingNetwork(
        inputs=inputs, outputs=outputs, weight_decay=config.WEIGHT_DECAY, name="stand_in"
    )
