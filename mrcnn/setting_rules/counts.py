"""Integers that scripts compute as floats: 512 / 2, np.ceil(…), images / batch size."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mrcnn.logger import logger
from mrcnn.setting_rules.rules import RULES, is_right

if TYPE_CHECKING:
    from mrcnn.config import Config

# Rounded up where they are fractions: Matterport's training went until as many were done.
STEPS = ("STEPS_PER_EPOCH", "VALIDATION_STEPS")


def settle_counts(config: Config) -> None:
    """Make integers of floats where a setting wants an integer.

    Whole numbers are taken as they are; fractions of `STEPS` are rounded up, which is warned of.
    Others stay, for the check of the settings to refuse.
    """
    for rule in RULES:
        for name in rule.names:
            value = getattr(config, name)
            if not _is_finite_float(value) or is_right(rule, value):
                continue
            whole = math.ceil(value)
            if not is_right(rule, whole):
                continue
            if whole != value:
                if name not in STEPS:
                    continue
                logger.warning(
                    f"{type(config).__name__}.{name}: expected an integer; {value} is rounded up "
                    f"to {whole}."
                )
            setattr(config, name, whole)


def _is_finite_float(value: Any) -> bool:
    return isinstance(value, float | np.floating) and math.isfinite(value)
