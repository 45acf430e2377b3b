"""What is chosen where nothing was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from mrcnn.runs import defaults
from mrcnn.runs.defaults import Length
from mrcnn.runs.settings import configure, save_settings
from mrcnn.weights import pretrained


def data(images: int, side: int = 700) -> Dataset:
    dataset = Dataset()
    dataset.add_class("test", 1, "thing")
    for number in range(images):
        dataset.add_image("test", number, None, height=side // 2, width=side)
    dataset.prepare()
    return dataset


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No weights, no accelerator."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(defaults, "has_accelerator", lambda: False)


def test_a_few_pictures_on_a_bare_machine():
    choice = defaults.choose(data(18), data(4), {})
    assert (choice.model, choice.schedule, choice.steps) == ("none", "scratch", 1000)
    config = configure(Config, {"NAME": "x", "NUM_CLASSES": 2, **choice.settings})
    assert config.TRAIN_BN is None  # random weights have no statistics to freeze
    assert config.BACKBONE == "resnet18" and tuple(config.IMAGE_SHAPE) == (320, 320, 3)
    assert config.TOP_DOWN_PYRAMID_SIZE == 64 and config.TRAIN_ROIS_PER_IMAGE == 64
    assert config.STEPS_PER_EPOCH == 50 and config.VALIDATION_STEPS == 1
    assert "--model coco downloads" in choice.reason and "random" in choice.reason


def test_the_length_suits_the_data_set():
    few, many = defaults.choose(data(300), None, {}), defaults.choose(data(10_000), None, {})
    assert few.steps == 40 * 75 and few.settings["STEPS_PER_EPOCH"] == 150
    assert many.steps == defaults.MAX_STEPS and many.settings["STEPS_PER_EPOCH"] == 1000
    assert few.settings["VALIDATION_STEPS"] == 0


def test_a_schedule_that_was_asked_for_has_its_own_length():
    whole = defaults.choose(data(300), None, {}, length=Length(schedule="paper-160k"))
    assert (whole.schedule, whole.steps) == ("paper-160k", 160_000)
    short = defaults.choose(data(300), None, {}, length=Length(schedule="paper-160k", scale=0.01))
    assert short.steps == 1600 and short.settings["STEPS_PER_EPOCH"] == 80
    assert defaults.choose(data(300), None, {}, length=Length(scale=0.01)).steps == 200


def test_small_images_are_not_enlarged():
    choice = defaults.choose(data(20, side=150), None, {})
    assert choice.settings["IMAGE_MAX_DIM"] == 192


def test_with_an_accelerator(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(defaults, "has_accelerator", lambda: True)
    settings = defaults.choose(data(300, side=4000), None, {}).settings
    assert (settings["BACKBONE"], settings["IMAGE_MAX_DIM"]) == ("resnet50", 1024)
    assert "TOP_DOWN_PYRAMID_SIZE" not in settings  # there is no need for a narrow network


def test_trained_weights_on_this_machine_are_used(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pretrained, "COCO_WEIGHTS_BYTES", 3)
    Path(pretrained.COCO_WEIGHTS_FILE).write_bytes(b"abc")
    choice = defaults.choose(data(300), None, {})
    assert (choice.model, choice.schedule) == ("coco", "paper-160k")
    assert choice.settings["BACKBONE"] == "resnet101"
    assert choice.settings["TRAIN_BN"] is False
    assert "TOP_DOWN_PYRAMID_SIZE" not in choice.settings  # their shapes fix it
    assert pretrained.COCO_WEIGHTS_FILE in choice.reason
    # What their shapes do not fit is asked for: then they are no start.
    for given in ({"BACKBONE": "resnet18"}, {"TOP_DOWN_PYRAMID_SIZE": 64}):
        assert defaults.choose(data(300), None, given).model == "none"


def test_half_a_download_is_no_weights():
    Path(pretrained.COCO_WEIGHTS_FILE).write_bytes(b"abc")
    assert defaults.choose(data(300), None, {}).model == "none"


def test_imagenet_weights_on_this_machine(tmp_path: Path):
    file = tmp_path / "keras" / "models" / pretrained.IMAGENET_WEIGHTS_URL.rpartition("/")[2]
    file.parent.mkdir(parents=True)
    file.write_bytes(b"abc")
    choice = defaults.choose(data(300), None, {})
    assert (choice.model, choice.settings["BACKBONE"]) == ("imagenet", "resnet50")
    assert "--model coco" in choice.reason


def test_what_was_given_stays():
    given = {"BACKBONE": "resnet10", "IMAGES_PER_GPU": 2, "IMAGE_MAX_DIM": 128, "TRAIN_BN": False}
    choice = defaults.choose(data(18), data(4), given, model="none", length=Length(steps=60))
    assert not given.keys() & choice.settings.keys()
    assert "IMAGE_MIN_DIM" not in choice.settings
    assert choice.steps == 60 and choice.reason == ""
    assert choice.settings["STEPS_PER_EPOCH"] == 10  # a pass is 9, too few to save after


def test_there_is_room_for_all_objects_of_an_image():
    crowded = data(3)
    for info, count in zip(crowded.image_info, (7, 151, 90), strict=True):
        info["annotations"] = [{}] * count
    settings = defaults.choose(crowded, data(2), {}).settings
    assert settings["MAX_GT_INSTANCES"] == settings["DETECTION_MAX_INSTANCES"] == 200
    crowded.image_info[0]["annotations"] = [{}] * 5000
    given = {"DETECTION_MAX_INSTANCES": 30}
    settings = defaults.choose(data(2), crowded, given).settings
    assert settings["MAX_GT_INSTANCES"] == 400 and "DETECTION_MAX_INSTANCES" not in settings


def test_a_training_shorter_than_a_pass_is_one_epoch():
    assert (
        defaults.choose(data(300), None, {}, length=Length(steps=4)).settings["STEPS_PER_EPOCH"]
        == 4
    )


def test_of_a_run_of_ones_own_the_network_is_taken(tmp_path: Path):
    own = {"BACKBONE": "resnet10", "RPN_CONV_FILTERS": 32, "RPN_ANCHOR_SCALES": (8, 16, 32, 64, 99)}
    config = configure(Config, {"NAME": "own", "NUM_CLASSES": 2, "MEAN_PIXEL": [9, 9, 9], **own})
    weights = tmp_path / "own20260101T1200" / "mask_rcnn_own_0001.h5"
    weights.parent.mkdir()
    weights.touch()
    save_settings(config, weights.parent, {})
    for model in (str(weights), str(weights.parent)):
        choice = defaults.choose(data(18), None, {"RPN_CONV_FILTERS": 64}, model)
        again = configure(Config, {"NAME": "x", "NUM_CLASSES": 3, **choice.settings})
        assert again.BACKBONE == "resnet10" and again.TOP_DOWN_PYRAMID_SIZE == 256
        assert tuple(again.RPN_ANCHOR_SCALES) == (8, 16, 32, 64, 99)
        assert list(again.MEAN_PIXEL) == [9, 9, 9]
        assert "RPN_CONV_FILTERS" not in choice.settings  # given
        assert choice.settings["TRAIN_BN"] is False and choice.schedule == "paper-160k"
