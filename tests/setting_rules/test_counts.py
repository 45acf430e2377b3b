"""Scripts compute counts as floats."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest

from mrcnn.setting_rules.counts import STEPS
from tests.tiny import tiny_config


@pytest.mark.parametrize("kind", [float, np.float64, np.float32])
@pytest.mark.parametrize(
    "name", [*STEPS, "IMAGE_MAX_DIM", "TRAIN_ROIS_PER_IMAGE", "MAX_GT_INSTANCES", "IMAGES_PER_GPU"]
)
def test_whole_numbers_are_taken(name: str, kind: type, caplog: pytest.LogCaptureFixture):
    config = tiny_config(**{name: kind(64.0)})
    value = getattr(config, name)
    assert value == 64 and type(value) is int and not caplog.records
    assert isinstance(config.BATCH_SIZE, int) and config.IMAGE_SHAPE.dtype.kind == "i"


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("value", [65.5, np.float64(65.01), 66 - 1e-9])
def test_fractions_of_steps_are_rounded_up_with_a_warning(
    name: str, value: float, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.WARNING):
        config = tiny_config(**{name: value})
    assert getattr(config, name) == 66 and type(getattr(config, name)) is int
    assert f"SomeTinyConfig.{name}: expected an integer;" in caplog.text
    assert "rounded up to 66" in caplog.text
    caplog.clear()
    config.validate()
    assert not caplog.records


def test_settings_that_are_changed_later_are_settled_when_training_checks_them():
    config = tiny_config()
    config.STEPS_PER_EPOCH = 10 / 4
    config.validate()
    assert config.STEPS_PER_EPOCH == 3


@pytest.mark.parametrize(
    "name, value",
    [
        ("STEPS_PER_EPOCH", math.nan),
        ("STEPS_PER_EPOCH", math.inf),
        ("STEPS_PER_EPOCH", -0.5),
        ("VALIDATION_STEPS", -1.5),
        ("IMAGES_PER_GPU", 1.5),
        ("IMAGE_MAX_DIM", 64.5),
        ("NUM_CLASSES", "2.0"),
    ],
)
def test_other_floats_are_refused(name: str, value: object):
    with pytest.raises(ValueError, match=f"{name}: expected .*integer"):
        tiny_config(**{name: value})


def test_settings_that_may_be_fractions_stay_as_they_are():
    config = tiny_config(RPN_ANCHOR_SCALES=(8.0, 16.5, 24, 32, 48), CHECKPOINT_MINUTES=2.0)
    assert config.RPN_ANCHOR_SCALES[1] == 16.5
    assert type(config.CHECKPOINT_MINUTES) is float and type(config.LEARNING_RATE) is float
