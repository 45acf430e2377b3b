"""What differs between networks, as data, and how a configuration takes it."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from mrcnn.checkpoints.settings_file import save_settings
from mrcnn.config import Config
from mrcnn.runs.settings import configure, load_settings
from mrcnn.setting_rules.architecture import (
    ARCHITECTURES,
    MATTERPORT,
    TORCHVISION,
    Architecture,
    resolve,
)


def test_the_default_is_matterports_and_changes_no_setting():
    config = Config()
    assert config.architecture() is MATTERPORT and not MATTERPORT.settings
    assert config.STD_PIXEL is None and "MEAN_PIXEL" not in vars(config)


def test_names_architectures_and_their_fields_mean_the_same():
    for name, one in ARCHITECTURES.items():
        assert name == one.name
        assert (
            resolve(name) == resolve(one) == resolve(json.loads(json.dumps(one.to_dict()))) == one
        )


@pytest.mark.parametrize("wrong", ["yolo", 3, None, {"name": "own", "colour": 1}, {"stride": 2}])
def test_what_is_none_is_refused(wrong):
    with pytest.raises(ValueError, match="[Aa]rchitecture|ARCHITECTURE"):
        resolve(wrong)
    with pytest.raises(ValueError, match=r"ARCHITECTURE: expected one of \['matterport'"):
        configure(Config, {"ARCHITECTURE": wrong})


@pytest.mark.parametrize(
    "field",
    [
        {"rpn_logits": 3},
        {"rpn_logits": 1},  # without proposals of each level, which read it
        {"box_votes": "all"},
        {"box_votes": "every class"},
        {"proposals_per_level": True},
        {"norm_epsilon": -1.0},
        {"box_dense_layers": 0},
        {"rpn_convolutions": 0},
        {"roi_samples": -2},
        {"mask_pasting": "glue"},
        {"rounded_mask_targets": False},
    ],
)
def test_fields_that_do_not_go_together_are_refused_by_name(field: dict):
    with pytest.raises(ValueError, match="Architecture 'own': .*: expected .+; received"):
        Architecture("own", **field)


def test_a_configuration_takes_what_it_does_not_set():
    class Own(Config):
        ARCHITECTURE = "torchvision"
        DETECTION_NMS_THRESHOLD = 0.3

    config = Own()
    assert config.DETECTION_NMS_THRESHOLD == 0.3
    assert config.BACKBONE == "resnet50" and config.RPN_ANCHOR_RATIOS == [2, 1, 0.5]
    np.testing.assert_allclose(config.STD_PIXEL, [58.395, 57.12, 57.375])
    assert config.IMAGE_SHAPE.tolist() == [1344, 1344, 3]
    assert Config().DETECTION_NMS_THRESHOLD == 0.3 and Config().BACKBONE == "resnet101"


@pytest.mark.parametrize(
    "value", ["torchvision_v2", dataclasses.replace(TORCHVISION, norm_epsilon=0)]
)
def test_a_settings_file_keeps_it(tmp_path, value):
    config = configure(Config, {"ARCHITECTURE": value, "IMAGE_MIN_DIM": 480})
    save_settings(config, tmp_path)
    again = configure(Config, load_settings(tmp_path / "weights.h5"))
    assert again.architecture() == config.architecture()
    assert (again.IMAGE_MIN_DIM, again.DETECTION_MIN_CONFIDENCE) == (480, 0.05)


@pytest.mark.parametrize(
    "settings",
    [
        {"IMAGE_RESIZE_MODE": "pad32", "IMAGE_MIN_DIM": 0},
        {"IMAGE_RESIZE_MODE": "pad32", "IMAGE_MIN_DIM": 1400, "IMAGE_MAX_DIM": 1333},
        {"IMAGE_RESIZE_MODE": "pad32", "IMAGE_SCALE_RANGE": (0.5, 2)},
        {"STD_PIXEL": [1.0, 2.0]},
        {"STD_PIXEL": 0.0},
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict):
    with pytest.raises(ValueError, match="expected .+; received"):
        configure(Config, settings)
