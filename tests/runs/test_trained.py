"""A trained run, opened again from its weights and the settings beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mrcnn import network
from mrcnn.config import Config
from mrcnn.runs import trained
from mrcnn.runs.settings import derive_config, save_settings
from mrcnn.weights.matterport import save_weights
from tests.tiny import tiny_config


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The weights of a run that trained on random windows and scales, on two GPUs."""
    folder = tmp_path_factory.mktemp("logs") / "tiny20260101T0000"
    config = tiny_config(
        NAME="tiny",
        IMAGE_RESIZE_MODE="crop",
        IMAGE_MIN_DIM_RANGE=(64, 96),
        GPU_COUNT=2,
        DETECTION_MIN_CONFIDENCE=0.6,
    )
    save_settings(config, folder)
    network_of_run = network.build_inference(tiny_config(NAME="tiny"))
    return Path(save_weights(network_of_run, folder / "mask_rcnn_tiny_0003.h5"))


def test_a_run_is_opened_with_its_own_settings(run, capsys):
    model = trained.open_run(run)
    assert model.mode == "inference" and model.epoch == 3
    assert model.log_dir == str(run.parent) and model.find_last() == str(run)
    assert model.config.BACKBONE == tiny_config().BACKBONE
    assert model.config.GPU_COUNT == 1 and model.config.IMAGE_RESIZE_MODE == "pad64"
    assert model.config.IMAGE_MIN_DIM_RANGE is None
    assert model.config.DETECTION_MIN_CONFIDENCE == 0.6
    assert f"{run}: " in capsys.readouterr().out
    (found,) = model.detect([np.zeros((64, 64, 3), np.uint8)])
    assert found["masks"].shape[:2] == (64, 64)


def test_overrides_win_over_the_run_and_the_run_over_the_base(run):
    base = derive_config(Config, {"DETECTION_MIN_CONFIDENCE": 0.1, "NAME": "base"})
    config = trained.inference_config(run, base, every_detection=True)
    assert config.DETECTION_MIN_CONFIDENCE == 0 and config.NAME == "tiny"
    overrides = {"DETECTION_MIN_CONFIDENCE": 0.9, "IMAGE_RESIZE_MODE": "square", "GPU_COUNT": 3}
    config = trained.inference_config(run, base, overrides, every_detection=True)
    assert config.DETECTION_MIN_CONFIDENCE == 0.9 and config.IMAGE_RESIZE_MODE == "square"
    assert config.GPU_COUNT == 3


def test_weights_without_settings_have_those_of_the_base(tmp_path):
    base = derive_config(Config, {"IMAGE_RESIZE_MODE": "crop", "IMAGES_PER_GPU": 7})
    config = trained.inference_config(tmp_path / "weights.h5", base)
    assert config.BATCH_SIZE == 7 and config.IMAGE_RESIZE_MODE == "pad64"


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no\.h5"):
        trained.open_run(tmp_path / "no.h5", type(tiny_config()))
