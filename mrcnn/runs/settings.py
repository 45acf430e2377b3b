"""A setting of the configuration as it is written on the command line: NAME=VALUE."""

from __future__ import annotations

import ast
import difflib
from typing import Any

from mrcnn.config import Config

DERIVED_SETTINGS = (
    *("BATCH_SIZE", "IMAGE_SHAPE", "IMAGE_META_SIZE", "INPUT_SHAPES"),
    "POSITIVE_ROIS_PER_IMAGE",
)


def parse_setting(text: str) -> tuple[str, Any]:
    """NAME=VALUE, a setting of `Config` and a Python literal or a plain word."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--set: expected NAME=VALUE; received {text!r}.")
    if not is_setting(name):
        known = [known for known in vars(Config) if known.isupper()]
        near = difflib.get_close_matches(name, known, n=3)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"--set: {name!r} is no setting of mrcnn.config.Config.{hint}")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value  # a plain word, such as pad64


def is_setting(name: str) -> bool:
    """Whether a name is that of a setting that can be given; no method, nothing derived."""
    return name.isupper() and hasattr(Config, name) and name not in DERIVED_SETTINGS
