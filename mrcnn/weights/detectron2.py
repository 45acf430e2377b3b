"""Detectron2's Mask R-CNN: its tensors under torchvision's names, and what its config file says.

The names are those of `state_dict()` of a `GeneralizedRCNN` with a ResNet and a feature pyramid
(`modeling/meta_arch/rcnn.py`, `modeling/backbone/resnet.py` and `fpn.py`, `proposal_generator/
rpn.py`, `roi_heads/box_head.py`, `fast_rcnn.py` and `mask_head.py`). What its tensors mean differs
from torchvision's in three things, which are changed here: the background is the last class, boxes
and masks have none of it, and images are blue, green and red.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mrcnn.setting_rules.architecture import DETECTRON2, Architecture
from mrcnn.weights import torchvision
from mrcnn.weights.report import WeightsError, abbreviate
from mrcnn.weights.torchvision import Arrays, Network

_NORM = r"(weight|bias|running_mean|running_var|num_batches_tracked)"
_STEM = "backbone.bottom_up.stem.conv1"
_BODY = r"backbone\.bottom_up\.res(\d)\.(\d+)\."
_FPN = r"backbone\.fpn_(lateral|output)(\d)\."
_RPN = "proposal_generator.rpn_head."
_BOX, _MASK = "roi_heads.box_head.", "roi_heads.mask_head."
_KIND = {"lateral": "inner", "output": "layer"}

# Of a config file: the values that the network here has.
_EXPECTED = {
    "MODEL.META_ARCHITECTURE": "GeneralizedRCNN",
    "MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone",
    "MODEL.RESNETS.RES5_DILATION": "1",
    "MODEL.FPN.FUSE_TYPE": "sum",
    "MODEL.ANCHOR_GENERATOR.OFFSET": "0.0",
    "MODEL.RPN.BBOX_REG_LOSS_TYPE": "smooth_l1",
    "MODEL.RPN.BOUNDARY_THRESH": "-1",
    "MODEL.ROI_HEADS.NAME": "StandardROIHeads",
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": "ROIAlignV2",
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": "7",
    "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": "0",
    "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": "false",
    "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE": "smooth_l1",
    "MODEL.ROI_MASK_HEAD.POOLER_TYPE": "ROIAlignV2",
    "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION": "14",
    "MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO": "0",
    "MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK": "false",
}
# Those that a setting of `Config` is.
_SETTINGS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "INPUT.MIN_SIZE_TEST": ("IMAGE_MIN_DIM", int),
    "INPUT.MAX_SIZE_TEST": ("IMAGE_MAX_DIM", int),
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE": ("RPN_TRAIN_ANCHORS_PER_IMAGE", int),
    "MODEL.RPN.NMS_THRESH": ("RPN_NMS_THRESHOLD", float),
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": ("PRE_NMS_LIMIT_TRAINING", int),
    "MODEL.RPN.PRE_NMS_TOPK_TEST": ("PRE_NMS_LIMIT", int),
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": ("POST_NMS_ROIS_TRAINING", int),
    "MODEL.RPN.POST_NMS_TOPK_TEST": ("POST_NMS_ROIS_INFERENCE", int),
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": ("TRAIN_ROIS_PER_IMAGE", int),
    "MODEL.ROI_HEADS.POSITIVE_FRACTION": ("ROI_POSITIVE_RATIO", float),
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": ("DETECTION_MIN_CONFIDENCE", float),
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": ("DETECTION_NMS_THRESHOLD", float),
    "TEST.DETECTIONS_PER_IMAGE": ("DETECTION_MAX_INSTANCES", int),
}


def is_detectron2(names: Any) -> bool:
    """Whether names are those of Detectron2's tensors."""
    return any(str(name).startswith("backbone.bottom_up.") for name in names)


def with_torchvision_names(
    arrays: Arrays, is_bgr: bool = True
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """A network's tensors under torchvision's names, and with torchvision's meaning.

    Args:
        arrays: by Detectron2's names.
        is_bgr: its images are blue, green and red (`INPUT.FORMAT`).

    Returns:
        The arrays, and the name in the file for each of their names. Those that have no place keep
        their own.

    Raises:
        WeightsError: it is not a Mask R-CNN with a ResNet and a feature pyramid.
    """
    needed = (
        *(f"{_STEM}.weight", f"{_BOX}fc1.weight", "roi_heads.box_predictor.cls_score.weight"),
        *(f"{_MASK}predictor.weight", "backbone.fpn_lateral2.weight"),
    )
    missing = [name for name in needed if name not in arrays]
    if missing:
        raise WeightsError(
            "expected the tensors of a Mask R-CNN of Detectron2 with a ResNet and a feature "
            f"pyramid; there is no {abbreviate(missing)}. Received {len(arrays)} tensors: "
            f"{abbreviate(sorted(arrays))}."
        )
    convolutions = sum(bool(re.fullmatch(rf"{re.escape(_BOX)}conv\d+\.weight", n)) for n in arrays)
    found: dict[str, np.ndarray] = {}
    names: dict[str, str] = {}
    for name, array in arrays.items():
        new = _torchvision_name(name, convolutions) or name
        found[new], names[new] = _changed(new, np.asarray(array), is_bgr), name
    return found, names


def _torchvision_name(name: str, box_convolutions: int) -> str | None:
    """Torchvision's name of a tensor; None: it has none."""
    variable = name.rpartition(".")[2]

    def match(pattern: str) -> re.Match[str] | None:
        return re.fullmatch(pattern, name)

    def normalized(place: str, is_norm: Any) -> str:
        return f"{place}.{1 if is_norm else 0}.{variable}"

    if found := match(rf"{re.escape(_STEM)}\.(norm\.)?{_NORM}"):
        return f"backbone.body.{'bn1' if found[1] else 'conv1'}.{variable}"
    if found := match(rf"{_BODY}(conv(\d)|shortcut)\.(norm\.)?{_NORM}"):
        stage, block, _, number, is_norm, _ = found.groups()
        place = f"backbone.body.layer{int(stage) - 1}.{block}."
        if number is None:
            return normalized(f"{place}downsample", is_norm)
        return f"{place}{'bn' if is_norm else 'conv'}{number}.{variable}"
    if found := match(rf"{_FPN}(norm\.)?{_NORM}"):
        place = f"backbone.fpn.{_KIND[found[1]]}_blocks.{int(found[2]) - 2}"
        return normalized(place, found[3])
    if found := match(rf"{re.escape(_RPN)}conv\.(?:conv(\d+)\.)?(weight|bias)"):
        return f"rpn.head.conv.{found[1] or 0}.0.{variable}"
    if found := match(rf"{re.escape(_RPN)}(objectness_logits|anchor_deltas)\.(weight|bias)"):
        own = {"objectness_logits": "cls_logits", "anchor_deltas": "bbox_pred"}[found[1]]
        return f"rpn.head.{own}.{variable}"
    if found := match(rf"{re.escape(_BOX)}conv(\d+)\.(norm\.)?{_NORM}"):
        return normalized(f"{_BOX}{int(found[1]) - 1}", found[2])
    if found := match(rf"{re.escape(_BOX)}fc(\d+)\.(weight|bias)"):
        number = int(found[1])
        own = str(box_convolutions + 2 * number - 1) if box_convolutions else f"fc{5 + number}"
        return f"{_BOX}{own}.{variable}"
    if found := match(rf"{re.escape(_MASK)}mask_fcn(\d+)\.(norm\.)?{_NORM}"):
        return normalized(f"{_MASK}{int(found[1]) - 1}", found[2])
    if found := match(rf"{re.escape(_MASK)}(deconv|predictor)\.(weight|bias)"):
        own = {"deconv": "conv5_mask", "predictor": "mask_fcn_logits"}[found[1]]
        return f"roi_heads.mask_predictor.{own}.{variable}"
    if match(r"roi_heads\.box_predictor\.(cls_score|bbox_pred)\.(weight|bias)"):
        return name
    return None


def _changed(name: str, array: np.ndarray, is_bgr: bool) -> np.ndarray:
    """A tensor with torchvision's meaning."""
    if name == "backbone.body.conv1.weight" and is_bgr:
        return array[:, ::-1]
    if name.startswith("roi_heads.box_predictor.cls_score."):
        return np.roll(array, 1, axis=0)
    if name.startswith("roi_heads.box_predictor.bbox_pred."):
        return np.concatenate([np.zeros_like(array[:4]), array])
    if name.startswith("roi_heads.mask_predictor.mask_fcn_logits."):
        return np.concatenate([np.zeros_like(array[:1]), array])
    return array


def network_of(arrays: Arrays, config: Mapping[str, Any] | None = None) -> Network:
    """The network whose tensors these are.

    Args:
        arrays: of `with_torchvision_names`.
        config: what its config file holds, as texts; None: that of the model zoo for such tensors.

    Raises:
        WeightsError: there is no such network here, or the file asks for what it has not.
    """
    found = torchvision.network_of(arrays, DETECTRON2)
    settings = dict(found.settings)
    is_resnext = str(settings["BACKBONE"]).startswith("resnext")
    # No tensor tells: the zoo's ResNets come from MSRA, its ResNeXts do not.
    stride_in_3x3 = is_resnext
    if is_resnext:
        settings["STD_PIXEL"] = [58.395, 57.12, 57.375]
    if config is not None:
        stride_in_3x3 = _value(config, "MODEL.RESNETS.STRIDE_IN_1X1", "true").lower() != "true"
        settings |= settings_of(config)
    architecture: Architecture = dataclasses.replace(
        found.architecture, stride_in_3x3=stride_in_3x3
    )
    if architecture != DETECTRON2:
        architecture = dataclasses.replace(architecture, name="detectron2, changed")
    return Network(architecture, settings)


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of `Config` that a config file of Detectron2 asks for.

    Args:
        config: what a `config.yaml` holds that Detectron2's trainer wrote, as texts. What it does
            not hold stays as the model zoo has it.

    Raises:
        WeightsError: it asks for what the network here has not, or is not the whole of one.
    """
    if "_BASE_" in config:
        raise WeightsError(
            "the config file: expected a whole one, such as the config.yaml in the folder of a "
            f"training; received one that begins from another, {config['_BASE_']}."
        )
    for name, expected in _EXPECTED.items():
        value = _value(config, name, expected)
        if not _same(value, expected):
            raise WeightsError(f"the config file: {name}: expected {expected}; received {value}.")
    found = {}
    for name, (setting, kind) in _SETTINGS.items():
        value = _value(config, name, None)
        if value is not None:
            found[setting] = _converted(name, value, kind)
    order = -1 if is_bgr(config) else 1
    for name, setting in (("PIXEL_MEAN", "MEAN_PIXEL"), ("PIXEL_STD", "STD_PIXEL")):
        values = _value(config, f"MODEL.{name}", None)
        if values is not None:
            found[setting] = [_converted(name, value, float) for value in values][::order]
    sizes = _value(config, "MODEL.ANCHOR_GENERATOR.SIZES", None)
    if sizes is not None:
        if len(sizes) != 5 or any(not isinstance(s, list) or len(s) != 1 for s in sizes):
            raise WeightsError(
                "the config file: MODEL.ANCHOR_GENERATOR.SIZES: expected five lists of one size; "
                f"received {sizes}."
            )
        found["RPN_ANCHOR_SCALES"] = tuple(_converted("SIZES", s[0], float) for s in sizes)
    ratios = _value(config, "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", None)
    if ratios is not None:
        if len(ratios) != 1 or not isinstance(ratios[0], list):
            raise WeightsError(
                "the config file: MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS: expected one list, of all "
                f"levels; received {ratios}."
            )
        # Height by width there.
        found["RPN_ANCHOR_RATIOS"] = [1 / _converted("ASPECT_RATIOS", r, float) for r in ratios[0]]
    return found


def is_bgr(config: Mapping[str, Any]) -> bool:
    """Whether a config file's images are blue, green and red.

    Raises:
        WeightsError: they are neither these nor red, green and blue.
    """
    order = _value(config, "INPUT.FORMAT", "BGR")
    if order not in ("BGR", "RGB"):
        raise WeightsError(f"the config file: INPUT.FORMAT: expected BGR or RGB; received {order}.")
    return order == "BGR"


def _value(config: Mapping[str, Any], name: str, default: Any) -> Any:
    """What a file holds under a name with dots, or the default."""
    value: Any = config
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return default
        value = value[part]
    return value


def _same(value: Any, expected: str) -> bool:
    text = str(value).lower()
    try:
        return float(text) == float(expected)
    except ValueError:
        return text == expected.lower()


def _converted(name: str, value: Any, kind: Callable[[str], Any]) -> Any:
    try:
        return kind(str(value))
    except ValueError:
        raise WeightsError(
            f"the config file: {name}: expected a number; received {value!r}."
        ) from None
