"""Attributes that were probably meant to be a setting."""

from __future__ import annotations

import os
from typing import Any

from mrcnn.setting_rules.rules import RULES, is_right


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
