"""The settings of a run, as a file beside its weights. `mrcnn.runs.settings` reads it again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.config import DERIVED_SETTINGS, Config
from mrcnn.files.atomic import write_json
from mrcnn.setting_rules.architecture import Architecture

SETTINGS_FILE = "config.json"
# What the file holds beside the settings.
CLASS_NAMES = "class_names"  # background first
TRAINING = "training"  # the options that the command line trained with
# What `config.json` beside weights says under "training" where no detector was trained: a backbone
# was pretrained here (`mrcnn.runs.pretraining`), or converted from a classifier of ImageNet.
NETWORK, BACKBONE_ALONE, CLASSIFIER_BACKBONE = "network", "backbone", "backbone of a classifier"


def save_settings(
    config: Config, folder: str | Path, details: Mapping[str, Any] | None = None
) -> Path:
    """Write the settings of a run beside its weights.

    Args:
        config: the settings.
        folder: of the run.
        details: what else there is to know of the run, by names in lower case, as JSON has it.
    """
    return write_settings(config, Path(folder, SETTINGS_FILE), details)


def write_settings(
    config: Config, path: str | Path, details: Mapping[str, Any] | None = None
) -> Path:
    """`save_settings` into a file of any name."""
    path = Path(path)
    settings = {
        name: _plain(value)
        for name, value in config.to_dict().items()
        if name not in DERIVED_SETTINGS and not callable(value)
    }
    write_json(path, {**(details or {}), **settings}, default=str)
    return path


def _plain(value: Any) -> Any:
    """A setting as JSON has it."""
    if isinstance(value, Architecture):
        return value.to_dict()
    return value.tolist() if isinstance(value, np.ndarray) else value
