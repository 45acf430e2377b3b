"""Kinds of values that a setting may have: each check takes any object."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from mrcnn.ops.edge_filters import (
    resolve_filters,
)
from mrcnn.setting_rules.names import (
    IMAGE_SIDE_MULTIPLE,
    LOSS_NAMES,
)

Check = Callable[[Any], bool]


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


def is_range_of(check: Check) -> Check:
    """Two values, the first not above the second."""
    return lambda value: pair_of(check)(value) and value[0] <= value[1]


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


def is_grey_bit_depth(value: Any) -> bool:
    """Bits from 8 to 16, or a mapping of sources to such."""
    is_depth = integer_from(8, 16)
    if isinstance(value, Mapping):
        return all(is_text(source) and is_depth(depth) for source, depth in value.items())
    return value is None or is_depth(value)


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
