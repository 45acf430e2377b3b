"""The Cityscapes sample, run as a user runs it, on drawn street scenes."""

from __future__ import annotations

import csv
import importlib.util
import json
from pathlib import Path

import pytest

from mrcnn.datasets.cityscapes import CityscapesDataset
from mrcnn.datasets.street_scenes import write_lookalike

REPOSITORY = Path(__file__).resolve().parents[2]
TINY = [
    *("--backbone", "resnet10", "--batch-size", "2", "--rois", "8", "--workers", "1"),
    *("--steps-per-epoch", "2", "--validation-steps", "1", "--set", "TOP_DOWN_PYRAMID_SIZE=16"),
    *("RPN_CONV_FILTERS=16", "MASK_CONV_FILTERS=8", "FPN_CLASSIF_FC_LAYERS_SIZE=16"),
    *("RPN_ANCHOR_SCALES=(8,16,32,48,64)", "PRE_NMS_LIMIT=100", "POST_NMS_ROIS_TRAINING=30"),
    *("POST_NMS_ROIS_INFERENCE=20", "DETECTION_MAX_INSTANCES=5"),
]


def load_sample():
    path = REPOSITORY / "samples" / "cityscapes" / "cityscapes.py"
    spec = importlib.util.spec_from_file_location("cityscapes_sample", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


sample = load_sample()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of the data, and the one of the logs after two steps of training."""
    folder = tmp_path_factory.mktemp("run")
    command = ["train", "--dataset", str(folder / "data"), "--logs", str(folder / "logs")]
    command += ["--generate", "4", "--image-size", "64", "--model", "none", "--steps", "2"]
    command += ["--training-mode", "fine", "--mask-size", "56", "--run-name", "tiny"]
    assert sample.main([*command, "--edge-loss-filters", "sobel-x", "sobel-y", *TINY]) == 0
    return folder / "data", folder / "logs"


def test_training_takes_wide_images_and_the_options(trained):
    _, logs = trained
    (run,) = logs.iterdir()
    assert run.name.startswith("cityscapes_tiny_")
    settings = json.loads((run / "config.json").read_text())
    assert settings["IMAGE_PAD_SHAPE"] == [64, 128] and settings["IMAGE_RESIZE_MODE"] == "pad64"
    assert settings["IMAGE_MIN_DIM_RANGE"] == [50, 64]
    assert settings["training"]["schedule"] == "cityscapes-24k"
    assert settings["MASK_SHAPE"] == [56, 56] and settings["NUM_CLASSES"] == 9
    assert settings["EDGE_LOSS_FILTERS"] == ["sobel-x", "sobel-y"]
    with open(run / "losses.csv", newline="", encoding="utf-8") as file:
        assert float(list(csv.DictReader(file))[-1]["mrcnn_mask_edge_loss"]) >= 0


def test_evaluation_writes_metrics_and_pictures(trained, capsys):
    data, logs = trained
    command = ["evaluate", "--dataset", str(data), "--logs", str(logs), "--model", "last"]
    official = importlib.util.find_spec("cityscapesscripts") is not None
    command += ["--run-name", "tiny", "--annotations", "instances"]
    assert sample.main([*command, *(["--official"] if official else [])]) == 0
    (run,) = logs.iterdir()
    with open(run / "coco_val.csv", newline="", encoding="utf-8") as file:
        assert {row["iou_type"] for row in csv.DictReader(file)} >= {"segm", "bbox"}
    assert (run / "detections_val.png").is_file()
    assert "1 images in" in capsys.readouterr().out
    if official:
        assert len(list((run / "cityscapes_val").glob("*.txt"))) == 1
        assert (run / "cityscapes_val.csv").read_text().startswith("label,AP,AP50\naverage,")


def test_the_data_set_is_checked(trained, capsys):
    data, _ = trained
    command = ["check", "--dataset", str(data), "--image-size", "64"]
    sample.main(command)
    out = capsys.readouterr().out
    assert (
        "train: 4 images" in out and "8 categories" in out and "check of CityscapesDataset" in out
    )


def test_weights_of_other_classes_are_a_clear_error(trained, capsys):
    data, logs = trained
    command = ["evaluate", "--dataset", str(data), "--logs", str(logs), "--model", "last"]
    assert sample.main([*command, "--run-name", "tiny", "--labels", "all"]) == 2
    assert "they are for 9" in capsys.readouterr().err


def test_what_is_missing_is_a_clear_error(tmp_path, capsys):
    command = ["--dataset", str(tmp_path / "no"), "--logs", str(tmp_path / "logs")]
    assert sample.main(["train", *command, "--model", "none"]) == 2
    assert "leftImg8bit" in capsys.readouterr().err
    command += ["--generate", "1", "--image-size", "64"]
    assert sample.main(["evaluate", *command, "--model", "no.h5"]) == 2
    assert "no.h5" in capsys.readouterr().err


def test_the_settings_are_the_papers():
    config = sample.CityscapesConfig()
    assert config.BATCH_SIZE == 4 and config.BACKBONE == "resnet50"
    assert config.IMAGE_SHAPE.tolist() == [1024, 2048, 3] and config.NUM_CLASSES == 9
    assert config.IMAGE_MIN_DIM_RANGE == (800, 1024)


@pytest.mark.parametrize(
    ("size", "mode", "shape"),
    [
        (None, "pad64", [128, 192, 3]),  # as they are, up to a multiple of 64
        (128, "pad64", [128, 256, 3]),  # enlarged
        (64, "square", [128, 128, 3]),  # shrunk
    ],
)
def test_the_input_follows_the_images(tmp_path, size, mode, shape):
    write_lookalike(tmp_path, 2, 0, (96, 192))
    dataset = CityscapesDataset()
    dataset.load_cityscapes(tmp_path, "train")
    settings = sample.image_settings(dataset, size)
    config = type("Some", (sample.CityscapesConfig,), settings)()
    assert config.IMAGE_RESIZE_MODE == mode and config.IMAGE_SHAPE.tolist() == shape
    least, most = config.IMAGE_MIN_DIM_RANGE
    assert most == config.IMAGE_MIN_DIM and least == round(most * 800 / 1024)


def test_a_missing_official_package_is_told_before_all_else(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mrcnn.evaluation.cityscapes.OFFICIAL_MODULE", "no_such_package")
    command = ["evaluate", "--dataset", str(tmp_path), "--model", "last", "--official"]
    assert sample.main(command) == 2
    assert "pip install 'mrcnn[cityscapes]'" in capsys.readouterr().err
