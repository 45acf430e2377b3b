"""Backbones of classifiers: converted, they compute what the classifier's do."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from mrcnn import network
from mrcnn.config import Config
from mrcnn.runs import defaults, start_weights
from mrcnn.runs.conversion import REPORT_FILE, convert
from mrcnn.runs.settings import configure, load_settings
from mrcnn.runs.trained import open_run
from mrcnn.weights import classifiers, matterport
from mrcnn.weights.report import WeightsError
from tests.runs.test_conversion import tensors, write_safetensors

PICTURE = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3)).astype(np.float32)


def own_features(weights: Path) -> np.ndarray:
    """C5 of a picture, by the settings beside the weights."""
    config = configure(Config, load_settings(weights))
    image = keras.Input((None, None, 3))
    molded = network.mold_layer(config)(image)
    model = keras.Model(image, network.build_backbone(molded, config)[-1])
    report = matterport.load_weights(model, weights, by_name=True)
    assert not report.missing and not report.skipped
    return keras.ops.convert_to_numpy(model(PICTURE))


def a_classifier() -> dict[str, np.ndarray]:
    """The tensors of a ResNet-18 as torchvision and timm name them."""
    prefix = "backbone.body."
    found = {k.removeprefix(prefix): v for k, v in tensors().items() if k.startswith(prefix)}
    return {
        **found,
        "fc.weight": np.zeros((10, 512), np.float32),
        "fc.bias": np.zeros(10, np.float32),
    }


@pytest.mark.parametrize("file", ["weights.weights.h5", "weights.h5"])
def test_keras_applications(tmp_path: Path, file: str):
    theirs = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(64, 96, 3))
    rng = np.random.default_rng(1)
    for layer in theirs.layers:
        if layer.name.endswith("_bn"):
            shape = layer.get_weights()[0].shape
            layer.set_weights(
                [
                    rng.uniform(0.5, 1, shape),
                    *rng.normal(0, 0.1, (2, *shape)),
                    rng.uniform(0.5, 1, shape),
                ]
            )
    source = tmp_path / file
    if file == "weights.h5":  # the layout of Keras's own files
        matterport.save_weights(theirs, source)
    else:
        theirs.save_weights(source)
    done = convert(source, tmp_path / "own" / "w.h5")
    assert done.settings["BACKBONE"] == "resnet50" and not done.class_names
    expected = keras.ops.convert_to_numpy(
        theirs(PICTURE[..., ::-1] - np.array([103.939, 116.779, 123.68], np.float32))
    )
    found = own_features(tmp_path / "own" / "w.h5")
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnext50_32x4d", "resnet152"])
def test_torchvisions_classifiers(tmp_path: Path, name: str):
    torch = pytest.importorskip("torch", reason="the oracle is torchvision: '.[bench]'")
    models = pytest.importorskip("torchvision.models", reason="the oracle is torchvision")
    torch.manual_seed(0)
    theirs = getattr(models, name)(weights=None).eval()
    with torch.no_grad():
        for module in theirs.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.3, 0.8)
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
        torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
        mean = torch.tensor([0.485, 0.456, 0.406])
        x = (torch.from_numpy(PICTURE) / 255 - mean) / torch.tensor([0.229, 0.224, 0.225])
        x = x.permute(0, 3, 1, 2)
        x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x))))
        for stage in range(1, 5):
            x = getattr(theirs, f"layer{stage}")(x)
    done = convert(tmp_path / "theirs.pth", tmp_path / "own" / "w.h5")
    assert done.settings["BACKBONE"] == name.partition("_")[0]
    expected = x.permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(own_features(tmp_path / "own" / "w.h5"), expected, atol=1e-4)


@pytest.fixture
def converted(tmp_path: Path) -> Path:
    source = write_safetensors(tmp_path / "classifier.safetensors", a_classifier())
    convert(source, tmp_path / "own" / "w.h5")
    return tmp_path / "own" / "w.h5"


def test_every_tensor_is_accounted_for(converted: Path):
    text = (converted.parent / REPORT_FILE).read_text()
    assert "resnet18, the backbone alone" in text
    assert text.count("\nused     ") == 100 and "used     conv1.weight -> conv1/kernel" in text
    assert "ignored  fc.weight: it is of the classifier" in text
    assert "class_names" not in json.loads((converted.parent / "config.json").read_text())


def test_a_training_starts_from_it_with_its_architecture(converted: Path, small_dataset):
    choice = defaults.choose(small_dataset, None, {}, str(converted))
    assert choice.settings["BACKBONE"] == "resnet18" and choice.settings["TRAIN_BN"] is False
    assert choice.settings["ARCHITECTURE"] == "torchvision"
    assert choice.settings["STD_PIXEL"] == pytest.approx([58.395, 57.12, 57.375])
    assert not start_weights.starts_untrained(str(converted))


@pytest.fixture
def small_dataset():
    from tests.data.test_fractional_resize import OneImage

    return OneImage(np.zeros((64, 64, 3), np.uint8), np.ones((64, 64, 1), bool), [1])


def test_it_detects_nothing_and_says_so(converted: Path):
    with pytest.raises(ValueError, match="holds a backbone alone.*mrcnn train DATA --model"):
        open_run(converted)


def test_names_of_classes_belong_to_a_detector(tmp_path: Path):
    source = write_safetensors(tmp_path / "c.safetensors", a_classifier())
    with pytest.raises(ValueError, match="class names: .* holds a backbone, which has none"):
        convert(source, tmp_path / "own" / "w.h5", class_names=["cat"])


def test_what_is_no_known_network_is_said(tmp_path: Path):
    arrays = a_classifier()
    arrays["layer2.2.conv1.weight"] = np.zeros((128, 128, 3, 3), np.float32)
    source = write_safetensors(tmp_path / "c.safetensors", arrays)
    with pytest.raises(
        WeightsError, match=r"c.safetensors: expected one of the backbones resnet18"
    ):
        convert(source, tmp_path / "own" / "w.h5")
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="dense")])
    matterport.save_weights(model, tmp_path / "other.h5")
    with pytest.raises(WeightsError, match="other.h5: expected a ResNet of Keras's applications"):
        convert(tmp_path / "other.h5", tmp_path / "own" / "w.h5")
    layers = ["conv1_conv", "conv2_block1_0_conv", "conv2_block1_1_conv", "conv2_block3_1_conv"]
    with pytest.raises(WeightsError, match=r"not of version 2\); received \(3, 0, 0, 0\) blocks"):
        classifiers.keras_network(layers)
