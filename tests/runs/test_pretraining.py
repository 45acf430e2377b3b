"""A backbone that is pretrained as a classifier learns, goes on exactly, and starts detectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from benchmarks import kills
from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from mrcnn.data.loader import Loader
from mrcnn.data.stream import SampleStream
from mrcnn.model import MaskRCNN
from mrcnn.runs import defaults, pretraining, start_weights
from mrcnn.runs.pretraining import BackboneClassifier
from mrcnn.runs.settings import configure
from mrcnn.training.stages import Stage
from mrcnn.weights.layers import weighted_layers
from tests.tiny import tiny_config

SETTINGS = {
    **pretraining.SETTINGS,
    "NAME": "tiny_backbone",
    "BACKBONE": "resnet10",
    "NUM_CLASSES": 3,
    "IMAGES_PER_GPU": 6,
    "FPN_CLASSIF_FC_LAYERS_SIZE": 16,
    "STEPS_PER_EPOCH": 5,
    "VALIDATION_STEPS": 2,
    "LOADER_WORKERS": 1,
    "CHECKPOINT_STEPS": 1,
}


class Stripes(Dataset):
    """Lying stripes, standing stripes, and noise, which is no object."""

    def __init__(self, count: int, first: int = 0) -> None:
        super().__init__()
        self.add_class("stripes", 1, "lying")
        self.add_class("stripes", 2, "standing")
        for number in range(first, first + count):
            self.add_image("stripes", number, None, class_id=number % 3)
        self.prepare()

    def load_image(self, image_id: int) -> np.ndarray:
        info = self.image_info[image_id]
        rng = np.random.default_rng(info["id"])
        image = rng.integers(0, 80, (40, 40, 3))
        if info["class_id"] == 1:
            image[rng.integers(4) :: 8] += 150
        elif info["class_id"] == 2:
            image[:, rng.integers(4) :: 8] += 150
        return image.astype(np.uint8)

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        class_id = self.image_info[image_id]["class_id"]
        count = int(class_id > 0)
        return np.ones((40, 40, count), bool), np.full(count, class_id, np.int32)


class CrashError(Exception):
    """What a run dies of here."""


class CrashAt(keras.callbacks.Callback):
    def __init__(self, step: int) -> None:
        super().__init__()
        self.left = step

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self.left == 0:
            raise CrashError
        self.left -= 1


def train(folder: Path, crash_at: int = -1) -> BackboneClassifier:
    keras.utils.set_random_seed(0)
    model = BackboneClassifier("training", configure(Config, SETTINGS), folder)
    model.train_stages(
        *(Stripes(30), Stripes(12, first=30), [Stage("all", 5e-3, 20), Stage("all", 1e-3, 5)]),
        resume=True,
        custom_callbacks=[CrashAt(crash_at)],
    )
    return model


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    return Path(train(folder).find_last())


def test_it_learns_to_tell_objects_and_none_apart(trained: Path, tmp_path: Path):
    found = pretraining.accuracies(trained.parent)
    assert found.keys() == {"training", "validation"} and found["training"] > 0.9
    # Running statistics still lag behind after so few steps: images of its own batch normalize it.
    config = configure(Config, {**SETTINGS, "IMAGES_PER_GPU": 12})
    model = BackboneClassifier("training", config, tmp_path)
    model.load_weights(trained)
    batch = Loader(SampleStream.of(Stripes(12, first=900), config, seed=0), 0).batch(0)
    assert sorted(batch["input_gt_class_ids"][:, 0].tolist()) == [0] * 4 + [1] * 4 + [2] * 4
    inputs = {tensor.name: batch[tensor.name] for tensor in model.keras_model.inputs}
    assert float(model.keras_model(inputs, training=True)["accuracy"]) > 0.8  # by chance: a third


def test_a_run_that_was_stopped_ends_as_one_that_was_not(trained: Path, tmp_path: Path):
    with pytest.raises(CrashError):
        train(tmp_path, crash_at=13)
    train(tmp_path)
    ends = kills.end(tmp_path), kills.end(trained.parent.parent)
    assert ends[0]["losses"] == ends[1]["losses"] and ends[0]["state"] == ends[1]["state"]


def test_a_detector_takes_the_backbone_and_nothing_else(trained: Path, tmp_path: Path):
    model = MaskRCNN("training", tiny_config(BACKBONE="resnet10"), tmp_path)
    own = {layer.name: layer.get_weights() for layer, _ in weighted_layers(model.keras_model)}
    start_weights.load_start_weights(model, str(trained))
    classifier = BackboneClassifier("training", configure(Config, SETTINGS), tmp_path)
    classifier.load_weights(trained)
    theirs = {
        layer.name: layer.get_weights() for layer, _ in weighted_layers(classifier.keras_model)
    }
    backbone = theirs.keys() - {"pretrain_fc", "pretrain_logits"}
    assert {"conv1", "bn_conv1", "res5a_branch2b"} <= backbone <= own.keys()
    for layer, _ in weighted_layers(model.keras_model):
        expected = theirs[layer.name] if layer.name in backbone else own[layer.name]
        for value, right in zip(layer.get_weights(), expected, strict=True):
            np.testing.assert_array_equal(value, right)
    assert (model.epoch, Path(model.session.log_dir).parent) == (0, tmp_path)  # a run of its own


def test_another_backbone_is_named(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    model = MaskRCNN("training", tiny_config(BACKBONE="resnet18"), tmp_path)
    start_weights.load_start_weights(model, str(trained))
    said = capsys.readouterr().err
    assert "config.json says BACKBONE = 'resnet10'" in said and "--backbone resnet10" in said


def test_the_backbone_of_start_weights_is_chosen(trained: Path):
    for weights in (str(trained), str(trained.parent)):
        chosen = defaults.choose(Stripes(6), None, {}, weights).settings
        assert chosen["BACKBONE"] == "resnet10"
        assert chosen["TRAIN_BN"] is None  # as of random weights: the heads have learned nothing
    assert (
        "BACKBONE"
        not in defaults.choose(Stripes(6), None, {"BACKBONE": "resnet18"}, str(trained)).settings
    )
    assert start_weights.settings_beside("no/such/file.h5") == {}
    assert defaults.choose(Stripes(6), None, {}, str(trained)).schedule == "scratch"


def test_whether_heads_start_at_random(trained: Path, tmp_path: Path):
    assert start_weights.starts_untrained(str(trained)) and start_weights.starts_untrained("none")
    for name in ("coco", "imagenet", "last", "no/such/file.h5"):
        assert not start_weights.starts_untrained(name)
    detector = tmp_path / "mask_rcnn_x_0001.h5"  # of a detector, with or without settings
    detector.write_bytes(b"")
    assert not start_weights.starts_untrained(str(detector))


def test_it_does_not_detect(tmp_path: Path):
    with pytest.raises(ValueError, match="mode: expected 'training', because a classifier"):
        BackboneClassifier("inference", configure(Config, SETTINGS), tmp_path)


def test_the_length_suits_the_number_of_images(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pretraining, "has_accelerator", lambda: False)
    settings, steps = pretraining.choose(Stripes(320), Stripes(40), {}, None)
    assert steps == pretraining.MIN_STEPS and settings["STEPS_PER_EPOCH"] == 30
    assert settings["VALIDATION_STEPS"] == 2 and settings["BACKBONE"] == "resnet18"
    given = {"IMAGES_PER_GPU": 8, "BACKBONE": "resnet10"}
    settings, steps = pretraining.choose(Stripes(320), None, given, None)
    assert steps == 20 * 40 and not given.keys() & settings.keys()
    assert settings["VALIDATION_STEPS"] == 0
    assert pretraining.choose(Stripes(3), None, {}, 7)[1] == 7
