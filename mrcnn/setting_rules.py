"""What every setting of `mrcnn.config.Config` may be: one table, checked from top to bottom.

RULES say what a setting may be by itself, RELATIONS what it may be beside the others. A setting
without a rule fails a test. Every violation is one sentence: "SomeConfig.NAME: expected …;
received …." Free of Keras.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mrcnn.ops.edge_filters import (
    FILTERS,
    LARGEST_NORM,
    NORMS,
    SHORTHANDS,
    gradient_pairs,
    parse_norm,
    parse_weight_entropy,
    resolve_filters,
)

if TYPE_CHECKING:
    from mrcnn.config import Config

BACKBONES = ("resnet50", "resnet101", "resnet10", "resnet18")
OPTIMIZERS = ("sgd", "adam")
MIXED_PRECISIONS = ("bfloat16", "float16")
RESIZE_MODES = ("none", "square", "pad64", "crop")
MASK_SIZES = (28, 56)  # sides of MASK_SHAPE with Matterport's MASK_POOL_SIZE of 14
LOSS_NAMES = (
    "rpn_class_loss",
    "rpn_bbox_loss",
    "mrcnn_class_loss",
    "mrcnn_bbox_loss",
    "mrcnn_mask_loss",
    "mrcnn_mask_edge_loss",
)
# The FPN halves the resolution six times (P6 has stride 64).
IMAGE_SIDE_MULTIPLE = 64
# NumPy's global generator takes seeds below 2^32; SEED + 1 is used too.
LARGEST_SEED = 2**32 - 2

Check = Callable[[Any], bool]


class Rule(NamedTuple):
    """What some settings may be, each by itself."""

    names: tuple[str, ...]
    check: Check
    expected: str  # completes "expected …; received …"


class Relation(NamedTuple):
    """What a setting may be beside others; asked only where every setting fits its own rule."""

    name: str
    check: Callable[[Config], bool]
    expected: Callable[[Config], str]


# --- Kinds of values ---------------------------------------------------------------------


def is_integer(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """A finite real number; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def is_flag(value: Any) -> bool:
    """True or False, or NumPy's, or 1 or 0."""
    return isinstance(value, (bool, np.bool_)) or (is_integer(value) and value in (0, 1))


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def is_sequence(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim == 1
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray))


def integer_from(least: int, most: float = math.inf) -> Check:
    return lambda value: is_integer(value) and least <= value <= most


def number_from(least: float, most: float = math.inf) -> Check:
    return lambda value: is_number(value) and least <= value <= most


def number_above(bound: float) -> Check:
    return lambda value: is_number(value) and value > bound


def one_of(choices: Sequence[str]) -> Check:
    return lambda value: is_text(value) and value in choices


def none_or(check: Check) -> Check:
    return lambda value: value is None or check(value)


def filled_sequence_of(check: Check) -> Check:
    return lambda value: is_sequence(value) and len(value) > 0 and all(map(check, value))


def pair_of(check: Check) -> Check:
    return lambda value: is_sequence(value) and len(value) == 2 and all(map(check, value))


def accepted_by(parse: Callable[[Any], object]) -> Check:
    """Values for which a function of `edge_filters` raises no error."""

    def check(value: Any) -> bool:
        try:
            parse(value)
        except ValueError:
            return False
        return True

    return check


def is_array_of_numbers(value: Any) -> bool:
    array = np.asarray(value)
    return array.dtype.kind in "iuf" and array.size > 0 and bool(np.isfinite(array).all())


def is_std_dev(value: Any) -> bool:
    return (
        is_array_of_numbers(value) and np.size(value) == 4 and bool(np.all(np.asarray(value) > 0))
    )


def is_loss_weights(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and all(name in LOSS_NAMES for name in value)
        and all(map(number_from(0), value.values()))
    )


def is_cache(value: Any) -> bool:
    return isinstance(value, (str, os.PathLike)) and str(value) != ""


def is_edge_filters(value: Any) -> bool:
    if is_sequence(value) and len(value) == 0:
        return True
    return (is_text(value) or is_sequence(value)) and accepted_by(resolve_filters)(value)


def is_shape_groups(value: Any) -> bool:
    if is_text(value):
        return value == "auto"
    return is_sequence(value) and all(map(pair_of(is_side), value))


def is_side(value: Any) -> bool:
    """A side that an image of the network can have."""
    return is_integer(value) and value > 0 and value % IMAGE_SIDE_MULTIPLE == 0


def next_side(side: float) -> int:
    """The least side of an image that is not below `side`."""
    return IMAGE_SIDE_MULTIPLE * max(1, math.ceil(side / IMAGE_SIDE_MULTIPLE))


# --- Each setting by itself --------------------------------------------------------------

_PAIR = "(height, width), two integers of at least 1"
_FILTER_NAMES = ", ".join([*FILTERS, *SHORTHANDS])

RULES = (
    Rule(("NAME", "RUN_NAME"), none_or(is_text), "None or a text"),
    Rule(("SEED",), integer_from(0, LARGEST_SEED), f"an integer from 0 to {LARGEST_SEED}"),
    Rule(
        (
            *("GPU_COUNT", "IMAGES_PER_GPU", "STEPS_PER_EPOCH", "NUM_CLASSES"),
            *("TOP_DOWN_PYRAMID_SIZE", "RPN_ANCHOR_STRIDE", "RPN_TRAIN_ANCHORS_PER_IMAGE"),
            *("RPN_CONV_FILTERS", "PRE_NMS_LIMIT", "POST_NMS_ROIS_TRAINING"),
            *("POST_NMS_ROIS_INFERENCE", "IMAGE_CHANNEL_COUNT", "MAX_GT_INSTANCES"),
            *("TRAIN_ROIS_PER_IMAGE", "POOL_SIZE", "MASK_POOL_SIZE", "MASK_CONV_FILTERS"),
            *("FPN_CLASSIF_FC_LAYERS_SIZE", "DETECTION_MAX_INSTANCES"),
            *("GRADIENT_ACCUMULATION_STEPS", "CHECKPOINTS_KEPT", "LOADER_PREFETCH"),
        ),
        integer_from(1),
        "an integer of at least 1",
    ),
    Rule(
        ("VALIDATION_STEPS", "WARMUP_STEPS", "LOADER_MAX_RESTARTS"),
        integer_from(0),
        "an integer of at least 0",
    ),
    Rule(
        ("IMAGE_MIN_DIM", "LOADER_WORKERS"),
        none_or(integer_from(0)),
        "None or an integer of at least 0",
    ),
    Rule(
        ("IMAGE_MAX_DIM", "CHECKPOINT_STEPS"),
        none_or(integer_from(1)),
        "None or an integer of at least 1",
    ),
    Rule(
        (
            *("RPN_NMS_THRESHOLD", "RPN_POSITIVE_IOU", "RPN_NEGATIVE_IOU", "ROI_POSITIVE_IOU"),
            *("CROWD_IOU", "ROI_POSITIVE_RATIO", "DETECTION_MIN_CONFIDENCE"),
            *("DETECTION_NMS_THRESHOLD", "LEARNING_MOMENTUM", "LOADER_MAX_BAD_SHARE"),
        ),
        number_from(0, 1),
        "a number from 0 to 1",
    ),
    Rule(
        ("LEARNING_RATE", "WEIGHT_DECAY", "EDGE_LOSS_WEIGHT_FACTOR"),
        number_from(0),
        "a number of at least 0",
    ),
    Rule(
        ("GRADIENT_CLIP_NORM", "IMAGE_MIN_SCALE"),
        none_or(number_from(0)),
        "None or a number of at least 0",
    ),
    Rule(("LOADER_CACHE_GB", "EDGE_LOSS_ENTROPY_DIVISOR"), number_above(0), "a number above 0"),
    Rule(("LOADER_TIMEOUT",), number_above(0), "a number of seconds above 0"),
    Rule(
        ("CHECKPOINT_MINUTES", "CHECKPOINT_DISK_BUDGET"),
        none_or(number_above(0)),
        "None or a number above 0",
    ),
    Rule(("LOSS_SPIKE_FACTOR",), none_or(number_above(1)), "None or a number above 1"),
    Rule(
        ("EMA_MOMENTUM",),
        none_or(lambda value: is_number(value) and 0 <= value < 1),
        "None or a number from 0 to below 1, such as 0.999",
    ),
    Rule(
        (
            *("FREEZE_GRAPH", "USE_MINI_MASK", "USE_RPN_ROIS", "LOADER_PROCESSES"),
            *("KEEP_FREED_MEMORY", "EDGE_LOSS_SMOOTHING_GT", "EDGE_LOSS_SMOOTHING_PREDICTIONS"),
            *("EDGE_LOSS_MAGNITUDE", "UNCERTAINTY_WEIGHTING"),
        ),
        is_flag,
        "True or False",
    ),
    Rule(("JIT_COMPILE", "TRAIN_BN"), none_or(is_flag), "None, True or False"),
    Rule(
        ("BACKBONE",),
        lambda value: callable(value) or one_of(BACKBONES)(value),
        f"one of {list(BACKBONES)}, or a callable",
    ),
    Rule(("COMPUTE_BACKBONE_SHAPE",), none_or(callable), "None or a callable"),
    Rule(
        ("OPTIMIZER",),
        lambda value: callable(value) or one_of(OPTIMIZERS)(value),
        f"one of {list(OPTIMIZERS)}, or a function of the learning rate",
    ),
    Rule(
        ("MIXED_PRECISION",),
        none_or(one_of(MIXED_PRECISIONS)),
        f"None or one of {list(MIXED_PRECISIONS)}",
    ),
    Rule(("LEARNING_RATE_SCHEDULE",), none_or(one_of(["cosine"])), "None or 'cosine'"),
    Rule(("IMAGE_RESIZE_MODE",), one_of(RESIZE_MODES), f"one of {list(RESIZE_MODES)}"),
    Rule(
        ("BACKBONE_STRIDES",),
        filled_sequence_of(integer_from(1)),
        "a list of integers of at least 1, one for each level of the pyramid",
    ),
    Rule(
        ("RPN_ANCHOR_SCALES",),
        filled_sequence_of(number_above(0)),
        "a list of numbers above 0, one for each of BACKBONE_STRIDES",
    ),
    Rule(
        ("RPN_ANCHOR_RATIOS",),
        filled_sequence_of(number_above(0)),
        "a list of at least one number above 0, such as [0.5, 1, 2]",
    ),
    Rule(
        ("RPN_BBOX_STD_DEV", "BBOX_STD_DEV"),
        is_std_dev,
        "four numbers above 0, such as [0.1, 0.1, 0.2, 0.2]",
    ),
    Rule(("MEAN_PIXEL",), is_array_of_numbers, "a number for each of IMAGE_CHANNEL_COUNT channels"),
    Rule(("MINI_MASK_SHAPE", "MASK_SHAPE"), pair_of(integer_from(1)), _PAIR),
    Rule(("IMAGE_PAD_SHAPE",), none_or(pair_of(integer_from(1))), f"None or {_PAIR}"),
    Rule(
        ("IMAGE_SHAPE_GROUPS",),
        none_or(is_shape_groups),
        f'None, "auto", or a list of (height, width) that divide by {IMAGE_SIDE_MULTIPLE}',
    ),
    Rule(
        ("LOSS_WEIGHTS",), is_loss_weights, f"numbers of at least 0 by keys of {list(LOSS_NAMES)}"
    ),
    Rule(("LOADER_CACHE",), none_or(is_cache), 'None, "ram" or the path of a folder'),
    Rule(
        ("CHECKPOINT_METRIC",),
        none_or(lambda value: is_text(value) and value != ""),
        "None or the name of a loss or metric, such as 'val_loss'",
    ),
    Rule(
        ("EDGE_LOSS_FILTERS",),
        is_edge_filters,
        f"[], or filters, each named once, of {_FILTER_NAMES}",
    ),
    Rule(
        ("EDGE_LOSS_NORM",),
        accepted_by(parse_norm),
        f"one of {', '.join(NORMS)}, or a number from 1 to {LARGEST_NORM:g}",
    ),
    Rule(
        ("EDGE_LOSS_WEIGHT_ENTROPY",),
        accepted_by(parse_weight_entropy),
        "False, True, 'product' or 'exp'",
    ),
)

# --- Settings beside each other ----------------------------------------------------------


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
        return side_setting(config) != name or all(map(is_side, sides(config)))

    def expected(config: Config) -> str:
        such = " x ".join(str(next_side(side or IMAGE_SIDE_MULTIPLE)) for side in sides(config))
        return (
            f"sides that divide by {IMAGE_SIDE_MULTIPLE}, such as {such}, because the feature "
            "pyramid halves the image six times"
        )

    return Relation(name, check, expected)


def _dimensions_in_order(config: Config) -> bool:
    return config.IMAGE_RESIZE_MODE != "square" or not (
        config.IMAGE_MIN_DIM and config.IMAGE_MIN_DIM > config.IMAGE_MAX_DIM
    )


def _mask_sides(config: Config) -> tuple[int, int]:
    return 2 * config.MASK_POOL_SIZE, 4 * config.MASK_POOL_SIZE


def _fits_the_square(config: Config) -> bool:
    groups = config.IMAGE_SHAPE_GROUPS
    if groups is None or isinstance(groups, str):
        return True
    return all(max(shape) <= config.IMAGE_MAX_DIM for shape in groups)


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
        "RPN_ANCHOR_SCALES",
        lambda config: len(config.RPN_ANCHOR_SCALES) == len(config.BACKBONE_STRIDES),
        lambda config: f"one scale for each of the {len(config.BACKBONE_STRIDES)} BACKBONE_STRIDES",
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
        "EDGE_LOSS_MAGNITUDE",
        _has_gradient_pair,
        lambda config: "False, or both filters of sobel, prewitt or roberts in EDGE_LOSS_FILTERS",
    ),
)


# --- Checks ------------------------------------------------------------------------------


def is_right(rule: Rule, value: Any) -> bool:
    """Whether a value follows a rule; values that do not even compare do not."""
    try:
        return bool(rule.check(value))
    except (TypeError, ValueError, OverflowError, AttributeError):
        return False


def check_settings(config: Config) -> None:
    """Check every setting by itself, then beside the others.

    Raises:
        ValueError: with the name of the setting, what was expected and what was received.
    """
    for rule in RULES:
        for name in rule.names:
            if not is_right(rule, getattr(config, name)):
                raise _violation(config, name, rule.expected)
    for relation in RELATIONS:
        if not relation.check(config):
            raise _violation(config, relation.name, relation.expected(config))


def _violation(config: Config, name: str, expected: str) -> ValueError:
    received = getattr(config, name)
    return ValueError(
        f"{type(config).__name__}.{name}: expected {expected}; received {received!r}."
    )


# --- Misspelt names ----------------------------------------------------------------------


def misspelt_setting(name: str, value: Any) -> str | None:
    """The setting that an attribute of one's own was probably meant to be, or None.

    It differs in one slip of the pen, though not in the first letter (CPU_COUNT is no GPU_COUNT),
    and the value is one that the setting could have: LEARNING_RATES = [1e-3, 1e-4] is no misspelt
    LEARNING_RATE. Scripts keep much of their own in their configurations, so that more would
    alarm too often: DETECTION_MASK_THRESHOLD is a real project's.
    """
    for rule in RULES:
        for setting in rule.names:
            if setting[:1] == name[:1] and _one_slip(setting, name) and is_right(rule, value):
                return setting
    return None


def _one_slip(right: str, written: str) -> bool:
    """Whether one letter was left out, added, replaced, or exchanged with the next."""
    right, written = _without_common_start(right, written)
    right, written = _without_common_start(right[::-1], written[::-1])
    exchanged = len(right) == 2 and right == written[::-1]
    return exchanged or max(len(right), len(written)) == 1


def _without_common_start(a: str, b: str) -> tuple[str, str]:
    length = len(os.path.commonprefix((a, b)))
    return a[length:], b[length:]
