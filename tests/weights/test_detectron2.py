"""Detectron2's tensors and config files: where they go, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from mrcnn.setting_rules.architecture import DETECTRON2
from mrcnn.weights import detectron2, torchvision
from mrcnn.weights.report import WeightsError
from tests.detectron2_tensors import CLASSES, fixture


def arrays(name: str = "plain") -> dict[str, np.ndarray]:
    """Zeros: as many as a network has, and in no memory."""
    shapes = fixture(name).shapes
    return {key: np.broadcast_to(np.float32(0), shape) for key, shape in shapes.items()}


@pytest.mark.parametrize("name", ["plain", "normed"])
def test_every_tensor_has_a_place(name: str):
    given = arrays(name)
    current, names = detectron2.with_torchvision_names(given)
    found = detectron2.network_of(current)
    places = torchvision.places(current, found.architecture)
    assert {names[place.source] for place in places} == given.keys()
    assert found.settings["NUM_CLASSES"] == CLASSES + 1
    assert found.settings["BACKBONE"] == {"plain": "resnet50", "normed": "resnet18"}[name]
    assert detectron2.is_detectron2(given) and not detectron2.is_detectron2(current)


def test_classes_and_colors_change_their_places():
    given = arrays()
    score, mask = "roi_heads.box_predictor.cls_score.bias", "roi_heads.mask_head.predictor.bias"
    box, stem = "roi_heads.box_predictor.bbox_pred.bias", "backbone.bottom_up.stem.conv1.weight"
    given[score], given[mask] = np.arange(5.0), np.arange(1.0, 5.0)
    given[box], given[stem] = np.arange(16.0), np.random.default_rng(0).normal(size=(64, 3, 7, 7))
    found, names = detectron2.with_torchvision_names(given)
    by_source = {source: found[name] for name, source in names.items()}
    assert by_source[score].tolist() == [4, 0, 1, 2, 3]
    assert by_source[mask].tolist() == [0, 1, 2, 3, 4]
    assert by_source[box].tolist() == [0] * 4 + list(range(16))
    np.testing.assert_array_equal(by_source[stem], given[stem][:, [2, 1, 0]])
    kept, _ = detectron2.with_torchvision_names(given, is_bgr=False)
    np.testing.assert_array_equal(kept["backbone.body.conv1.weight"], given[stem])


def test_other_networks_are_refused_by_what_they_lack():
    given = arrays()
    del given["roi_heads.mask_head.predictor.weight"]
    with pytest.raises(WeightsError, match=r"there is no roi_heads\.mask_head\.predictor\.weight"):
        detectron2.with_torchvision_names(given)


def of_config(config) -> detectron2.Network:
    return detectron2.network_of(detectron2.with_torchvision_names(arrays())[0], config)


def test_a_config_file_says_what_no_tensor_tells():
    assert of_config(None).architecture is DETECTRON2 or of_config(None).architecture == DETECTRON2
    found = of_config(
        {
            "INPUT": {"FORMAT": "RGB", "MIN_SIZE_TEST": "640", "MAX_SIZE_TEST": "1000"},
            "MODEL": {
                "PIXEL_MEAN": ["1.5", "2", "3"],
                "RESNETS": {"STRIDE_IN_1X1": "false"},
                "ROI_HEADS": {"SCORE_THRESH_TEST": "0.2"},
                "ANCHOR_GENERATOR": {
                    "SIZES": [["16"], ["32"], ["64"], ["128"], ["256"]],
                    "ASPECT_RATIOS": [["0.5", "1.0", "4.0"]],
                },
            },
            "TEST": {"DETECTIONS_PER_IMAGE": "50"},
        }
    )
    assert found.architecture.stride_in_3x3 and found.architecture.name == "detectron2, changed"
    expected = {
        "IMAGE_MIN_DIM": 640,
        "IMAGE_MAX_DIM": 1000,
        "MEAN_PIXEL": [1.5, 2, 3],
        "DETECTION_MIN_CONFIDENCE": 0.2,
        "DETECTION_MAX_INSTANCES": 50,
        "RPN_ANCHOR_SCALES": (16, 32, 64, 128, 256),
        "RPN_ANCHOR_RATIOS": [2, 1, 0.25],
    }
    assert expected.items() <= found.settings.items()
    in_bgr = of_config({"MODEL": {"PIXEL_MEAN": ["1", "2", "3"]}})
    assert in_bgr.settings["MEAN_PIXEL"] == [3, 2, 1]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"MODEL": {"META_ARCHITECTURE": "RetinaNet"}}, "META_ARCHITECTURE: expected Generalized"),
        ({"MODEL": {"ROI_BOX_HEAD": {"POOLER_TYPE": "ROIPool"}}}, "POOLER_TYPE: .* received ROIP"),
        ({"MODEL": {"ROI_BOX_HEAD": {"CLS_AGNOSTIC_BBOX_REG": "true"}}}, "CLS_AGNOSTIC_BBOX_REG"),
        ({"MODEL": {"RESNETS": {"RES5_DILATION": "2"}}}, "RES5_DILATION: expected 1; received 2"),
        ({"MODEL": {"ANCHOR_GENERATOR": {"SIZES": [["32", "64"]]}}}, "SIZES: expected five lists"),
        ({"MODEL": {"ANCHOR_GENERATOR": {"ASPECT_RATIOS": [["1"], ["2"]]}}}, "ASPECT_RATIOS"),
        ({"INPUT": {"FORMAT": "YUV"}}, "INPUT.FORMAT: expected BGR or RGB; received YUV"),
        ({"INPUT": {"MIN_SIZE_TEST": "large"}}, "MIN_SIZE_TEST: expected a number"),
        ({"_BASE_": "../Base.yaml"}, "expected a whole one"),
    ],
)
def test_what_this_network_has_not_is_refused_by_name(config, words: str):
    with pytest.raises(WeightsError, match=f"the config file: .*{words}|{words}"):
        of_config(config)
