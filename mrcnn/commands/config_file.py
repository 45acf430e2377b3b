"""`--config FILE`: options and settings from a file, for a command line that is to be kept.

A YAML or JSON file of options, by their names without dashes, and of settings of
`mrcnn.config.Config`, by theirs; or the `config.json` of a run, of which the command takes what it
knows. The command line wins over the file::

    steps: 4000
    backbone: resnet50
    edge_loss_filters: [sobel]
    MAX_GT_INSTANCES: 200
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mrcnn.checkpoints.settings_file import CLASS_NAMES, TRAINING
from mrcnn.files.untrusted import load_json
from mrcnn.runs.settings import is_setting

# Of a namespace: the settings and the options that the file gives.
CONFIG_SETTINGS, CONFIG_OPTIONS = "config_settings", "config_options"
# Options that are about this call of the command, not about what it does.
_NOT_IN_FILES = frozenset(("config", "help", "version", "verbose", "set"))


@contextmanager
def defaults_of_file(
    parser: argparse.ArgumentParser, path: str | os.PathLike[str]
) -> Iterator[None]:
    """In this context, what a file says are the defaults of a command.

    Args:
        parser: of the command, with all of its options.
        path: the file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no such file, names what is neither an option nor a setting, or gives an
            option a value that it does not take.
    """
    content = _read(path)
    is_run = CLASS_NAMES in content or TRAINING in content
    if is_run:
        content = _of_run(content)
    actions = {
        name.lstrip("-").replace("-", "_"): action
        for action in parser._actions
        if action.option_strings and action.dest not in _NOT_IN_FILES
        for name in (action.dest, *action.option_strings)
    }
    options: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    for name, value in content.items():
        option = str(name).replace("-", "_")
        if is_setting(str(name)):
            settings[str(name)] = tuple(value) if isinstance(value, list) else value
        elif option in actions:
            options[actions[option].dest] = _value_of(actions[option], name, value, path)
        elif not is_run:
            raise ValueError(f"{path}: {name}: {_unknown(str(name), list(actions))}")
    before = {action: action.default for action in parser._actions}
    for action in parser._actions:
        # An argument by its place has no default: where it is missing, argparse would take that for
        # a value that was given.
        if action.dest in options and action.option_strings:
            action.default = options[action.dest]
    parser.set_defaults(**{CONFIG_SETTINGS: settings, CONFIG_OPTIONS: options})
    try:
        yield
    finally:
        for action, default in before.items():
            action.default = default
        parser.set_defaults(**{CONFIG_SETTINGS: {}, CONFIG_OPTIONS: {}})


def _read(path: str | os.PathLike[str]) -> dict[str, Any]:
    if Path(path).suffix.lower() in (".yaml", ".yml"):
        import yaml

        try:
            content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{path}: expected a YAML file of options; {reason}.") from error
    else:
        try:
            content = load_json(path)
        except (ValueError, json.JSONDecodeError) as error:
            raise ValueError(
                f"{path}: expected a file of options, YAML (.yaml) or JSON; {error}."
            ) from error
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise ValueError(
            f"{path}: expected names with their values; received {type(content).__name__}."
        )
    return content


def _of_run(content: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's `config.json` says: its settings, and the options that it was started with."""
    training = content.get(TRAINING) or {}
    if not isinstance(training, Mapping):
        raise ValueError(f"{TRAINING}: expected names with values; received {training!r}.")
    options = {name: value for name, value in training.items() if value is not None}
    return {**options, **{name: value for name, value in content.items() if is_setting(name)}}


def _value_of(action: argparse.Action, name: Any, value: Any, path: str | os.PathLike[str]) -> Any:
    """A value as the command line would give it.

    Raises:
        ValueError: the option does not take it.
    """
    expected = "true or false"
    if action.nargs == 0:
        if isinstance(value, bool):
            return value
    elif action.nargs in ("+", "*"):
        values = value if isinstance(value, list) else [value]
        expected = f"a list of {_kind(action)}"
        if all(_fits(action, one) for one in values):
            return values
    else:
        expected = _kind(action)
        if _fits(action, value):
            return float(value) if action.type is float else value
    raise ValueError(f"{path}: {name}: expected {expected}; received {value!r}.")


def _kind(action: argparse.Action) -> str:
    if action.choices is not None:
        return f"one of {', '.join(map(str, action.choices))}"
    if action.type is int:
        return "an integer"
    return "a number" if action.type is float else "a text"


def _fits(action: argparse.Action, value: Any) -> bool:
    if action.choices is not None:
        return value in list(action.choices)
    if action.type is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if action.type is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))


def _unknown(name: str, options: list[str]) -> str:
    from mrcnn.config import Config

    settings = [known for known in vars(Config) if is_setting(known)]
    near = difflib.get_close_matches(name.replace("-", "_"), [*options, *settings], n=3)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return f"expected an option of the command, or a setting of mrcnn.config.Config.{hint}"
