"""Names one slip from a setting's are warned of, and those of real scripts are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mrcnn.config import Config
from mrcnn.setting_rules.misspelt import misspelt_setting

SETTINGS = sorted(
    name
    for name, value in vars(Config).items()
    if name.isupper() and not isinstance(value, property)
)


def configure(**settings: Any) -> Config:
    return type("SomeConfig", (Config,), settings)()


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("LERNING_RATE", 0.01, "LEARNING_RATE"),
        ("LEARNINGRATE", 0.01, "LEARNING_RATE"),
        ("IMAGES_PER_GPUS", 2, "IMAGES_PER_GPU"),
        ("IMAGES_PRE_GPU", 2, "IMAGES_PER_GPU"),
        ("VALIDATION_STPES", 50, "VALIDATION_STEPS"),  # in scripts for Matterport's first version
        ("OPTIMISER", "adam", "OPTIMIZER"),
        ("RPN_ANCHOR_SCALE", (8, 16, 32, 64, 128), "RPN_ANCHOR_SCALES"),
        ("MEAN_PIXLE", np.zeros(3), "MEAN_PIXEL"),
    ],
)
def test_a_name_close_to_a_setting_is_warned_of(
    name: str, value: Any, meant: str, capsys: pytest.CaptureFixture
):
    config_class = type("Misspelt", (Config,), {name: value})
    config_class()
    warning = capsys.readouterr().err
    assert f"Misspelt.{name} is no setting" in warning and f" {meant}?" in warning
    config_class()
    type("Derived", (config_class,), {})()
    assert not capsys.readouterr().err  # once is enough


def test_a_name_set_before_the_others_is_compared_too(capsys: pytest.CaptureFixture):
    class Late(Config):
        def __init__(self, steps: int):
            self.STEP_PER_EPOCH = steps
            super().__init__()

    Late(3)
    assert "STEPS_PER_EPOCH?" in capsys.readouterr().err


def test_the_attributes_of_real_scripts_are_silent(capsys: pytest.CaptureFixture):
    own = {
        **dict.fromkeys(["IMAGE_PADDING", "WEIGHT_LOSS", "ISCOLOR", "ISOPENCV", "USE_MASK"], True),
        **dict.fromkeys(["NUM_KEYPOINTS", "NUM_POINTS", "KEYPOINT_MASK_POOL_SIZE", "EPOCHS"], 7),
        **dict.fromkeys(["STEPS", "BATCH", "PATIENCE", "OBJECT_SIZE", "PRE_MULTI_FRAMES"], 7),
        **dict.fromkeys(["RECURRENT_FILTER", "IMAGE_SIZE", "CPU_COUNT", "IMAGE_WIDTH"], 64),
        **dict.fromkeys(["IMAGE_MIN_SIZE", "TRAIN_STEPS", "VAL_STEPS", "NUM_WORKERS"], 64),
        **dict.fromkeys(["DETECTION_MASK_THRESHOLD", "KEYPOINT_THRESHOLD", "RESOLUTION"], 0.25),
        **dict.fromkeys(["LEARNING_RATE_DECAY", "MOMENTUM", "ROI_NMS_THRESHOLD"], 0.9),
        **dict.fromkeys(["RPN_POSITIVE_RATIO", "DETECTION_THRESHOLD"], 0.5),
        **dict.fromkeys(["COCO_DIR", "DATASET_DIR", "RECURRENT_UNIT", "CLASS_NAME"], "text"),
        **dict.fromkeys(["LEARNING_RATES", "VALIDATION_IDS", "SEEDS", "GPU_IDS"], [1, 2]),
        **dict.fromkeys(["NAMES", "CLASS_NAMES", "BACKBONES", "OPTIMIZERS"], ["a", "b"]),
        **dict.fromkeys(["KEYPOINT_MASK_SHAPE", "BACKBONE_SHAPES"], [[56, 56]] * 5),
        **dict.fromkeys(["learning_rates", "_SEED", "MY_OWN", "X", ""], 1),
    }
    configure(**own)
    printed = capsys.readouterr()
    assert not printed.err and not printed.out
    configure(**own, NUM_CLASES=2)
    assert "NUM_CLASES is no setting" in capsys.readouterr().err


@given(name=st.sampled_from(SETTINGS), data=st.data())
def test_one_wrong_letter_is_always_found(name: str, data: st.DataObject):
    position = data.draw(st.integers(1, len(name) - 1))
    letter = data.draw(st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ_"))
    length = data.draw(st.sampled_from([0, 1]))
    written = name[:position] + letter + name[position + length :]
    assume(written not in SETTINGS)
    value = getattr(Config, name)
    assert misspelt_setting(written, value) is not None
