"""torchvision's Mask R-CNN: what its tensors say of the network, and where each of them goes.

The names are those of `state_dict()` of `maskrcnn_resnet50_fpn` and `maskrcnn_resnet50_fpn_v2`, and
of other networks that `MaskRCNN` in torchvision `models/detection/mask_rcnn.py` makes of a ResNet
with `_resnet_fpn_extractor`. Names from before torchvision 0.12, which its published files still
have, are known too (the `_load_from_state_dict` of its `rpn.py`, `mask_rcnn.py` and
`ops/feature_pyramid_network.py`).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from mrcnn.setting_rules.architecture import ARCHITECTURES, TORCHVISION, Architecture
from mrcnn.setting_rules.names import block_letter
from mrcnn.weights.report import WeightsError, abbreviate

# By the name of `Config.BACKBONE`: blocks of the stages, and the shape of the first one's second
# convolution, [out, in / groups, 3, 3].
_BACKBONES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "resnet18": ((2, 2, 2, 2), (64, 64, 3, 3)),
    "resnet34": ((3, 4, 6, 3), (64, 64, 3, 3)),
    "resnet50": ((3, 4, 6, 3), (64, 64, 3, 3)),
    "resnet101": ((3, 4, 23, 3), (64, 64, 3, 3)),
    "resnet152": ((3, 8, 36, 3), (64, 64, 3, 3)),
    "resnext50": ((3, 4, 6, 3), (128, 4, 3, 3)),
    "resnext101": ((3, 4, 23, 3), (256, 8, 3, 3)),
}
_BASIC = ("resnet18", "resnet34")  # blocks of two convolutions
_OLD_NAMES = (
    (
        r"backbone\.fpn\.(inner|layer)_blocks\.(\d+)\.(weight|bias)",
        r"backbone.fpn.\1_blocks.\2.0.\3",
    ),
    (r"rpn\.head\.conv\.(weight|bias)", r"rpn.head.conv.0.0.\1"),
)
_OLD_MASK_NAME = r"roi_heads\.mask_head\.mask_fcn(\d+)\.(weight|bias)"
_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean"}
_NORM["running_var"] = "moving_variance"

Arrays = Mapping[str, np.ndarray]
Change = Callable[[np.ndarray], np.ndarray]


class Network(NamedTuple):
    """What a file's tensors say of their network.

    Attributes:
        architecture: with torchvision's usual epsilon; no tensor tells it.
        settings: of `Config`, by name.
    """

    architecture: Architecture
    settings: dict[str, object]


class Place(NamedTuple):
    """Where a tensor goes."""

    source: str  # its name, today's
    layer: str
    variable: str  # of the layer
    change: Change


def with_current_names(arrays: Arrays) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Tensors under today's names, without what wrappers put before them.

    Returns:
        The arrays, and the name in the file for each of their names.

    Raises:
        WeightsError: two tensors would have one name.
    """
    found: dict[str, np.ndarray] = {}
    names: dict[str, str] = {}
    for name, array in arrays.items():
        new = name.removeprefix("module.")  # of DataParallel
        for old, current in _OLD_NAMES:
            new = re.sub(f"^{old}$", current, new)
        mask = re.fullmatch(_OLD_MASK_NAME, new)
        if mask:
            new = f"roi_heads.mask_head.{int(mask[1]) - 1}.0.{mask[2]}"
        if new in found:
            raise WeightsError(f"expected {new!r} once; received {names[new]!r} and {name!r}.")
        found[new], names[new] = array, name
    return found, names


def network_of(arrays: Arrays, like: Architecture = TORCHVISION) -> Network:
    """The network whose tensors these are.

    Args:
        arrays: under today's names.
        like: an architecture with what no tensor tells.

    Raises:
        WeightsError: they are not those of a Mask R-CNN of torchvision with a known backbone.
    """
    needed = (
        *("backbone.body.conv1.weight", "roi_heads.box_predictor.cls_score.weight"),
        *("roi_heads.mask_predictor.mask_fcn_logits.weight", "rpn.head.cls_logits.weight"),
    )
    missing = [name for name in needed if name not in arrays]
    if missing:
        raise WeightsError(
            "expected the tensors of a Mask R-CNN of torchvision; there is no "
            f"{abbreviate(missing)}. Received {len(arrays)} tensors: "
            f"{abbreviate(sorted(arrays)) or 'none'}."
        )
    backbone = backbone_of(arrays, "backbone.body.")
    convolutions = _count(arrays, r"roi_heads\.box_head\.(\d+)\.0\.")
    dense = [
        name for name in arrays if re.fullmatch(r"roi_heads\.box_head\.(fc\d+|\d+)\.weight", name)
    ]
    found = dataclasses.replace(
        like,
        pyramid_norm="backbone.fpn.inner_blocks.0.1.weight" in arrays,
        rpn_convolutions=_count(arrays, r"rpn\.head\.conv\.(\d+)\.0\."),
        box_convolutions=convolutions,
        box_dense_layers=len(dense),
        box_convolution_norm="roi_heads.box_head.0.1.weight" in arrays,
        mask_norm="roi_heads.mask_head.0.1.weight" in arrays,
    )
    for known in ARCHITECTURES.values():
        if dataclasses.replace(found, name=known.name) == known:
            found = known
    score = arrays["roi_heads.box_predictor.cls_score.weight"]
    settings: dict[str, object] = {
        "BACKBONE": backbone,
        "NUM_CLASSES": int(score.shape[0]),
        "FPN_CLASSIF_FC_LAYERS_SIZE": int(score.shape[-1]),
    }
    return Network(found, settings)


def _count(arrays: Arrays, pattern: str) -> int:
    """How many numbers, from 0 on, names have at the place of a group."""
    return 1 + max(
        (int(match[1]) for name in arrays if (match := re.match(pattern, name))), default=-1
    )


def backbone_of(arrays: Arrays, prefix: str) -> str:
    """The name of `Config.BACKBONE` for the ResNet whose tensors' names begin with a prefix.

    Raises:
        WeightsError: it is none of them.
    """
    blocks = tuple(_count(arrays, rf"{re.escape(prefix)}layer{stage}\.(\d+)\.") for stage in "1234")
    basic = f"{prefix}layer1.0.conv3.weight" not in arrays
    kernel = arrays.get(f"{prefix}layer1.0.conv2.weight")
    shape = None if kernel is None else tuple(kernel.shape)
    for name, (own_blocks, own_shape) in _BACKBONES.items():
        if (blocks, shape, basic) == (own_blocks, own_shape, name in _BASIC):
            return name
    raise WeightsError(
        f"expected one of the backbones {', '.join(_BACKBONES)}; received {blocks} "
        f"{'basic blocks' if basic else 'bottlenecks'} whose second convolution is {shape}."
    )


def places(arrays: Arrays, architecture: Architecture) -> list[Place]:
    """Where the tensors of a network go.

    Args:
        arrays: under today's names, which say how many blocks there are.
        architecture: of `network_of`.
    """
    found: list[Place] = []

    def convolution(source: str, layer: str, *, bias: bool = False) -> None:
        found.append(Place(f"{source}.weight", layer, "kernel", kernel))
        if bias:
            found.append(Place(f"{source}.bias", layer, "bias", np.asarray))

    def normalized(source: str, layer: str, norm_layer: str, has_norm: bool) -> None:
        """`Conv2dNormActivation`: a convolution, and a normalization or a bias."""
        convolution(f"{source}.0", layer, bias=not has_norm)
        if has_norm:
            found.extend(norm_places(f"{source}.1", norm_layer))

    found += body_places(arrays, "backbone.body.")
    for number in range(4):
        level = number + 2
        lateral = "fpn_c5p5" if level == 5 else f"fpn_c{level}p{level}"
        for kind, layer in (("inner", lateral), ("layer", f"fpn_p{level}")):
            source = f"backbone.fpn.{kind}_blocks.{number}"
            normalized(source, layer, f"{layer}_bn", architecture.pyramid_norm)

    for number in range(architecture.rpn_convolutions):
        layer = "rpn_conv_shared" if number == 0 else f"rpn_conv_shared{number + 1}"
        convolution(f"rpn.head.conv.{number}.0", layer, bias=True)
    convolution("rpn.head.cls_logits", "rpn_class_raw", bias=True)
    for variable, change in (("weight", lambda x: kernel(rows_first(x))), ("bias", rows_first)):
        own = "kernel" if variable == "weight" else "bias"
        found.append(Place(f"rpn.head.bbox_pred.{variable}", "rpn_bbox_pred", own, change))

    head = "roi_heads.box_head."
    for number in range(architecture.box_convolutions):
        layer, norm_layer = f"mrcnn_box_conv{number + 1}", f"mrcnn_box_bn{number + 1}"
        normalized(f"{head}{number}", layer, norm_layer, architecture.box_convolution_norm)
    for number in range(architecture.box_dense_layers):
        # Behind the convolutions and `Flatten` every other module is a linear one.
        name = f"fc{6 + number}"
        if architecture.box_convolutions:
            name = str(architecture.box_convolutions + 1 + 2 * number)
        layer = f"mrcnn_class_conv{number + 1}"
        change = pooled_rows if number == 0 else one_cell
        found.append(Place(f"{head}{name}.weight", layer, "kernel", change))
        found.append(Place(f"{head}{name}.bias", layer, "bias", np.asarray))
    predictor = "roi_heads.box_predictor."
    found += [
        Place(f"{predictor}cls_score.weight", "mrcnn_class_logits", "kernel", np.transpose),
        Place(f"{predictor}cls_score.bias", "mrcnn_class_logits", "bias", np.asarray),
        Place(
            f"{predictor}bbox_pred.weight",
            "mrcnn_bbox_fc",
            "kernel",
            lambda x: np.transpose(rows_first(x)),
        ),
        Place(f"{predictor}bbox_pred.bias", "mrcnn_bbox_fc", "bias", rows_first),
    ]

    for number in range(4):
        layer, norm_layer = f"mrcnn_mask_conv{number + 1}", f"mrcnn_mask_bn{number + 1}"
        normalized(f"roi_heads.mask_head.{number}", layer, norm_layer, architecture.mask_norm)
    convolution("roi_heads.mask_predictor.conv5_mask", "mrcnn_mask_deconv", bias=True)
    convolution("roi_heads.mask_predictor.mask_fcn_logits", "mrcnn_mask", bias=True)
    return found


def body_places(arrays: Arrays, prefix: str) -> list[Place]:
    """Where the tensors of a ResNet go.

    Args:
        arrays: which say how many blocks there are.
        prefix: with which the names of its tensors begin.
    """
    found: list[Place] = []
    grouped = backbone_of(arrays, prefix).startswith("resnext")

    def pair(convolution: str, norm: str, layer: str, norm_layer: str) -> None:
        found.append(Place(f"{prefix}{convolution}.weight", layer, "kernel", kernel))
        found.extend(norm_places(f"{prefix}{norm}", norm_layer))

    pair("conv1", "bn1", "conv1", "bn_conv1")
    for stage in range(1, 5):
        for block in range(_count(arrays, rf"{re.escape(prefix)}layer{stage}\.(\d+)\.")):
            source, name = f"layer{stage}.{block}.", f"{stage + 1}{block_letter(block)}_branch"
            for number, branch in enumerate(("2a", "2b", "2c"), start=1):
                if f"{prefix}{source}conv{number}.weight" in arrays or branch != "2c":
                    layer = f"res{name}{branch}" + ("_grouped" * (grouped and branch == "2b"))
                    pair(f"{source}conv{number}", f"{source}bn{number}", layer, f"bn{name}{branch}")
            if f"{prefix}{source}downsample.0.weight" in arrays:
                pair(f"{source}downsample.0", f"{source}downsample.1", f"res{name}1", f"bn{name}1")
    return found


def norm_places(source: str, layer: str) -> list[Place]:
    """Where the tensors of a batch normalization go."""
    return [Place(f"{source}.{theirs}", layer, own, np.asarray) for theirs, own in _NORM.items()]


def kernel(values: np.ndarray) -> np.ndarray:
    """PyTorch's [out, in, height, width], or of a transposed one [in, out, ·, ·], to Keras's."""
    return np.transpose(values, (2, 3, 1, 0))


def rows_first(values: np.ndarray) -> np.ndarray:
    """Deltas (dx, dy, dw, dh) of the first axis, of each class or anchor, to (dy, dx, dh, dw)."""
    grouped = values.reshape(-1, 4, *values.shape[1:])
    return grouped[:, [1, 0, 3, 2]].reshape(values.shape)


def pooled_rows(values: np.ndarray) -> np.ndarray:
    """A matrix [out, channels * 7 * 7] to the kernel [7, 7, channels, out]."""
    return kernel(values.reshape(values.shape[0], -1, 7, 7))


def one_cell(values: np.ndarray) -> np.ndarray:
    """A matrix [out, in] to the kernel [1, 1, in, out]."""
    return np.transpose(values)[None, None]


def why_ignored(name: str) -> str:
    """Why a tensor that has no place is not used."""
    if name.endswith(".num_batches_tracked"):
        return "it counts batches of training, which nothing here needs"
    return "no layer of this network takes it"
