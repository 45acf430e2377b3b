"""The settings of a run, as a file beside its weights. `mrcnn.runs.settings` reads it again."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mrcnn.config import DERIVED_SETTINGS, Config
from mrcnn.files.atomic import write_json

SETTINGS_FILE = "config.json"


def save_settings(config: Config, folder: str | Path) -> Path:
    """Write the settings of a run beside its weights."""
    path = Path(folder, SETTINGS_FILE)
    settings = {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in config.to_dict().items()
        if name not in DERIVED_SETTINGS and not callable(value)
    }
    write_json(path, settings, default=str)
    return path
