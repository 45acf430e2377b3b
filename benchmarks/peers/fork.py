"""The worker of a fork of Matterport's package: a training step, or a detection.

Tried with the port to TensorFlow 2.14 of https://github.com/z-mahmud22/Mask-RCNN_TF2.14.0 in an
environment of its own (Python 3.11, tensorflow-cpu 2.14.1, keras 2.14.0, numpy 1.26.4, scikit-image
0.22.0, scipy 1.11.4, h5py, imgaug, pycocotools, opencv-python-headless < 4.10, matplotlib, IPython,
setuptools < 81). Its checkout needs two changes by hand, which NumPy 1.24 made necessary: `np.bool`
to `bool`, and in `minimize_mask` and `expand_mask` of mrcnn/utils.py the mask to float before
`resize`.

Its network works on every slot, whatever the slots hold, so that the number of positives makes no
difference to its time.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from typing import Any

from benchmarks.peers.keras_weights import make_alike
from benchmarks.peers.worker import Spec, Work, serve

LEARNING_RATE = 1e-9
OBJECTS = 12


def prepare(spec: Spec) -> Work:
    """The work of a row; see `benchmarks.peers.rows.specification`."""
    load(spec)
    return prepare_training(spec) if spec["kind"] == "train" else prepare_detection(spec)


def load(spec: Spec) -> Any:
    """Import the `mrcnn.model` of the checkout, and not this repository's.

    Raises:
        ImportError: it is not there.
    """
    checkout = os.path.abspath(spec["checkout"])
    sys.path.insert(0, checkout)
    import mrcnn.model

    if not os.path.abspath(mrcnn.model.__file__).startswith(checkout + os.sep):
        raise ImportError(
            f"--fork: expected a checkout with mrcnn/model.py in {checkout}; "
            f"Python found {mrcnn.model.__file__}."
        )
    return mrcnn.model


def configuration(spec: Spec) -> Any:
    """The fork's `Config` of a row."""
    from mrcnn.config import Config

    height, width = spec["image_size"]

    class PeersConfig(Config):
        NAME = "peers"
        BACKBONE = spec["backbone"]
        GPU_COUNT = 1
        IMAGES_PER_GPU = spec["batch_size"]
        NUM_CLASSES = spec["classes"]
        RPN_ANCHOR_SCALES = tuple(spec["scales"])
        TRAIN_ROIS_PER_IMAGE = spec["rois"]
        TRAIN_BN = False
        # Matterport's, which this fork has changed.
        USE_MINI_MASK = True
        DETECTION_MAX_INSTANCES = 100
        IMAGE_MIN_DIM = min(height, width)
        IMAGE_MAX_DIM = max(height, width)
        DETECTION_MIN_CONFIDENCE = 0
        DETECTION_NMS_THRESHOLD = 0.9

    return PeersConfig()


def build(mode: str, config: Any) -> Any:
    """The fork's `MaskRCNN`, in a folder that is gone at the end."""
    import tensorflow as tf

    import mrcnn.model

    tf.keras.utils.set_random_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        return mrcnn.model.MaskRCNN(mode, config, folder)


def prepare_training(spec: Spec) -> Work:
    """A step on one batch, whose RPN targets are made beforehand, as its generator makes them."""
    import numpy as np

    import mrcnn.model
    from mrcnn import utils

    config = configuration(spec)
    model = build("training", config)
    make_alike(model.keras_model)
    model.set_trainable(".*")
    model.compile(LEARNING_RATE, config.LEARNING_MOMENTUM)
    rng = np.random.default_rng(0)
    size, batch = int(config.IMAGE_SHAPE[0]), config.BATCH_SIZE
    shapes = mrcnn.model.compute_backbone_shapes(config, config.IMAGE_SHAPE)
    anchors = utils.generate_pyramid_anchors(
        config.RPN_ANCHOR_SCALES,
        config.RPN_ANCHOR_RATIOS,
        shapes,
        config.BACKBONE_STRIDES,
        config.RPN_ANCHOR_STRIDE,
    )
    meta = mrcnn.model.compose_image_meta(
        0,
        tuple(config.IMAGE_SHAPE),
        tuple(config.IMAGE_SHAPE),
        (0, 0, size, size),
        1.0,
        np.ones(config.NUM_CLASSES, np.int32),
    )
    class_ids = np.zeros((batch, config.MAX_GT_INSTANCES), np.int32)
    boxes = np.zeros((*class_ids.shape, 4), np.int32)
    masks = np.zeros((batch, *config.MINI_MASK_SHAPE, config.MAX_GT_INSTANCES), bool)
    corners = rng.integers(0, size // 2, (batch, OBJECTS, 2))
    sides = rng.integers(size // 8, size // 2, (batch, OBJECTS, 2))
    boxes[:, :OBJECTS] = np.concatenate([corners, corners + sides], axis=-1)
    class_ids[:, :OBJECTS] = rng.integers(1, config.NUM_CLASSES, (batch, OBJECTS))
    masks[..., :OBJECTS] = True
    match, deltas = zip(
        *(
            mrcnn.model.build_rpn_targets(
                config.IMAGE_SHAPE, anchors, class_ids[i, :OBJECTS], boxes[i, :OBJECTS], config
            )
            for i in range(batch)
        ),
        strict=True,
    )
    images = rng.integers(0, 256, (batch, *config.IMAGE_SHAPE)).astype(np.float32)
    inputs = [
        mrcnn.model.mold_image(images, config),
        np.repeat(meta[None], batch, axis=0),
        np.stack(match)[..., None],
        np.stack(deltas),
        class_ids,
        boxes,
        masks,
    ]
    losses: list[float] = []

    def step() -> None:
        answer = model.keras_model.train_on_batch(inputs, [])
        losses.append(float(np.ravel(answer)[0]))

    return Work({"step": step}, _versions(), lambda: {"loss": losses[-1]})


def prepare_detection(spec: Spec) -> Work:
    """`predict` of its graph, and `detect` from an image to pasted masks."""
    import numpy as np

    with contextlib.redirect_stdout(sys.stderr):
        model = build("inference", configuration(spec))
    make_alike(model.keras_model)
    shape = (spec["batch_size"], *spec["image_size"], 3)
    images = list(np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8))
    molded, metas, _ = model.mold_inputs(images)
    anchors = model.get_anchors(molded[0].shape)
    anchors = np.broadcast_to(anchors, (len(images), *anchors.shape))
    found: list[int] = []

    def whole() -> None:
        found[:] = [len(result["scores"]) for result in model.detect(images)]

    return Work(
        {
            "graph": lambda: model.keras_model.predict([molded, metas, anchors], verbose=0),
            "whole": whole,
        },
        _versions(),
        lambda: {"found": sum(found) / len(found)},
    )


def _versions() -> dict[str, Any]:
    import tensorflow as tf

    return {"version": f"TensorFlow {tf.__version__}"}


if __name__ == "__main__":
    serve(prepare)
