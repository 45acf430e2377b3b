"""Weights of another network: what differs is said, and nothing is recommended that destroys."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrcnn.config import BACKBONES, Config
from mrcnn.model import MaskRCNN
from mrcnn.runs.settings import configure, save_settings
from mrcnn.weights.matterport import load_weights, save_weights
from mrcnn.weights.mismatch import CLASS_LAYERS, backbone_of
from mrcnn.weights.report import WeightsError

SMALL = {
    "NAME": "small",
    "NUM_CLASSES": 3,
    "BACKBONE": "resnet10",
    "IMAGE_MIN_DIM": 64,
    "IMAGE_MAX_DIM": 64,
    "TOP_DOWN_PYRAMID_SIZE": 16,
    "RPN_CONV_FILTERS": 16,
    "MASK_CONV_FILTERS": 8,
    "FPN_CLASSIF_FC_LAYERS_SIZE": 16,
    "RPN_ANCHOR_SCALES": (8, 16, 24, 32, 48),
}


def network(**settings) -> MaskRCNN:
    return MaskRCNN("inference", configure(Config, {**SMALL, **settings}), "logs")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "mask_rcnn_small_0001.h5"
    save_weights(network().keras_model, path)
    return path


def message(file: Path, **settings) -> str:
    with pytest.raises(WeightsError) as raised:
        load_weights(network(**settings).keras_model, file)
    return str(raised.value)


def test_other_classes_are_left_out(file: Path):
    text = message(file, NUM_CLASSES=5)
    assert "number of classes differs, background included: 3 in the file, 5 in the model" in text
    assert f"exclude={list(CLASS_LAYERS)}" in text
    load_weights(network(NUM_CLASSES=5).keras_model, file, exclude=CLASS_LAYERS)


def test_another_backbone_is_no_case_for_exclude(file: Path):
    text = message(file, BACKBONE="resnet50")
    assert "BACKBONE: resnet10 in the file, resnet50 in the model" in text
    assert "exclude=[" not in text and "`exclude` does not help" in text


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TOP_DOWN_PYRAMID_SIZE", 32, "TOP_DOWN_PYRAMID_SIZE: 16 in the file, 32 in the model"),
        ("MASK_CONV_FILTERS", 12, "MASK_CONV_FILTERS: 8 in the file, 12 in the model"),
        ("RPN_ANCHOR_RATIOS", (1, 2), "number of RPN_ANCHOR_RATIOS: 3 in the file, 2 in the model"),
    ],
)
def test_the_setting_that_differs(file: Path, name: str, value: object, said: str):
    text = message(file, **{name: value})
    assert said in text and "BACKBONE" not in text


def test_the_settings_beside_the_weights_are_named(file: Path):
    settings = save_settings(configure(Config, SMALL), file.parent)
    try:
        text = message(file, BACKBONE="resnet18", NUM_CLASSES=4)
    finally:
        settings.unlink()
    assert str(settings) in text and f"mrcnn.load({str(file)!r})" in text


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_backbone_is_known_by_its_layers(backbone: str):
    model = network(BACKBONE=backbone).keras_model
    assert backbone_of(layer.name for layer in model.layers) == backbone


def test_other_layers_are_of_no_known_backbone():
    assert backbone_of(["block1_conv1", "fc"]) is None
