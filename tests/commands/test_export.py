"""`mrcnn export`: from a run's folder to a file."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import mrcnn
from mrcnn.commands import cli, export
from mrcnn.config import Config
from mrcnn.export import exporting
from mrcnn.export.formats import FORMATS
from mrcnn.model import MaskRCNN
from mrcnn.runs.settings import configure, save_settings
from tests.prediction.disc_detector import discs
from tests.weights.test_mismatch import SMALL

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="converters take graphs from TensorFlow"
)
CLASSES = ["BG", "apple", "nut"]


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work") / "logs" / "small20260101T1200"
    folder.mkdir(parents=True)
    config = configure(Config, {**SMALL, "DETECTION_MIN_CONFIDENCE": 0})
    MaskRCNN("inference", config, folder).save_weights(folder / "mask_rcnn_small_0001.h5")
    save_settings(config, folder, {"class_names": CLASSES})
    return folder.parent


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict:
    """What `export` was called with, in place of calling it."""
    found = {}

    def record(detector, output, settings, pictures, class_names):
        found.update(detector=detector, output=output, settings=settings, names=class_names)
        found["pictures"] = pictures
        raise ValueError("recorded")

    monkeypatch.setattr(exporting, "export", record)
    return found


def test_the_formats_of_the_command_are_those_of_the_package():
    assert export.FORMATS == tuple(FORMATS)


def test_the_newest_run_becomes_a_saved_model(logs, tmp_path, caplog):
    caplog.set_level("INFO", "mrcnn")
    out = tmp_path / "net"
    command = ["export", "--logs", str(logs), "--format", "savedmodel", "--output", str(out)]
    assert cli.main(command) == 0
    assert (out / "saved_model.pb").is_file()
    assert (tmp_path / "net.labels.txt").read_text().splitlines() == CLASSES
    assert "4 pictures:" in caplog.text and "0 without a partner" in caplog.text
    assert f"Exported: {out}" in caplog.text and "Seconds a picture here" in caplog.text


def test_options_and_pictures_reach_it(logs, tmp_path, asked):
    for k in range(10):
        Image.fromarray(discs(60, 90, [(20, 20 + k)])).save(tmp_path / f"{k}.png")
    weights = logs / "small20260101T1200" / "mask_rcnn_small_0001.h5"
    command = ["export", "--model", str(weights), "--format", "litert", "--int8", "--pasted"]
    rest = ["--image-size", "60", "90", "--images", str(tmp_path), "--set", "DETECTION_BOXES=exact"]
    assert cli.main([*command, *rest]) == 2  # of the recorder
    assert asked["settings"] == exporting.ExportSettings("litert", (60, 90), "int8", True)
    assert len(asked["pictures"]) == export.MOST_PICTURES
    assert asked["pictures"][0].shape == (60, 90, 3)
    assert asked["output"] == "exported" and asked["names"] == CLASSES
    config = asked["detector"].config
    assert config.IMAGES_PER_GPU == 1 and config.IMAGE_MAX_DIM == SMALL["IMAGE_MAX_DIM"]


def test_what_cannot_be_is_said_before_the_network_is_built(logs, capsys, caplog):
    command = ["export", "--logs", str(logs)]
    assert cli.main([*command, "--format", "litert"]) == 2
    assert "expected --picture-size HEIGHT WIDTH" in caplog.text
    assert cli.main([*command, "--format", "savedmodel", "--fp16"]) == 2
    assert "keeps them as float32" in caplog.text
    with pytest.raises(SystemExit):
        cli.main([*command, "--format", "onnx", "--fp16", "--int8"])
    assert "not allowed with" in capsys.readouterr().err


def test_from_python(logs, asked):
    model = mrcnn.load(logs / "small20260101T1200")
    pictures = [np.zeros((20, 30, 3), np.uint8)]
    with pytest.raises(ValueError, match="recorded"):
        model.export("net.onnx", "onnx", image_size=(20, 30), weights="float16", pictures=pictures)
    assert asked["settings"] == exporting.ExportSettings("onnx", (20, 30), "float16")
    assert asked["pictures"] is pictures and asked["names"] == CLASSES


def test_nothing_found_is_said():
    nothing = exporting.Agreement(4, 0, 0, 0, 0, 1.0, 0.0, 0.0)
    done = exporting.Exported(Path("net.onnx"), None, nothing, (0.1, 0.2))
    assert "nothing could be compared" in str(done)


def test_photographs_have_three_channels():
    assert all(picture.shape[2] == 3 for picture in exporting.photographs(3))
    with pytest.raises(ValueError, match="IMAGE_CHANNEL_COUNT = 4"):
        exporting.photographs(4)
