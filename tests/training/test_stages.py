"""Training stages, layer groups and schedules."""

from __future__ import annotations

import dataclasses
import re

import keras
import pytest

from mrcnn.training.stages import (
    LAYER_GROUPS,
    Stage,
    epochs,
    layer_regex,
    matching_layers,
    schedule,
    select,
)

BACKBONE = ["conv1", "bn_conv1"] + [f"{kind}{stage}a_branch2a" for stage in range(2, 6)
                                    for kind in ("res", "bn")]  # fmt: skip
RPN = ["rpn_conv_shared", "rpn_class_raw", "rpn_bbox_pred"]
HEADS = ["fpn_c5p5", "fpn_p2", "mrcnn_class_conv1", "mrcnn_class_bn1", "mrcnn_mask"]


def names(layers) -> list[str]:
    return [layer.name for layer in layers]


def from_stage(first: int) -> list[str]:
    return [name for name in BACKBONE if name[:3] == "res" and int(name[3]) >= first
            or name[:2] == "bn" and name[2].isdigit() and int(name[2]) >= first]  # fmt: skip


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """A chain of layers with Matterport's names, and a nested rpn_model."""
    x = image = keras.Input((4, 4, 2), name="input_image")
    for name in BACKBONE + HEADS[:2]:
        layer = keras.layers.BatchNormalization if "bn" in name else keras.layers.Conv2D
        x = layer(name=name)(x) if "bn" in name else layer(2, 1, name=name)(x)
    x = keras.layers.ReLU(name="rpn_relu")(x)
    feature = keras.Input((4, 4, 2))
    shared = keras.layers.Conv2D(2, 3, padding="same", name=RPN[0])(feature)
    outputs = [keras.layers.Conv2D(2, 1, name=name)(shared) for name in RPN[1:]]
    rpn = keras.Model(feature, outputs, name="rpn_model")
    heads = rpn(x) + rpn(keras.layers.MaxPooling2D(1, name="fpn_p6")(x))  # shared by two levels
    for name in HEADS[2:]:
        layer = keras.layers.BatchNormalization if "bn" in name else keras.layers.Conv2D
        x = layer(name=name)(x) if "bn" in name else layer(2, 1, name=name)(x)
    return keras.Model(image, [x, *heads])


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("heads", [*HEADS[:2], *RPN, *HEADS[2:]]),
        ("5+", [*from_stage(5), *HEADS[:2], *RPN, *HEADS[2:]]),
        ("4+", [*from_stage(4), *HEADS[:2], *RPN, *HEADS[2:]]),
        ("3+", [*from_stage(3), *HEADS[:2], *RPN, *HEADS[2:]]),
        ("all", [*BACKBONE, *HEADS[:2], *RPN, *HEADS[2:]]),
        (r"rpn\_class_raw", ["rpn_class_raw"]),
        ("(conv1)|(bn_conv1)", ["conv1", "bn_conv1"]),
        ("rpn_model", RPN),
        ("features+rpn", [*BACKBONE, *HEADS[:2], *RPN]),
        ("features+branches", [*BACKBONE, *HEADS]),
        ("rpn", RPN),
        ("branches", HEADS[2:]),
    ],
)
def test_matching_layers(model, layers, expected):
    assert sorted(names(matching_layers(model, layers))) == sorted(expected)


def test_groups_say_what_matterports_say():
    matterport_4 = r"(res4.*)|(bn4.*)|(res5.*)|(bn5.*)|(mrcnn\_.*)|(rpn\_.*)|(fpn\_.*)"
    for name in (*BACKBONE, *RPN, *HEADS, "ROI", "activation_4", "xres4a", "mrcnnx"):
        ours, theirs = re.fullmatch(LAYER_GROUPS["4+"], name), re.fullmatch(matterport_4, name)
        assert bool(ours) == bool(theirs), name


def test_whole_names_match(model):
    assert names(matching_layers(model, "conv1")) == ["conv1"]


def test_a_regex_that_matches_nothing_is_an_error(model):
    with pytest.raises(ValueError, match="'headz' matches no layer.*heads.*conv1"):
        matching_layers(model, "headz")


@pytest.mark.parametrize("layers", ["(res", "*", None, 5])
def test_an_invalid_regex_is_an_error(layers):
    with pytest.raises(ValueError, match="heads.*regular expression"):
        layer_regex(layers)


def test_layer_regex_passes_a_regex_through():
    assert layer_regex("res5.*") == "res5.*"
    assert layer_regex("all") == ".*"


@pytest.mark.parametrize(
    ("field", "value"),
    [("layers", "("), ("losses", "("), ("losses", "box"), ("learning_rate", 0.0),
     ("learning_rate", float("nan")), ("learning_rate", float("inf")), ("steps", 0),
     ("steps", 1.5)],
)  # fmt: skip
def test_a_stage_checks_its_values(field, value):
    with pytest.raises(ValueError, match=field):
        Stage(**{"layers": "heads", "learning_rate": 1e-3, "steps": 10, field: value})


def test_a_stage_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Stage("heads", 1e-3, 10).steps = 20


@pytest.mark.parametrize(
    ("name", "steps"),
    [("paper-160k", 160_000), ("paper-320k", 320_000), ("paper-640k", 640_000)],
)
def test_schedules_are_the_papers(name, steps):
    stages = schedule(name)
    assert sum(stage.steps for stage in stages) == steps
    assert [stage.layers for stage in stages] == ["heads", "4+", "all"]
    assert [stage.learning_rate for stage in stages] == [1e-3, 1e-3, 1e-4]
    assert [stage.steps for stage in stages[:2]] == [40_000, 80_000]


def test_a_scaled_schedule():
    assert [stage.steps for stage in schedule("paper-160k", 0.01)] == [400, 800, 400]
    assert [stage.steps for stage in schedule("paper-160k", 1e-9)] == [1, 1, 1]
    assert schedule("paper-160k", 2)[0] == Stage("heads", 1e-3, 80_000)


@pytest.mark.parametrize("scale", [0, -1, float("nan"), float("inf")])
def test_a_scale_must_be_positive(scale):
    with pytest.raises(ValueError, match="scale"):
        schedule("paper-160k", scale)


def test_an_unknown_schedule_lists_the_valid_ones():
    with pytest.raises(ValueError, match="paper-160k.*paper-320k.*paper-640k.*'coco'"):
        schedule("coco")


def test_modes():
    stages = schedule("paper-160k")
    assert select(stages, "full") == stages
    assert select(stages, "base") == stages[:2]
    assert select(stages, "fine") == stages[2:]
    with pytest.raises(ValueError, match="full.*'all'"):
        select(stages, "all")
    with pytest.raises(ValueError, match="leaves no stage"):
        select(stages[:1], "base")


def test_epochs_count_on_and_round_up():
    assert epochs(schedule("paper-160k"), 1000) == [40, 120, 160]
    stages = [Stage("heads", 1e-3, 1), Stage("all", 1e-3, 1001), Stage("all", 1e-4, 1000)]
    assert epochs(stages, 1000) == [1, 3, 4]
    assert epochs(stages[1:], 1000, start=7) == [9, 10]
    assert epochs([], 1000) == []
    with pytest.raises(ValueError, match="steps_per_epoch"):
        epochs(stages, 0)


def test_a_random_start_trains_every_layer_from_the_first_step():
    assert {stage.layers for stage in schedule("scratch")} == {"all"}


@pytest.mark.parametrize(("name", "factor"), [("cityscapes-24k", 1), ("cityscapes-48k", 2)])
def test_cityscapes_sees_as_many_images_whatever_the_batch(name: str, factor: int):
    """24k steps of 8 images at 0.01, and at 0.001 from 18k; or twice as many of half the size."""
    first, last = schedule(name)
    assert (first.layers, last.layers) == ("all", "all")
    assert (first.steps, last.steps) == (18_000 * factor, 6_000 * factor)
    assert first.learning_rate * factor == pytest.approx(0.01)
    assert last.learning_rate * factor == pytest.approx(0.001)
