"""One seed, one batch and the same weights give one first step, on every backend and compiler.

The numbers below were computed once, by TensorFlow without XLA; whatever runs these tests must
find them again. The weights come from NumPy, because initializers differ between backends.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest

from mrcnn.config import LOSS_NAMES
from mrcnn.training import compile
from mrcnn.training import model as training_model
from mrcnn.weights.layers import weighted_layers
from tests.tiny import tiny_batch, tiny_config

BACKEND = keras.backend.backend()
# TensorFlow's XLA takes half a minute; JAX's is the same compiler, and is run by `make test`.
XLA = pytest.param(True, marks=[pytest.mark.slow] if BACKEND == "tensorflow" else [])
COMPILED = [False, XLA] if BACKEND == "tensorflow" else [XLA]
LOSSES = {
    "rpn_class_loss": 0.8325694,
    "rpn_bbox_loss": 1.3111314,
    "mrcnn_class_loss": 22.640596,
    "mrcnn_bbox_loss": 23.509880,
    "mrcnn_mask_loss": 0.7388099,
    "mrcnn_mask_edge_loss": 1.1772509,
}
# How far the kernels move in the step: the norm over all of a group.
MOVES = {
    "conv1": 0.1060791,
    "res": 0.3774870,
    "fpn": 0.1859258,
    "rpn": 0.02248410,
    "mrcnn_class": 0.2458501,
    "mrcnn_bbox": 0.01755632,
    "mrcnn_mask": 0.001408287,
}


def set_weights(model: keras.Model) -> None:
    """Random weights that depend on no backend."""
    rng = np.random.default_rng(0)
    for layer, _ in weighted_layers(model):
        values = []
        for weight in layer.weights:
            value = np.zeros(weight.shape)
            if weight.name == "kernel":
                # Proposals stay near the anchors, so that some are an object's.
                scale = 0.01 if layer.name in ("rpn_bbox_pred", "rpn_class_raw") else 1
                value = rng.normal(0, scale / np.sqrt(np.prod(weight.shape[:-1])), weight.shape)
            elif weight.name in ("gamma", "moving_variance"):
                value = np.ones(weight.shape)
            values.append(value.astype(np.float32))
        layer.set_weights(values)


@pytest.mark.parametrize("jit_compile", COMPILED)
def test_the_first_step(jit_compile: bool):
    config = tiny_config(
        JIT_COMPILE=jit_compile,
        SEED=11,
        EDGE_LOSS_FILTERS=["sobel-x", "sobel-y"],
        WEIGHT_DECAY=0.0,
        # Of those that are an object's, and of the others, more than take part.
        PRE_NMS_LIMIT=1023,
        POST_NMS_ROIS_TRAINING=800,
        RPN_NMS_THRESHOLD=0.9,
    )
    model = training_model.build(config)
    set_weights(model)
    compile.compile_model(model, config, 0.1, 0.0)
    before = {layer.name: layer.get_weights()[0] for layer, _ in weighted_layers(model)}
    logs = model.train_on_batch(tiny_batch(config), return_dict=True)
    losses = {name: float(logs[name]) for name in LOSS_NAMES}
    moves = {
        group: float(
            np.sqrt(
                sum(
                    np.sum((layer.get_weights()[0] - before[layer.name]) ** 2)
                    for layer, _ in weighted_layers(model)
                    if layer.name.startswith(group)
                )
            )
        )
        for group in ("conv1", "res", "fpn", "rpn", "mrcnn_class", "mrcnn_bbox", "mrcnn_mask")
    }
    assert all(value > 0 for value in losses.values())
    assert losses == pytest.approx(LOSSES, rel=1e-4)
    assert moves == pytest.approx(MOVES, rel=1e-3)
