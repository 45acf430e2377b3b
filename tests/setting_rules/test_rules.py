"""Every setting has a rule, what breaks one is refused by name, and what scripts do is not."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Sized
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcnn.config import Config
from mrcnn.setting_rules.counts import STEPS
from mrcnn.setting_rules.relations import RELATIONS
from mrcnn.setting_rules.rules import RULES

SETTINGS = sorted(
    name
    for name, value in vars(Config).items()
    if name.isupper() and not isinstance(value, property)
)


def configure(**settings: Any) -> Config:
    return type("SomeConfig", (Config,), settings)()


# --- The table ---------------------------------------------------------------------------


def test_every_setting_has_one_rule():
    ruled = [name for rule in RULES for name in rule.names]
    assert sorted(ruled) == SETTINGS
    assert {relation.name for relation in RELATIONS} <= set(SETTINGS)


# --- Wrong values ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {"BACKBONE": "resnet26"},
        {"BACKBONE": 50},
        {"IMAGE_RESIZE_MODE": "stretch"},
        {"OPTIMIZER": "adagrad"},
        {"ROI_POOLING": "max"},
        {"RPN_BORDER_ANCHORS": False},
        {"EDGE_LOSS_WEIGHT_FACTOR": -1},
        {"EDGE_LOSS_ENTROPY_DIVISOR": 0},
        {"EDGE_LOSS_SMOOTHING_GT": "maybe"},
        {"UNCERTAINTY_WEIGHTING": "kendall"},
        {"GRADNORM_ALPHA": -0.5},
        {"GRADNORM_RATE": -1},
        {"MASK_SHARE": 1.5},
        {"UNCERTAINTY_WEIGHTING": True, "GRADNORM_ALPHA": 1.5},
        {"MIXED_PRECISION": "float16", "GRADNORM_ALPHA": 1.5},
        {"GPU_COUNT": 0},
        {"IMAGES_PER_GPU": 1.5},
        {"STEPS_PER_EPOCH": -1},
        {"VALIDATION_STEPS": -1},
        {"NUM_CLASSES": 0},
        {"MAX_GT_INSTANCES": True},
        {"SEED": -1},
        {"SEED": 2**32},
        {"RPN_NMS_THRESHOLD": 1.5},
        {"RPN_NEGATIVE_IOU": -0.1},
        {"CROWD_IOU": 2},
        {"RPN_POSITIVE_IOU": 0.5, "RPN_NEGATIVE_IOU": 0.6},
        {"ROI_POSITIVE_RATIO": -0.1},
        {"DETECTION_MIN_CONFIDENCE": 70},
        {"LEARNING_RATE": -1},
        {"LEARNING_RATE": "abc"},
        {"LEARNING_RATE": float("nan")},
        {"LEARNING_MOMENTUM": None},
        {"WEIGHT_DECAY": -1e-4},
        {"WEIGHT_DECAY": 10**400},
        {"EMA_MOMENTUM": 1},
        {"RPN_BBOX_STD_DEV": [0, 0, 0, 0]},
        {"BBOX_STD_DEV": [0.1, 0.1, 0.2]},
        {"BBOX_STD_DEV": ["a", "b", "c", "d"]},
        {"BBOX_STD_DEV": [[0.1], [0.1, 0.2]]},
        {"RPN_ANCHOR_RATIOS": []},
        {"RPN_ANCHOR_RATIOS": [0.5, 0, 2]},
        {"RPN_ANCHOR_RATIOS": 2},
        {"BACKBONE_STRIDES": [4, 8, 16, 32, 0]},
        {"MINI_MASK_SHAPE": (0, 0)},
        {"MINI_MASK_SHAPE": (56, 56, 1)},
        {"MASK_SHAPE": (28, 56)},
        {"MASK_SHAPE": (30, 30)},
        {"MEAN_PIXEL": [1.0, 2.0]},
        {"MEAN_PIXEL": [1.0, 2.0, float("inf")]},
        {"RPN_ANCHOR_SCALES": (8, 16, 32, 64, 128, 256)},
        {"BACKBONE_STRIDES": [4, 8], "RPN_ANCHOR_SCALES": (8, 16, 32)},
        {"BACKBONE_STRIDES": [8, 16, 32, 64, 128]},
        {"RPN_ANCHOR_SCALES": (64, 128), "BACKBONE_STRIDES": [8, 16]},
        {"LOSS_WEIGHTS": {"mask_loss": 1.0}},
        {"LOSS_WEIGHTS": {"mrcnn_mask_loss": "1"}},
        {"LOADER_WORKERS": -3},
        {"LOADER_PROCESSES": "no"},
        {"LOADER_CACHE": True},
        {"LOADER_CACHE": ""},
        {"LOADER_CACHE_GB": 0},
        {"LOADER_TIMEOUT": 0},
        {"CHECKPOINT_STEPS": 0},
        {"CHECKPOINT_STEPS": 2.5},
        {"CHECKPOINT_MINUTES": 0},
        {"CHECKPOINTS_KEPT": 0},
        {"CHECKPOINT_DISK_BUDGET": "2GB"},
        {"CHECKPOINT_METRIC": ""},
        {"LOSS_SPIKE_FACTOR": 1},
        {"IMAGE_MAX_DIM": 1000},
        {"IMAGE_MAX_DIM": None},
        {"IMAGE_MAX_DIM": 512, "IMAGE_MIN_DIM": 800},
        {"IMAGE_RESIZE_MODE": "crop", "IMAGE_MIN_DIM": 100},
        {"IMAGE_RESIZE_MODE": "crop", "IMAGE_MIN_DIM": None},
        {"IMAGE_RESIZE_MODE": "pad64", "IMAGE_PAD_SHAPE": (320, 600)},
        {"IMAGE_RESIZE_MODE": "pad64", "IMAGE_PAD_SHAPE": np.array([320, 600])},
        {"IMAGE_SHAPE_GROUPS": "automatic"},
        {"IMAGE_SHAPE_GROUPS": [(832, 1000)]},
        {"IMAGE_SHAPE_GROUPS": [(832, 1088)]},
        {"IMAGE_SHAPE_GROUPS": [832, 1024]},
        {"IMAGE_SHAPE_GROUPS": "auto", "IMAGE_RESIZE_MODE": "pad64"},
    ],
    ids=lambda changed: "-".join(changed),
)
def test_an_error_names_the_setting_and_both_values(changed: dict):
    name = list(changed)[-1]
    with pytest.raises(ValueError, match=rf"^SomeConfig\.{name}: expected .+; received .+\.$"):
        configure(**changed)


@pytest.mark.parametrize(
    ("changed", "valid"),
    [
        ({"EDGE_LOSS_FILTERS": ["sobel-z"]}, "sobel-x, sobel-y, prewitt-x"),
        ({"EDGE_LOSS_FILTERS": ["sobel", "sobel-x"]}, "each named once"),
        ({"EDGE_LOSS_FILTERS": ["laplace"], "EDGE_LOSS_MAGNITUDE": True}, "sobel, prewitt"),
        ({"EDGE_LOSS_FILTERS": ["laplace"], "EDGE_LOSS_MAGNITUDE": "only"}, "sobel, prewitt"),
        ({"EDGE_LOSS_NORM": "l0"}, "l1, l2, l3"),
        ({"EDGE_LOSS_NORM": 0.5}, "from 1 to 100"),
        ({"EDGE_LOSS_WEIGHT_ENTROPY": "sum"}, "'product' or 'exp'"),
        ({"IMAGE_MAX_DIM": 1000}, "such as 1024"),
        ({"IMAGE_RESIZE_MODE": "none", "IMAGE_PAD_SHAPE": [320, 600]}, "such as 320 x 640"),
        ({"IMAGE_MAX_DIM": 512, "IMAGE_MIN_DIM": 800}, "at most IMAGE_MAX_DIM = 512"),
    ],
)
def test_an_error_says_what_would_be_right(changed: dict, valid: str):
    with pytest.raises(ValueError, match=rf"SomeConfig\.{list(changed)[-1]}: .*{valid}"):
        configure(**changed)


# Values of every kind. Integers start at 2, because 0 and 1 may stand for False and True.
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "none": st.none(),
    "flag": st.booleans() | st.booleans().map(np.bool_),
    "integer": st.integers(2, 10**30) | st.integers(2, 10**6).map(np.int64),
    "number": st.floats(0.1, 10).filter(lambda value: value % 1) | st.just(np.float32(0.3)),
    "text": st.text() | st.sampled_from(["resnet50", "square", "ram", "l2"]),
    "callable": st.sampled_from([len, lambda x: x]),
    "sequence": st.lists(st.integers() | st.none() | st.text()) | st.just(np.zeros(3)),
    "mapping": st.dictionaries(st.text(), st.floats()),
    "path": st.just(Path("folder")),
    "other": st.binary() | st.complex_numbers() | st.builds(object) | st.just(np.zeros((2, 2))),
    "not finite": st.sampled_from([float("nan"), float("inf"), -float("inf"), np.float32("nan")]),
}
# Annotated as Any, for the sake of type checkers; and fractions of steps, which are rounded up.
ANY = {"MASK_SHAPE": {"sequence"}, "ARCHITECTURE": {"text", "mapping"}} | dict.fromkeys(
    STEPS, {"integer", "number"}
)
# Of plain types.
KINDS = {
    type(None): {"none"},
    bool: {"flag"},
    int: {"integer"},
    float: {"integer", "number"},
    str: {"text"},
    dict: {"mapping"},
}


def kinds_of(hint: Any) -> set[str]:
    """The kinds of values that an annotation of Config allows."""
    origin = typing.get_origin(hint) or hint
    if origin in (typing.Union, types.UnionType):
        return set().union(*map(kinds_of, typing.get_args(hint)))
    if origin in KINDS:
        return KINDS[origin]
    if origin is Callable or getattr(origin, "__name__", "") == "Callable":
        return {"callable"}
    return {getattr(origin, "__name__", str(origin))}


NAMED_KINDS = {"Sequence": "sequence", "ndarray": "sequence", "Mapping": "mapping"}
NAMED_KINDS |= {"PathLike": "path"}
HINTS = typing.get_type_hints(Config)
ALLOWED = {
    name: ANY.get(name) or {NAMED_KINDS.get(kind, kind) for kind in kinds_of(HINTS[name])}
    for name in SETTINGS
}


def test_the_annotations_are_understood():
    assert set().union(*ALLOWED.values()) <= VALUES.keys()
    assert ALLOWED["LEARNING_RATE"] == {"integer", "number"}
    assert ALLOWED["BACKBONE"] == {"text", "callable"}
    assert ALLOWED["LOADER_CACHE"] == {"none", "text", "path"}


@pytest.mark.parametrize("name", SETTINGS)
@given(data=st.data())
@settings(max_examples=20)
def test_a_value_of_a_wrong_type_is_refused_by_name(name: str, data: st.DataObject):
    kind = data.draw(st.sampled_from(sorted(VALUES.keys() - ALLOWED[name])))
    value = data.draw(VALUES[kind])
    with pytest.raises(ValueError, match=rf"^SomeConfig\.{name}: expected (.|\n)+; received"):
        configure(**{name: value})


SEQUENCES = sorted(name for name in SETTINGS if "sequence" in ALLOWED[name])


@pytest.mark.parametrize("name", SEQUENCES)
@given(data=st.data())
@settings(max_examples=20)
def test_so_is_a_sequence_with_a_wrong_element(name: str, data: st.DataObject):
    right = getattr(Config, name)
    elements = list(right) if isinstance(right, Sized) and len(right) else [(1024, 768)]
    wrong = VALUES["none"] | VALUES["other"] | VALUES["not finite"] | st.sampled_from(["x", [[]]])
    elements[data.draw(st.integers(0, len(elements) - 1))] = data.draw(wrong)
    with pytest.raises(ValueError, match=rf"^SomeConfig\.{name}: expected (.|\n)+; received"):
        configure(**{name: elements})


# --- Right values ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {"GRADIENT_CLIP_NORM": None},
        {"GRADIENT_CLIP_NORM": 0},
        {"MEAN_PIXEL": np.array([127.5]), "IMAGE_CHANNEL_COUNT": 5},
        {"MEAN_PIXEL": 127.5},
        {"MEAN_PIXEL": [126, 126, 126]},
        {"MEAN_PIXEL": np.zeros(6), "IMAGE_CHANNEL_COUNT": 6},
        {"MASK_SHAPE": [56, 56]},
        {"MASK_SHAPE": np.array([28, 28])},
        {"TRAIN_BN": None},
        {"TRAIN_BN": 1},
        {"USE_MINI_MASK": False},
        {"USE_MINI_MASK": 0},
        {"USE_MINI_MASK": np.bool_(True)},
        {"MINI_MASK_SHAPE": [100, 120]},
        {"NUM_CLASSES": np.int64(3)},
        {"LEARNING_RATE": np.float32(0.01)},
        {"LEARNING_RATE": 1},
        {"DETECTION_MIN_CONFIDENCE": 0},
        {"IMAGE_MIN_SCALE": 2},
        {"IMAGE_MIN_SCALE": None},
        {"IMAGE_MIN_DIM": None},
        {"IMAGE_MIN_DIM": 0},
        {"IMAGE_RESIZE_MODE": "crop", "IMAGE_MIN_DIM": 2048},
        {"IMAGE_RESIZE_MODE": "pad64", "IMAGE_MIN_DIM": 1280},
        {"IMAGE_RESIZE_MODE": "none", "IMAGE_PAD_SHAPE": np.array([320, 640])},
        {"IMAGE_MIN_DIM": 256, "IMAGE_MAX_DIM": 384},
        {"RPN_ANCHOR_SCALES": tuple(np.array([8, 16, 32, 64, 128]) * 1.5)},
        {"RPN_ANCHOR_SCALES": np.array([8, 16, 32, 64, 128])},
        {"RPN_ANCHOR_SCALES": (8, 16, 32, 64)},
        {"RPN_ANCHOR_SCALES": [64]},
        {"RPN_ANCHOR_SCALES": (8, 16, 32, 64), "BACKBONE_STRIDES": [4, 8, 16, 32]},
        {"RPN_ANCHOR_RATIOS": (0.5, 3, 5)},
        {"RPN_ANCHOR_RATIOS": np.array([0.5, 1.0])},
        {"BACKBONE_STRIDES": (4, 8, 16, 32, 64)},
        {"RPN_BBOX_STD_DEV": [0.1, 0.1, 0.2, 0.2], "BBOX_STD_DEV": (1, 1, 1, 1)},
        {"RPN_POSITIVE_IOU": 0.5, "RPN_NEGATIVE_IOU": 0.5},
        {"LOSS_WEIGHTS": {"rpn_class_loss": 1, "mrcnn_mask_loss": np.float64(2)}},
        {"LOSS_WEIGHTS": {}},
        {"VALIDATION_STEPS": 0},
        {"LOADER_WORKERS": 0},
        {"LOADER_CACHE": Path("cache")},
        {"OPTIMIZER": staticmethod(len)},
        {"EDGE_LOSS_FILTERS": "sobel"},
        {"EDGE_LOSS_FILTERS": np.array(["sobel-x", "sobel-y"]), "EDGE_LOSS_MAGNITUDE": True},
        {"EDGE_LOSS_NORM": 3},
        {"EDGE_LOSS_NORM": "2.5"},
        {"JIT_COMPILE": False},
        {"SEED": np.int32(7)},
    ],
    ids=lambda changed: "-".join(changed),
)
def test_what_scripts_set_is_accepted(changed: dict):
    config = configure(**changed)
    assert all(getattr(config, name) is not None or changed[name] is None for name in changed)


def test_a_callable_backbone_needs_its_shapes():
    def backbone(image, stage5, train_bn):
        return None

    with pytest.raises(ValueError, match="SomeConfig.COMPUTE_BACKBONE_SHAPE: .*BACKBONE is one"):
        configure(BACKBONE=staticmethod(backbone))
    config = configure(BACKBONE=staticmethod(backbone), COMPUTE_BACKBONE_SHAPE=staticmethod(len))
    assert config.BACKBONE is backbone


def test_a_setting_may_be_a_property():
    class Halved(Config):
        IMAGE_MAX_DIM = 512

        @property
        def IMAGE_MIN_DIM(self):  # noqa: N802
            return self.IMAGE_MAX_DIM // 2

    assert Halved().IMAGE_MIN_DIM == 256
