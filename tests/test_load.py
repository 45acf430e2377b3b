"""`mrcnn.load`: a run's folder is all that it takes to detect."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mrcnn
from mrcnn.config import Config
from mrcnn.model import MaskRCNN
from mrcnn.runs.settings import configure, save_settings
from tests.weights.test_mismatch import SMALL


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs") / "small20260101T1200"
    folder.mkdir()
    config = configure(Config, SMALL)
    model = MaskRCNN("inference", config, folder.parent)
    for epoch in (1, 2):
        model.save_weights(folder / f"mask_rcnn_small_{epoch:04d}.h5")
    save_settings(config, folder, {"class_names": ["BG", "apple", "nut"]})
    return folder


def test_settings_weights_and_class_names_come_from_the_folder(run: Path):
    model = mrcnn.load(run)
    assert model.mode == "inference" and model.config.BACKBONE == "resnet10"
    assert model.class_names == ["BG", "apple", "nut"]
    found = model.detect([np.zeros((50, 80, 3), np.uint8)])[0]
    assert found["masks"].shape[:2] == (50, 80)


def test_a_file_and_changed_settings(run: Path):
    model = mrcnn.load(run / "mask_rcnn_small_0001.h5", DETECTION_MIN_CONFIDENCE=0.1)
    assert model.config.DETECTION_MIN_CONFIDENCE == 0.1
    with pytest.raises(ValueError, match="DETECTION_MIN_CONFIDENCES: expected settings"):
        mrcnn.load(run, DETECTION_MIN_CONFIDENCES=0.1)


def test_a_folder_of_runs_is_answered_with_their_names(run: Path, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="it holds the runs small20260101T1200"):
        mrcnn.load(run.parent)
    with pytest.raises(FileNotFoundError, match="it has none"):
        mrcnn.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="it does not exist"):
        mrcnn.load(tmp_path / "nothing.h5")
