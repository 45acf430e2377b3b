"""A setting of the configuration as it is written on the command line: NAME=VALUE."""

from __future__ import annotations

import ast
import difflib
import json
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.config import Config
from mrcnn.files import atomic
from mrcnn.files.untrusted import load_json

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


SETTINGS_FILE = "config.json"


def configure(base: type[Config], settings: dict[str, Any]) -> Config:
    """A configuration of class `base` with some settings changed."""
    return type(base.__name__, (base,), settings)()


def save_settings(config: Config, folder: str | Path) -> Path:
    """Write the settings of a run beside its weights."""
    path = Path(folder, SETTINGS_FILE)
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in config.to_dict().items()
        if name not in DERIVED_SETTINGS and not callable(value)
    }
    with atomic.atomic_path(path) as temporary:
        Path(temporary).write_text(json.dumps(settings, indent=1, default=str), encoding="utf-8")
    return path


def load_settings(weights: str | Path) -> dict[str, Any]:
    """The settings beside a weights file; empty when there are none."""
    path = Path(weights).parent / SETTINGS_FILE
    if not path.is_file():
        return {}
    try:
        settings = load_json(path)
        # Settings alone: a file must not put a value in the place of a method.
        return {name: value for name, value in settings.items() if is_setting(name)}
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path}: expected the settings of a run as JSON; {error}.") from error


def inference_settings(config: Config) -> dict[str, Any]:
    """What differs when a configuration made for training detects instead.

    As many images at a time as one GPU trains on, every detection counts (COCO's metrics look
    at all scores), and whole images where training takes random windows.
    """
    settings: dict[str, Any] = {
        "GPU_COUNT": 1,
        "DETECTION_MIN_CONFIDENCE": 0,
    }
    if config.IMAGE_RESIZE_MODE == "crop":
        settings["IMAGE_RESIZE_MODE"] = "pad64"
    return settings
