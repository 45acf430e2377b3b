"""The settings of a run: changed by name, read from text, kept in a file beside the weights."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mrcnn.checkpoints.settings_file import CLASS_NAMES, SETTINGS_FILE, TRAINING, save_settings
from mrcnn.config import DERIVED_SETTINGS, Config
from mrcnn.files.untrusted import load_json

__all__ = [
    "SETTINGS_FILE",
    "configure",
    "derive_config",
    "is_setting",
    "load_settings",
    "parse_setting",
    "save_settings",
]


def derive_config(base: type[Config], settings: Mapping[str, Any]) -> type[Config]:
    """A class like `base` with some settings changed. They are checked when an object is made."""
    return type(base.__name__, (base,), dict(settings))


def configure(base: type[Config], settings: Mapping[str, Any]) -> Config:
    """A configuration of class `base` with some settings changed.

    Raises:
        ValueError: a setting is not valid.
    """
    return derive_config(base, settings)()


def is_setting(name: str) -> bool:
    """Whether a name is that of a setting that can be given; no method, nothing derived."""
    return name.isupper() and hasattr(Config, name) and name not in DERIVED_SETTINGS


def parse_setting(text: str) -> tuple[str, Any]:
    """The name and value of NAME=VALUE: a setting of `Config` and a Python literal or a plain word.

    Raises:
        ValueError: it is not NAME=VALUE, or there is no such setting.
    """
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


def load_settings(weights: str | Path) -> dict[str, Any]:
    """The settings beside a weights file; empty when there are none.

    Raises:
        ValueError: the file beside the weights does not hold settings.
    """
    # Settings alone: a file must not put a value in the place of a method.
    content = _load(Path(weights).parent / SETTINGS_FILE)
    return {name: value for name, value in content.items() if is_setting(name)}


def load_class_names(weights: str | Path) -> list[str] | None:
    """The names of the classes that a run was trained on, background first; None: unknown.

    Raises:
        ValueError: the file beside the weights holds something else.
    """
    path = Path(weights).parent / SETTINGS_FILE
    names = _load(path).get(CLASS_NAMES)
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path}: {CLASS_NAMES}: expected a list of names; received {names!r}.")
    return names


def load_training(weights: str | Path) -> dict[str, Any]:
    """How a run was trained by the command line, as it wrote it down; empty: unknown.

    Raises:
        ValueError: the file beside the weights holds something else.
    """
    path = Path(weights).parent / SETTINGS_FILE
    training = _load(path).get(TRAINING, {})
    if not isinstance(training, dict):
        raise ValueError(f"{path}: {TRAINING}: expected an object; received {training!r}.")
    return training


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = load_json(path)
    except ValueError as error:
        raise ValueError(f"{path}: expected the settings of a run as JSON; {error}.") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{path}: expected the settings of a run as JSON; received {type(content).__name__}."
        )
    return content
