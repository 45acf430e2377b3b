"""What a setting may be beside the others, asked only where every setting follows its own rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mrcnn.ops.edge_filters import (
    gradient_pairs,
)
from mrcnn.setting_rules.names import (
    IMAGE_SIDE_MULTIPLE,
    PYRAMID_STRIDES,
)
from mrcnn.setting_rules.values import (
    accepted_by,
    is_sequence,
    is_side,
    is_text,
    next_side,
)

if TYPE_CHECKING:
    from mrcnn.config import Config


class Relation(NamedTuple):
    """What a setting may be beside others; asked only where every setting fits its own rule."""

    name: str
    check: Callable[[Config], bool]
    expected: Callable[[Config], str]


def side_setting(config: Config) -> str:
    """The setting that gives the height and width of the network's images."""
    if config.IMAGE_RESIZE_MODE == "crop":
        return "IMAGE_MIN_DIM"
    if config.IMAGE_RESIZE_MODE in ("pad64", "none") and config.IMAGE_PAD_SHAPE is not None:
        return "IMAGE_PAD_SHAPE"
    return "IMAGE_MAX_DIM"


def _gives_sides(name: str) -> Relation:
    def sides(config: Config) -> list[Any]:
        value = getattr(config, name)
        return list(value) if is_sequence(value) else [value]

    def check(config: Config) -> bool:
        if side_setting(config) != name or config.IMAGE_RESIZE_MODE == "pad32":
            return True
        return all(map(is_side, sides(config)))

    def expected(config: Config) -> str:
        such = " x ".join(str(next_side(side or IMAGE_SIDE_MULTIPLE)) for side in sides(config))
        return (
            f"sides that divide by {IMAGE_SIDE_MULTIPLE}, such as {such}, because the feature "
            "pyramid halves the image six times"
        )

    return Relation(name, check, expected)


def _dimensions_in_order(config: Config) -> bool:
    return config.IMAGE_RESIZE_MODE not in ("square", "pad32") or not (
        config.IMAGE_MIN_DIM and config.IMAGE_MIN_DIM > config.IMAGE_MAX_DIM
    )


def _mask_sides(config: Config) -> tuple[int, int]:
    return 2 * config.MASK_POOL_SIZE, 4 * config.MASK_POOL_SIZE


def _fits_the_square(config: Config) -> bool:
    groups = config.IMAGE_SHAPE_GROUPS
    if groups is None or isinstance(groups, str):
        return True
    return all(max(shape) <= config.IMAGE_MAX_DIM for shape in groups)


def _jitters(config: Config) -> bool:
    return config.IMAGE_MIN_DIM_RANGE is not None or config.IMAGE_SCALE_RANGE is not None


def _window_is_within(config: Config) -> bool:
    """Whether every drawn image of the mode "crop" is at least as large as its window."""
    drawn = config.IMAGE_MIN_DIM_RANGE
    if drawn is None or config.IMAGE_RESIZE_MODE != "crop":
        return True
    return drawn[0] >= (config.IMAGE_MIN_DIM or 0)


def _drawn_sides_fit(config: Config) -> bool:
    drawn = config.IMAGE_MIN_DIM_RANGE
    if drawn is None or config.IMAGE_RESIZE_MODE == "crop":
        return True
    return drawn[1] <= _shorter_side(config)


def _shorter_side(config: Config) -> int:
    """Of the network's image."""
    sides = getattr(config, side_setting(config))
    return min(sides) if is_sequence(sides) else sides


def _are_the_pyramids(config: Config) -> bool:
    """Whether the strides are those of the network, where it is known."""
    if not is_text(config.BACKBONE) or config.COMPUTE_BACKBONE_SHAPE is not None:
        return True
    strides = tuple(config.BACKBONE_STRIDES)
    return strides == PYRAMID_STRIDES[: len(strides)]


def _has_gradient_pair(config: Config) -> bool:
    filters = config.EDGE_LOSS_FILTERS
    if not config.EDGE_LOSS_MAGNITUDE or not len(filters):
        return True
    return accepted_by(gradient_pairs)(filters)


RELATIONS = (
    Relation(
        "COMPUTE_BACKBONE_SHAPE",
        lambda config: is_text(config.BACKBONE) or config.COMPUTE_BACKBONE_SHAPE is not None,
        lambda config: "a callable, because BACKBONE is one",
    ),
    Relation(
        "MASK_SHAPE",
        lambda config: any(
            config.MASK_SHAPE[0] == config.MASK_SHAPE[1] == side for side in _mask_sides(config)
        ),
        lambda config: (
            f"twice or four times MASK_POOL_SIZE = {config.MASK_POOL_SIZE}, such as "
            f"{(2 * config.MASK_POOL_SIZE,) * 2}"
        ),
    ),
    Relation(
        "MEAN_PIXEL",
        lambda config: np.size(config.MEAN_PIXEL) in (1, config.IMAGE_CHANNEL_COUNT),
        lambda config: (
            f"one value for each of IMAGE_CHANNEL_COUNT = {config.IMAGE_CHANNEL_COUNT} channels"
        ),
    ),
    Relation(
        "STD_PIXEL",
        lambda config: (
            config.STD_PIXEL is None or np.size(config.STD_PIXEL) in (1, config.IMAGE_CHANNEL_COUNT)
        ),
        lambda config: (
            f"None, or one value for each of IMAGE_CHANNEL_COUNT = {config.IMAGE_CHANNEL_COUNT} "
            "channels"
        ),
    ),
    Relation(
        "IMAGE_RESIZE_MODE",
        lambda config: config.IMAGE_RESIZE_MODE != "pad32" or bool(config.IMAGE_MIN_DIM),
        lambda config: '"pad32" with an IMAGE_MIN_DIM above 0, to which it scales',
    ),
    Relation(
        "BACKBONE_STRIDES",
        _are_the_pyramids,
        lambda config: (
            f"{list(PYRAMID_STRIDES)}, the strides of the feature pyramid's levels, or the first "
            "of them (RPN_ANCHOR_SCALES is for objects of other sizes)"
        ),
    ),
    Relation(
        "RPN_ANCHOR_SCALES",
        lambda config: len(config.RPN_ANCHOR_SCALES) <= len(config.BACKBONE_STRIDES),
        lambda config: (
            f"at most one scale for each of the {len(config.BACKBONE_STRIDES)} BACKBONE_STRIDES "
            "(RPN_ANCHOR_RATIOS is for several shapes at one place)"
        ),
    ),
    Relation(
        "RPN_NEGATIVE_IOU",
        lambda config: config.RPN_NEGATIVE_IOU <= config.RPN_POSITIVE_IOU,
        lambda config: f"at most RPN_POSITIVE_IOU = {config.RPN_POSITIVE_IOU}",
    ),
    _gives_sides("IMAGE_MIN_DIM"),
    _gives_sides("IMAGE_MAX_DIM"),
    _gives_sides("IMAGE_PAD_SHAPE"),
    Relation(
        "IMAGE_MIN_DIM",
        _dimensions_in_order,
        lambda config: (
            f"at most IMAGE_MAX_DIM = {config.IMAGE_MAX_DIM}, which limits the scale in any case"
        ),
    ),
    Relation(
        "IMAGE_RESIZE_MODE",
        lambda config: config.IMAGE_SHAPE_GROUPS is None or config.IMAGE_RESIZE_MODE == "square",
        lambda config: '"square", because there are IMAGE_SHAPE_GROUPS',
    ),
    Relation(
        "IMAGE_SHAPE_GROUPS",
        _fits_the_square,
        lambda config: f"sides of at most IMAGE_MAX_DIM = {config.IMAGE_MAX_DIM}",
    ),
    Relation(
        "IMAGE_RESIZE_MODE",
        lambda config: not _jitters(config) or config.IMAGE_RESIZE_MODE not in ("none", "pad32"),
        lambda config: (
            '"square", "pad64" or "crop", because IMAGE_MIN_DIM_RANGE or IMAGE_SCALE_RANGE scales '
            "the images"
        ),
    ),
    Relation(
        "IMAGE_SCALE_RANGE",
        lambda config: config.IMAGE_MIN_DIM_RANGE is None or config.IMAGE_SCALE_RANGE is None,
        lambda config: "None, because IMAGE_MIN_DIM_RANGE draws the scale",
    ),
    Relation(
        "IMAGE_SCALE_RANGE",
        lambda config: config.IMAGE_SHAPE_GROUPS is None or config.IMAGE_SCALE_RANGE is None,
        lambda config: (
            "None, because with it all images have one shape, and there are IMAGE_SHAPE_GROUPS"
        ),
    ),
    Relation(
        "IMAGE_MIN_SCALE",
        lambda config: not _jitters(config) or not config.IMAGE_MIN_SCALE,
        lambda config: "0, because IMAGE_MIN_DIM_RANGE or IMAGE_SCALE_RANGE draws the scale",
    ),
    Relation(
        "IMAGE_MIN_DIM_RANGE",
        _window_is_within,
        lambda config: (
            f"sides of at least IMAGE_MIN_DIM = {config.IMAGE_MIN_DIM}, that of the window which "
            'the mode "crop" cuts out'
        ),
    ),
    Relation(
        "IMAGE_MIN_DIM_RANGE",
        _drawn_sides_fit,
        lambda config: (
            f"sides of at most {_shorter_side(config)}, the shorter side of the network's image "
            f"({side_setting(config)})"
        ),
    ),
    Relation(
        "EDGE_LOSS_MAGNITUDE",
        _has_gradient_pair,
        lambda config: "False, or both filters of sobel, prewitt or roberts in EDGE_LOSS_FILTERS",
    ),
    Relation(
        "GRADNORM_ALPHA",
        lambda config: config.GRADNORM_ALPHA is None or not config.UNCERTAINTY_WEIGHTING,
        lambda config: "None, because UNCERTAINTY_WEIGHTING sets the same weights",
    ),
    Relation(
        "GRADNORM_ALPHA",
        lambda config: config.GRADNORM_ALPHA is None or config.MIXED_PRECISION != "float16",
        lambda config: (
            "None, because the gradients of single losses are not scaled, and vanish in "
            "MIXED_PRECISION = 'float16'; 'bfloat16' has their range"
        ),
    ),
)
