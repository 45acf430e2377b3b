"""What differs between a network and the weights in a file: backbone, classes, sizes of layers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from mrcnn.weights.report import Shapes, WeightsReport, count_layers

# Layers whose shapes depend on the number of classes: all that it makes sense to leave out.
CLASS_LAYERS = ("mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_mask")
_BACKBONE_LAYER = re.compile(r"(res|bn)\d.*|conv1|bn_conv1")
# (kind of block, number of blocks in stage 4) of the backbones that have names.
_BACKBONES = {
    ("bottleneck", 6): "resnet50",
    ("bottleneck", 23): "resnet101",
    ("bottleneck", 36): "resnet152",
    ("basic", 1): "resnet10",
    ("basic", 2): "resnet18",
    ("basic", 6): "resnet34",
    ("grouped", 6): "resnext50",
    ("grouped", 23): "resnext101",
}
# The setting that the last axis of a layer's first array is.
_WIDTHS = {
    "fpn_c5p5": "TOP_DOWN_PYRAMID_SIZE",
    "rpn_conv_shared": "RPN_CONV_FILTERS",
    "mrcnn_class_conv1": "FPN_CLASSIF_FC_LAYERS_SIZE",
    "mrcnn_mask_conv1": "MASK_CONV_FILTERS",
    "mrcnn_class_logits": "NUM_CLASSES",
}
_ANCHORS = "rpn_class_raw"  # two scores for each of RPN_ANCHOR_RATIOS


def backbone_of(layers: Iterable[str]) -> str | None:
    """The backbone that layer names are those of; None: none of those with a name."""
    names = set(layers)
    blocks = {match[1] for match in map(re.compile(r"res4([a-z]+)_.*").fullmatch, names) if match}
    kind = "bottleneck" if "res4a_branch2c" in names else "basic"
    kind = "grouped" if "res4a_branch2b_grouped" in names else kind
    return _BACKBONES.get((kind, len(blocks)))


def explain(report: WeightsReport, in_file: Iterable[str], in_model: Iterable[str]) -> str:
    """Why shapes differ, and what to do about it, in sentences.

    Args:
        report: of a comparison with layers of other shapes.
        in_file, in_model: names of all layers with weights.
    """
    names = [name for name, _, _ in report.mismatched]
    shapes = "; ".join(
        f"{name}: expected {_text(expected)}, found {_text(found)}"
        for name, expected, found in report.mismatched[:4]
    )
    text = f"{report.path}: {count_layers(names)} of another shape than the model's ({shapes}). "
    if set(names) <= set(CLASS_LAYERS):
        classes = _widths(report).get("NUM_CLASSES")
        counts = f": {classes[0]} in the file, {classes[1]} in the model" if classes else ""
        return (
            f"{text}The number of classes differs, background included{counts}. To start from "
            f"this file with other classes, load with exclude={list(CLASS_LAYERS)}; to detect "
            f"with it, set NUM_CLASSES to the file's.{_settings_beside(report.path)}"
        )
    differences = []
    in_file, in_model = set(in_file), set(in_model)
    backbones = backbone_of(in_file), backbone_of(in_model)
    if backbones[0] != backbones[1] or any(_BACKBONE_LAYER.fullmatch(name) for name in names):
        differences.append(
            f"BACKBONE: {backbones[0] or 'another'} in the file, "
            f"{backbones[1] or 'another'} in the model"
        )
    differences += [
        f"{setting}: {found} in the file, {expected} in the model"
        for setting, (found, expected) in _widths(report).items()
    ]
    what = "; ".join(differences) or "the settings of the network"
    return (
        f"{text}It holds the weights of another network. What differs: {what}. Make the model "
        "with the file's settings. `exclude` does not help here: what it names would stay "
        f"random.{_settings_beside(report.path)}"
    )


def _widths(report: WeightsReport) -> dict[str, tuple[int, int]]:
    """(in the file, in the model) of the settings that layers of other shapes tell."""
    shapes = {name: (expected, found) for name, expected, found in report.mismatched}
    known: dict[str, tuple[int, int]] = {}
    for layer, setting in _WIDTHS.items():
        if layer in shapes:
            known[setting] = _last_axes(shapes[layer])
    if _ANCHORS in shapes:
        found, expected = _last_axes(shapes[_ANCHORS])
        known["number of RPN_ANCHOR_RATIOS"] = (found // 2, expected // 2)
    return {name: pair for name, pair in known.items() if pair[0] != pair[1]}


def _last_axes(shapes: tuple[Shapes, Shapes]) -> tuple[int, int]:
    expected, found = (arrays[0][-1] if arrays and arrays[0] else 0 for arrays in shapes)
    return found, expected


def _settings_beside(path: str) -> str:
    settings = Path(path).parent / "config.json"
    if not settings.is_file():
        return ""
    return (
        f" The settings that it was trained with are in {settings}; mrcnn.load({path!r}) builds "
        "that network."
    )


def _text(shapes: Shapes) -> str:
    return ", ".join(str(shape) for shape in shapes)
