"""What each setting may be by itself: one table. A setting without a rule fails a test."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mrcnn.ops.edge_filters import (
    FILTERS,
    LARGEST_NORM,
    NORMS,
    SHORTHANDS,
    parse_magnitude,
    parse_norm,
    parse_weight_entropy,
)
from mrcnn.setting_rules.architecture import ARCHITECTURES, resolve
from mrcnn.setting_rules.names import (
    BACKBONES,
    BORDER_ANCHORS,
    DETECTION_BOXES,
    EXIF_ORIENTATIONS,
    IMAGE_SIDE_MULTIPLE,
    LARGEST_SEED,
    LOSS_NAMES,
    MIXED_PRECISIONS,
    OPTIMIZERS,
    RESIZE_MODES,
    ROI_POOLINGS,
)
from mrcnn.setting_rules.values import (
    Check,
    accepted_by,
    filled_sequence_of,
    integer_from,
    is_array_of_numbers,
    is_cache,
    is_edge_filters,
    is_flag,
    is_grey_bit_depth,
    is_loss_weights,
    is_number,
    is_range_of,
    is_shape_groups,
    is_std_dev,
    is_text,
    none_or,
    number_above,
    number_from,
    one_of,
    pair_of,
)


class Rule(NamedTuple):
    """What some settings may be, each by itself."""

    names: tuple[str, ...]
    check: Check
    expected: str  # completes "expected …; received …"


def is_right(rule: Rule, value: Any) -> bool:
    """Whether a value follows a rule; values that do not even compare do not."""
    try:
        return bool(rule.check(value))
    except (TypeError, ValueError, OverflowError, AttributeError):
        return False


def _is_magnitude(value: Any) -> bool:
    return is_flag(value) or (is_text(value) and accepted_by(parse_magnitude)(value))


_PAIR = "(height, width), two integers of at least 1"
_FILTER_NAMES = ", ".join([*FILTERS, *SHORTHANDS])

RULES = (
    Rule(("NAME", "RUN_NAME"), none_or(is_text), "None or a text"),
    Rule(
        ("ARCHITECTURE",),
        accepted_by(resolve),
        f"one of {list(ARCHITECTURES)}, or an Architecture (mrcnn.setting_rules.architecture)",
    ),
    Rule(
        ("STD_PIXEL",),
        none_or(lambda value: is_array_of_numbers(value) and bool(np.all(np.asarray(value) > 0))),
        "None, or a number above 0 for each of IMAGE_CHANNEL_COUNT channels",
    ),
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
        ("VALIDATION_STEPS", "WARMUP_STEPS", "LOADER_MAX_RESTARTS", "EVALUATION_IMAGES"),
        integer_from(0),
        "an integer of at least 0",
    ),
    Rule(
        ("IMAGE_MIN_DIM", "LOADER_WORKERS"),
        none_or(integer_from(0)),
        "None or an integer of at least 0",
    ),
    Rule(
        (
            *("IMAGE_MAX_DIM", "CHECKPOINT_STEPS", "EVALUATION_EPOCHS", "PATIENCE"),
            "PRE_NMS_LIMIT_TRAINING",
        ),
        none_or(integer_from(1)),
        "None or an integer of at least 1",
    ),
    Rule(
        (
            *("RPN_NMS_THRESHOLD", "RPN_POSITIVE_IOU", "RPN_NEGATIVE_IOU", "ROI_POSITIVE_IOU"),
            *("ROI_POSITIVE_RATIO", "DETECTION_MIN_CONFIDENCE"),
            *("DETECTION_NMS_THRESHOLD", "LEARNING_MOMENTUM", "LOADER_MAX_BAD_SHARE"),
            *("MASK_SHARE",),
        ),
        number_from(0, 1),
        "a number from 0 to 1",
    ),
    Rule(
        ("LEARNING_RATE", "WEIGHT_DECAY", "EDGE_LOSS_WEIGHT_FACTOR", "GRADNORM_RATE"),
        number_from(0),
        "a number of at least 0",
    ),
    Rule(
        ("GRADIENT_CLIP_NORM", "IMAGE_MIN_SCALE", "GRADNORM_ALPHA"),
        none_or(number_from(0)),
        "None or a number of at least 0",
    ),
    Rule(
        ("IMAGE_MIN_DIM_RANGE",),
        none_or(is_range_of(integer_from(1))),
        "None or (least, most) in pixels, such as (800, 1024)",
    ),
    Rule(
        ("IMAGE_SCALE_RANGE",),
        none_or(is_range_of(number_above(0))),
        "None or (least, most), factors above 0, such as (0.1, 2.0)",
    ),
    Rule(("LOADER_CACHE_GB", "EDGE_LOSS_ENTROPY_DIVISOR"), number_above(0), "a number above 0"),
    Rule(("LOADER_TIMEOUT",), number_above(0), "a number of seconds above 0"),
    Rule(
        ("CROWD_IOU",),
        lambda value: is_number(value) and 0 < value <= 1,
        "a number above 0, at most 1 (with 0, no proposal would be background)",
    ),
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
            *("USE_MINI_MASK", "USE_RPN_ROIS", "LOADER_PROCESSES"),
            *("KEEP_FREED_MEMORY", "EDGE_LOSS_SMOOTHING_GT", "EDGE_LOSS_SMOOTHING_PREDICTIONS"),
            "UNCERTAINTY_WEIGHTING",
        ),
        is_flag,
        "True or False",
    ),
    Rule(("EDGE_LOSS_MAGNITUDE",), _is_magnitude, "False, True or 'only'"),
    Rule(("FREEZE_GRAPH", "JIT_COMPILE", "TRAIN_BN"), none_or(is_flag), "None, True or False"),
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
    Rule(("EXIF_ORIENTATION",), one_of(EXIF_ORIENTATIONS), f"one of {list(EXIF_ORIENTATIONS)}"),
    Rule(
        ("GREY_BIT_DEPTH",),
        is_grey_bit_depth,
        "None, an integer from 8 to 16, or {source: such an integer}",
    ),
    Rule(("DETECTION_BOXES",), one_of(DETECTION_BOXES), f"one of {list(DETECTION_BOXES)}"),
    Rule(("RPN_BORDER_ANCHORS",), one_of(BORDER_ANCHORS), f"one of {list(BORDER_ANCHORS)}"),
    Rule(("ROI_POOLING",), one_of(ROI_POOLINGS), f"one of {list(ROI_POOLINGS)}"),
    Rule(("IMAGE_RESIZE_MODE",), one_of(RESIZE_MODES), f"one of {list(RESIZE_MODES)}"),
    Rule(
        ("BACKBONE_STRIDES",),
        filled_sequence_of(integer_from(1)),
        "a list of integers of at least 1, one for each level of the pyramid",
    ),
    Rule(
        ("RPN_ANCHOR_SCALES",),
        filled_sequence_of(number_above(0)),
        "a list of numbers above 0, at most one for each of BACKBONE_STRIDES",
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
