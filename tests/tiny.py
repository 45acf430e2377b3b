"""A network that is quick to build and train, and batches for it."""

from __future__ import annotations

from typing import Any

import numpy as np

from mrcnn.config import Config
from mrcnn.data.molding import compose_image_meta


class TinyConfig(Config):
    NAME = "tiny"
    BACKBONE = "resnet10"
    NUM_CLASSES = 3
    IMAGES_PER_GPU = 2
    IMAGE_MIN_DIM = 64
    IMAGE_MAX_DIM = 64
    TOP_DOWN_PYRAMID_SIZE = 16
    FPN_CLASSIF_FC_LAYERS_SIZE = 16
    RPN_CONV_FILTERS = 16
    MASK_CONV_FILTERS = 8
    RPN_ANCHOR_SCALES = (8, 16, 24, 32, 48)
    RPN_TRAIN_ANCHORS_PER_IMAGE = 32
    PRE_NMS_LIMIT = 100
    POST_NMS_ROIS_TRAINING = 40
    POST_NMS_ROIS_INFERENCE = 20
    TRAIN_ROIS_PER_IMAGE = 12
    MAX_GT_INSTANCES = 4
    MINI_MASK_SHAPE = (14, 14)
    DETECTION_MAX_INSTANCES = 5
    DETECTION_MIN_CONFIDENCE = 0.0
    STEPS_PER_EPOCH = 2
    VALIDATION_STEPS = 1
    LEARNING_RATE = 0.01
    LOADER_WORKERS = 1


def tiny_config(**settings: Any) -> Config:
    return type("SomeTinyConfig", (TinyConfig,), settings)()


def tiny_batch(config: Config, kind: str = "objects", seed: int = 0) -> dict[str, np.ndarray]:
    """A training batch of noise with bright squares.

    Args:
        config: settings.
        kind: what the squares are: "objects", "crowds", "lines" (boxes without area), or
            "none": no objects.
        seed: of the noise.
    """
    random = np.random.default_rng(seed)
    height, width, channels = (int(side) for side in config.IMAGE_SHAPE)
    batch, slots = config.BATCH_SIZE, config.MAX_GT_INSTANCES
    image = random.integers(0, 100, (batch, height, width, channels)).astype(np.uint8)
    class_ids = np.zeros((batch, slots), np.int32)
    boxes = np.zeros((batch, slots, 4), np.int32)
    shape = config.MINI_MASK_SHAPE if config.USE_MINI_MASK else (height, width)
    masks = np.zeros((batch, slots, *shape), np.uint8)
    for k in range(batch):
        image[k, 8:40, 8:40], image[k, 36:60, 30:54] = 250, 180
        boxes[k, 0], boxes[k, 1] = (8, 8, 40, 40), (36, 30, 60, 54)
        class_ids[k, :2] = 1, 2
        for slot in range(2):
            y1, x1, y2, x2 = boxes[k, slot]
            if config.USE_MINI_MASK:
                masks[k, slot] = 1
            else:
                masks[k, slot, y1:y2, x1:x2] = 1
    if kind == "crowds":
        class_ids = -class_ids
    elif kind == "lines":
        boxes[..., 2] = boxes[..., 0]
    elif kind == "none":
        class_ids, boxes, masks = (np.zeros_like(x) for x in (class_ids, boxes, masks))
    else:
        assert kind == "objects"
    meta = compose_image_meta(
        0,
        image.shape[1:],
        image.shape[1:],
        (0, 0, height, width),
        1,
        np.ones(config.NUM_CLASSES),
    )
    arrays = {
        "input_image": image,
        "input_image_meta": np.repeat(meta[None].astype(np.float32), batch, axis=0),
        "input_gt_class_ids": class_ids,
        "input_gt_boxes": boxes,
        "input_gt_masks": masks,
    }
    if not config.USE_RPN_ROIS:
        rois = np.tile(boxes, (1, -(-config.POST_NMS_ROIS_TRAINING // slots), 1))
        arrays["input_rois"] = rois[:, : config.POST_NMS_ROIS_TRAINING]
    return arrays
