"""Config: Matterport's defaults, derived settings, and errors that name the setting."""

from __future__ import annotations

import io

import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.ops.edge_settings import EdgeSettings

DEFAULTS = {
    "NAME": None,
    "GPU_COUNT": 1,
    "IMAGES_PER_GPU": 2,
    "STEPS_PER_EPOCH": 1000,
    "VALIDATION_STEPS": 50,
    "BACKBONE": "resnet101",
    "COMPUTE_BACKBONE_SHAPE": None,
    "BACKBONE_STRIDES": [4, 8, 16, 32, 64],
    "FPN_CLASSIF_FC_LAYERS_SIZE": 1024,
    "TOP_DOWN_PYRAMID_SIZE": 256,
    "NUM_CLASSES": 1,
    "RPN_ANCHOR_SCALES": (32, 64, 128, 256, 512),
    "RPN_ANCHOR_RATIOS": [0.5, 1, 2],
    "RPN_ANCHOR_STRIDE": 1,
    "RPN_NMS_THRESHOLD": 0.7,
    "RPN_TRAIN_ANCHORS_PER_IMAGE": 256,
    "PRE_NMS_LIMIT": 6000,
    "POST_NMS_ROIS_TRAINING": 2000,
    "POST_NMS_ROIS_INFERENCE": 1000,
    "USE_MINI_MASK": True,
    "MINI_MASK_SHAPE": (56, 56),
    "IMAGE_RESIZE_MODE": "square",
    "IMAGE_MIN_DIM": 800,
    "IMAGE_MAX_DIM": 1024,
    "IMAGE_MIN_SCALE": 0,
    "IMAGE_CHANNEL_COUNT": 3,
    "MEAN_PIXEL": [123.7, 116.8, 103.9],
    "TRAIN_ROIS_PER_IMAGE": 200,
    "ROI_POSITIVE_RATIO": 0.33,
    "POOL_SIZE": 7,
    "MASK_POOL_SIZE": 14,
    "MASK_SHAPE": [28, 28],
    "MAX_GT_INSTANCES": 100,
    "RPN_BBOX_STD_DEV": [0.1, 0.1, 0.2, 0.2],
    "BBOX_STD_DEV": [0.1, 0.1, 0.2, 0.2],
    "DETECTION_MAX_INSTANCES": 100,
    "DETECTION_MIN_CONFIDENCE": 0.7,
    "DETECTION_NMS_THRESHOLD": 0.3,
    "LEARNING_RATE": 0.001,
    "LEARNING_MOMENTUM": 0.9,
    "WEIGHT_DECAY": 0.0001,
    "USE_RPN_ROIS": True,
    "TRAIN_BN": False,
    "GRADIENT_CLIP_NORM": 5.0,
    # The Edge Agreement Head's.
    "EDGE_LOSS_FILTERS": [],
    "EDGE_LOSS_NORM": "l2",
    "EDGE_LOSS_WEIGHT_FACTOR": 1.0,
    "EDGE_LOSS_SMOOTHING_GT": False,
    "EDGE_LOSS_SMOOTHING_PREDICTIONS": False,
    "EDGE_LOSS_WEIGHT_ENTROPY": False,
    "RUN_NAME": None,
    # Derived.
    "BATCH_SIZE": 2,
    "IMAGE_SHAPE": [1024, 1024, 3],
    "IMAGE_META_SIZE": 13,
}


def configure(**settings) -> Config:
    return type("SomeConfig", (Config,), settings)()


@pytest.mark.parametrize("name", DEFAULTS)
def test_the_defaults_are_matterports(name: str):
    value, expected = getattr(Config(), name), DEFAULTS[name]
    if isinstance(expected, (list, tuple)):
        assert list(value) == list(expected)
        # A list can be compared with a list, and added to one.
        assert type(value) in (type(expected), np.ndarray)
    else:
        assert value == expected and type(value) is type(expected)


def test_every_loss_weighs_one():
    names = ["rpn_class_loss", "rpn_bbox_loss", "mrcnn_class_loss", "mrcnn_bbox_loss"]
    weights = Config().LOSS_WEIGHTS
    assert set(weights) >= {*names, "mrcnn_mask_loss"} and set(weights.values()) == {1.0}


def test_derived_settings_follow():
    config = configure(
        GPU_COUNT=2, IMAGES_PER_GPU=3, NUM_CLASSES=81, IMAGE_MIN_DIM=512, IMAGE_MAX_DIM=512
    )
    assert config.BATCH_SIZE == 6
    assert config.IMAGE_META_SIZE == 1 + 3 + 3 + 4 + 1 + 81
    np.testing.assert_array_equal(config.IMAGE_SHAPE, [512, 512, 3])
    assert config.POSITIVE_ROIS_PER_IMAGE == 66


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"IMAGE_RESIZE_MODE": "crop", "IMAGE_MIN_DIM": 256}, [256, 256]),
        ({"IMAGE_RESIZE_MODE": "pad64", "IMAGE_PAD_SHAPE": (320, 640)}, [320, 640]),
        ({"IMAGE_RESIZE_MODE": "none", "IMAGE_PAD_SHAPE": (320, 640)}, [320, 640]),
        ({"IMAGE_RESIZE_MODE": "pad64", "IMAGE_MAX_DIM": 640}, [640, 640]),
        ({"IMAGE_RESIZE_MODE": "square", "IMAGE_PAD_SHAPE": (320, 640)}, [1024, 1024]),
    ],
)
def test_the_image_shape_follows_the_resize_mode(settings: dict, expected: list[int]):
    assert list(configure(**settings).IMAGE_SHAPE[:2]) == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, None),
        ({"IMAGE_SHAPE_GROUPS": []}, ((1024, 1024),)),
        (
            {"IMAGE_SHAPE_GROUPS": [[1024, 832], [832, 1024]]},
            ((832, 1024), (1024, 832), (1024, 1024)),
        ),
        (
            {"IMAGE_SHAPE_GROUPS": "auto"},
            ((704, 1024), (1024, 704), (768, 1024), (1024, 768), (1024, 1024)),
        ),
        (
            {"IMAGE_SHAPE_GROUPS": "auto", "IMAGE_MIN_DIM": 64, "IMAGE_MAX_DIM": 64},
            ((64, 64),),
        ),
    ],
)
def test_groups_of_shapes_have_the_square_beside_them(settings, expected):
    assert configure(**settings).INPUT_SHAPES == expected


def test_attributes_of_ones_own_are_welcome():
    config = configure(NAME="nucleus", MY_OWN=7)
    config.EXTRA = "later"
    assert config.MY_OWN == 7
    assert config.to_dict()["MY_OWN"] == 7 and config.to_dict()["EXTRA"] == "later"
    assert not hasattr(Config, "MY_OWN")


def test_to_dict_holds_every_setting_sorted():
    settings = Config().to_dict()
    assert set(DEFAULTS) <= set(settings) and list(settings) == sorted(settings)
    assert all(name.isupper() for name in settings)


def test_display_prints_every_setting(capsys: pytest.CaptureFixture):
    config = configure(NAME="shapes", MY_OWN=7)
    config.display()
    printed = capsys.readouterr().out
    file = io.StringIO()
    config.display(file=file)
    assert file.getvalue() == printed
    lines = {line.split()[0]: line for line in printed.splitlines() if line.strip()}
    assert set(config.to_dict()) <= set(lines)
    assert lines["NAME"].split()[1] == "shapes" and lines["MY_OWN"].split()[1] == "7"


def test_the_edge_settings_as_one_value():
    assert Config().edge_settings() is None
    chosen = {
        "filters": ("sobel-x", "sobel-y", "laplace"),
        "norm": "l3",
        "weight_factor": 0.5,
        "smoothing_gt": True,
        "smoothing_predictions": True,
        "weight_entropy": "exp",
        "entropy_divisor": 4.0,
        "magnitude": True,
    }
    names = {f"EDGE_LOSS_{name.upper()}": value for name, value in chosen.items()}
    config = type("Edges", (Config,), names)()
    assert config.edge_settings() == EdgeSettings(**chosen)
    assert "edge_settings" not in config.to_dict()
