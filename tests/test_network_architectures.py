"""Networks of other architectures train: every kind of ground truth, and on both backends."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from mrcnn.config import LOSS_NAMES
from mrcnn.training import compile
from mrcnn.training import model as training_model
from mrcnn.training.stages import layer_regex
from mrcnn.weights.layers import weighted_layers
from tests.tiny import tiny_batch, tiny_config

SETTINGS = {
    "ARCHITECTURE": "torchvision",
    "IMAGE_RESIZE_MODE": "pad32",
    "EDGE_LOSS_FILTERS": ["sobel-x", "sobel-y"],
    "PRE_NMS_LIMIT_TRAINING": 60,
    "ROI_POSITIVE_RATIO": 0.25,
    "LEARNING_RATE": 0.002,
}
second_on_tensorflow = pytest.param(
    {"ARCHITECTURE": "torchvision_v2", "USE_MINI_MASK": False},
    marks=pytest.mark.skipif(
        keras.backend.backend() != "tensorflow",
        reason="compiling it takes a minute; what differs is a repetition of layers",
    ),
    id="v2, whole masks",
)


first = pytest.param(
    {},
    # On JAX it takes half a minute to compile; tests/ops compares what differs on both.
    marks=[pytest.mark.slow] if keras.backend.backend() == "jax" else [],
    id="v1",
)


detectron2 = pytest.param(
    {"ARCHITECTURE": "detectron2"},
    marks=[pytest.mark.slow] if keras.backend.backend() == "jax" else [],
    id="Detectron2",
)


@pytest.mark.parametrize("settings", [first, second_on_tensorflow, detectron2])
def test_other_networks_train_with_the_edge_head(settings: dict):
    config = tiny_config(**{**SETTINGS, **settings})
    model = training_model.build(config)
    compile.set_trainable(model, layer_regex("all"))
    compile.compile_model(model, config, config.LEARNING_RATE, config.LEARNING_MOMENTUM)
    frozen = {
        layer.name: layer.get_weights()[2:]
        for layer, _ in weighted_layers(model)
        if "bn" in layer.name
    }
    logs = []
    for kind in ["objects"] * 6 + ["none", "crowds", "lines"]:
        model.reset_metrics()
        found = model.train_on_batch(tiny_batch(config, kind), return_dict=True)
        logs.append({name: float(value) for name, value in found.items()})
    assert all(np.isfinite(value) for log in logs for value in log.values()), logs
    assert set(logs[0]) == {"loss", *LOSS_NAMES}
    # The objects' own boxes are among the RoIs: there is always something to learn from.
    assert all(log[name] > 0 for log in logs[:6] for name in LOSS_NAMES)
    assert logs[5]["loss"] < logs[0]["loss"]
    for log in logs[6:]:  # no objects: all RoIs are background, and none is a mask
        assert log["mrcnn_mask_loss"] == log["mrcnn_mask_edge_loss"] == log["mrcnn_bbox_loss"] == 0
    assert logs[6]["mrcnn_class_loss"] > 0
    for layer, _ in weighted_layers(model):
        assert all(np.isfinite(value).all() for value in layer.get_weights()), layer.name
        for before, after in zip(frozen.get(layer.name, []), layer.get_weights()[2:], strict=False):
            np.testing.assert_array_equal(before, after)
