"""The settings of the edge agreement loss: what they are made from, and what is refused."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from mrcnn.ops.edge_settings import EdgeSettings


def test_the_default_is_the_recommended_setting():
    settings = EdgeSettings()
    assert settings.filters == ("sobel-x", "sobel-y")
    assert settings.exponent == 2 and settings.entropy_weighting is None
    assert settings.weight_factor == 1 and settings.entropy_divisor == 16
    assert not (settings.smoothing_gt or settings.smoothing_predictions or settings.magnitude)


def test_equal_settings_are_equal_however_they_were_written():
    assert EdgeSettings("sobel") == EdgeSettings(["sobel-x", "sobel-y"], weight_factor=1)
    assert hash(EdgeSettings("sobel")) == hash(EdgeSettings(["sobel-x", "sobel-y"]))
    assert EdgeSettings(norm="l1") != EdgeSettings()


def test_they_do_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        EdgeSettings().norm = "l1"


def test_through_json_and_back():
    settings = EdgeSettings(
        filters="sobel+laplace",
        norm=2.5,
        weight_factor=np.float32(0.25),
        smoothing_gt=True,
        smoothing_predictions=True,
        weight_entropy="exp",
        entropy_divisor=4,
        magnitude=True,
    )
    stored = json.loads(json.dumps(settings.to_dict()))
    assert set(stored) == {field.name for field in dataclasses.fields(EdgeSettings)}
    assert stored["filters"] == ["sobel-x", "sobel-y", "laplace"]
    assert EdgeSettings(**stored) == settings


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"filters": ["sobel", "scharr"]}, "'scharr' is unknown.*laplace"),
        ({"filters": []}, "at least one"),
        ({"norm": "l6"}, "l1, l2, l3, l4, l5"),
        ({"weight_entropy": "yes"}, "'product' or 'exp'"),
        ({"weight_factor": -1.0}, "weight_factor: expected a finite number of at least 0"),
        ({"entropy_divisor": 0}, "entropy_divisor: expected a finite number above 0"),
        ({"filters": "laplace", "magnitude": True}, "sobel, prewitt or roberts"),
        ({"filters": "laplace", "magnitude": "only"}, "sobel, prewitt or roberts"),
        ({"magnitude": "alone"}, "'only'; received 'alone'"),
    ],
)
def test_wrong_settings_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        EdgeSettings(**wrong)
