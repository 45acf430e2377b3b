"""Classifiers trained on ImageNet: what their tensors say, and where those of the backbone go.

Two families: PyTorch's names, which torchvision and timm share (`conv1`, `layer1.0.conv1`, `fc`),
and those of Keras's applications (`conv1_conv`, `conv2_block1_1_conv`), whose convolutions have
biases and the stride in the first 1x1 convolution (Keras `applications/resnet.py`,
`residual_block_v1`). Both pad alike on all sides, unlike Matterport's network.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mrcnn.setting_rules.architecture import MATTERPORT, TORCHVISION
from mrcnn.setting_rules.names import block_letter
from mrcnn.weights.report import WeightsError
from mrcnn.weights.torchvision import Arrays, Network, Place, backbone_of, body_places

# Keras's applications subtract ImageNet's mean from bytes, and put blue first
# (`applications/imagenet_utils.py`, mode "caffe"). Here red is first, in their weights too.
KERAS_RESNET = dataclasses.replace(
    MATTERPORT, name="keras_applications", norm_epsilon=1.001e-5, symmetric_padding=True
)
_KERAS_MEAN = [123.68, 116.779, 103.939]
_KERAS_BLOCKS = {(3, 4, 6, 3): "resnet50", (3, 4, 23, 3): "resnet101", (3, 8, 36, 3): "resnet152"}
_KERAS_BLOCK = re.compile(r"conv([2-5])_block(\d+)_([0-3])_(conv|bn)")
_KERAS_NORM = ("gamma", "beta", "moving_mean", "moving_variance")


def is_pytorch_classifier(arrays: Arrays) -> bool:
    """Whether names are those of a ResNet of torchvision or timm."""
    return "conv1.weight" in arrays and "layer1.0.conv1.weight" in arrays


def is_keras_classifier(layers: Sequence[str]) -> bool:
    """Whether layer names are those of a ResNet of Keras's applications."""
    return "conv1_conv" in layers and "conv2_block1_1_conv" in layers


def pytorch_network(arrays: Arrays) -> Network:
    """The architecture whose backbone has these tensors: torchvision's.

    Raises:
        WeightsError: no backbone of `Config.BACKBONE` has them.
    """
    return Network(TORCHVISION, {"BACKBONE": backbone_of(arrays, "")})


def pytorch_places(arrays: Arrays) -> list[Place]:
    """Where the tensors of a ResNet of torchvision or timm go."""
    return body_places(arrays, "")


def keras_network(layers: Sequence[str]) -> Network:
    """The architecture whose backbone has these layers of Keras's applications.

    Raises:
        WeightsError: no backbone of `Config.BACKBONE` has them.
    """
    matches = [match for match in map(_KERAS_BLOCK.fullmatch, layers) if match]
    blocks = tuple(
        max((int(match[2]) for match in matches if match[1] == stage), default=0)
        for stage in "2345"
    )
    if blocks not in _KERAS_BLOCKS or "conv2_block1_0_conv" not in layers:
        raise WeightsError(
            f"expected a ResNet of Keras's applications, {', '.join(_KERAS_BLOCKS.values())} (not "
            f"of version 2); received {blocks} blocks."
        )
    settings: dict[str, Any] = {"BACKBONE": _KERAS_BLOCKS[blocks], "MEAN_PIXEL": _KERAS_MEAN}
    return Network(KERAS_RESNET, settings)


def keras_arrays(layers: Mapping[str, Sequence[np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays of a file by layer/variable.

    Args:
        layers: the arrays of each layer, in their order.
    """
    found = {}
    for layer, arrays in layers.items():
        names = _KERAS_NORM if layer.endswith("_bn") else ("kernel", "bias")
        numbered = names if len(arrays) <= len(names) else map(str, range(len(arrays)))
        found.update(
            {f"{layer}/{name}": array for name, array in zip(numbered, arrays, strict=False)}
        )
    return found


def keras_places(layers: Sequence[str]) -> list[Place]:
    """Where the arrays of the layers go; sources are called layer/variable."""
    found = [
        Place("conv1_conv/kernel", "conv1", "kernel", red_first),
        Place("conv1_conv/bias", "conv1", "bias", np.asarray),
        *(Place(f"conv1_bn/{name}", "bn_conv1", name, np.asarray) for name in _KERAS_NORM),
    ]
    for layer in layers:
        match = _KERAS_BLOCK.fullmatch(layer)
        if not match:
            continue
        stage, block, number, kind = match.groups()
        branch = {"0": "1", "1": "2a", "2": "2b", "3": "2c"}[number]
        own = "res" if kind == "conv" else "bn"
        own += f"{stage}{block_letter(int(block) - 1)}_branch{branch}"
        variables = ("kernel", "bias") if kind == "conv" else _KERAS_NORM
        found += [Place(f"{layer}/{name}", own, name, np.asarray) for name in variables]
    return found


def red_first(values: np.ndarray) -> np.ndarray:
    """A kernel [height, width, 3, out] that takes blue first, as one that takes red first."""
    return values[:, :, ::-1]


def why_ignored(name: str) -> str:
    """Why a tensor that has no place is not used."""
    if re.match(r"(fc|head|predictions)\b", name):
        return "it is of the classifier, which a detector does not have"
    if name.endswith(".num_batches_tracked"):
        return "it counts batches of training, which nothing here needs"
    return "no layer of this backbone takes it"
