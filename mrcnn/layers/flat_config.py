"""Settings of a layer that are one value in Python and lie side by side in saved models."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

Settings = TypeVar("Settings")


def take_settings(kind: type[Settings], config: dict[str, Any]) -> tuple[Settings, dict[str, Any]]:
    """Make a dataclass from those entries of a layer's configuration that are its fields.

    Returns:
        (the settings, the other entries). Fields that `config` lacks have their default, so that
        models load that were saved before there was such a setting.
    """
    names = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    settings = {name: value for name, value in config.items() if name in names}
    others = {name: value for name, value in config.items() if name not in names}
    return kind(**settings), others
