"""A parser of options that says what was meant by an option that it does not know."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

# Options that say the same in two ways: given on the command line, one takes the other's place in
# the file of --config.
INSTEAD = (("steps", "scale"),)
# What users of other packages write, and what it is here.
OTHER_NAMES = {
    "--epochs": "--steps, the length of the training in steps (an epoch has --steps-per-epoch)",
    "--epoch": "--steps, the length of the training in steps (an epoch has --steps-per-epoch)",
    "--iterations": "--steps",
    "--lr": "--learning-rate",
    "--rate": "--learning-rate",
    "--batch": "--batch-size",
    "--bs": "--batch-size",
    "--imgsz": "--image-size",
    "--img-size": "--image-size",
    "--resolution": "--image-size",
    "--data": "--dataset",
    "--out": "--output",
    "--checkpoint": "--model",
    "--jobs": "--workers",
    "--resume": "--model last",
    "--pretrained": "--model coco or --model imagenet",
}


class Parser(argparse.ArgumentParser):
    """Options are written in full; for an unknown one the error names what is near."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **options})

    def parse_known_args(  # type: ignore[override]  # the stubs have overloads
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """As Python's; an unknown option is an error here, where its neighbours are known."""
        found, unknown = super().parse_known_args(args, namespace)
        names = [text.partition("=")[0] for text in unknown if text.startswith("--")]
        if names:
            self._refuse(names)
        return found, unknown

    def parse_args(  # type: ignore[override]  # the stubs have overloads
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """As Python's; what the file of --config says becomes the default of what is not given."""
        found = super().parse_args(args, namespace)
        path = getattr(found, "config", None)
        if path is None or namespace is not None:
            return found
        from mrcnn.commands.config_file import defaults_of_file

        try:
            with defaults_of_file(found.options_parser, path):
                merged = super().parse_args(args)
        except (OSError, ValueError) as error:
            used = found.options_parser
            used.exit(2, f"{used.prog}: error: --config: {error}\n")
        for pair in INSTEAD:
            for given, other in (pair, pair[::-1]):
                if getattr(found, given, None) is not None and getattr(found, other, None) is None:
                    setattr(merged, other, None)
        return merged

    def format_usage(self) -> str:
        """A line: the help has the options, by what they are for."""
        formatter = self._get_formatter()
        formatter.add_usage(f"%(prog)s {self._arguments()}".rstrip(), [], [])
        return formatter.format_help()

    def format_help(self) -> str:
        """Python's, with that line in place of all options in a row."""
        self.usage = f"%(prog)s {self._arguments()}".rstrip()
        try:
            return super().format_help()
        finally:
            self.usage = None

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and where to look."""
        self.exit(2, f"{self.prog}: error: {message}\n{self.prog} --help lists what it takes.\n")

    def _arguments(self) -> str:
        """What has to be given, or has a place; and a word for the other options."""
        if self._subparsers is not None:
            return "COMMAND ..."
        formatter, texts = self._get_formatter(), []
        for action in self._actions:
            value = formatter._format_args(action, action.dest.upper())
            if not action.option_strings:
                texts.append(value)
            elif action.required:
                texts.append(f"{action.option_strings[0]} {value}".rstrip())
        return " ".join([*texts, "[options]"])

    def _refuse(self, names: Iterable[str]) -> NoReturn:
        texts = []
        for name in names:
            meant = self._meant(name)
            texts.append(f"unknown option {name}" + (f"; did you mean {meant}?" if meant else ""))
        self.error("; ".join(texts))

    def _meant(self, name: str) -> str:
        known = [text for text in self._option_string_actions if text.startswith("--")]
        other = OTHER_NAMES.get(name, "")
        if other.partition(" ")[0].rstrip(",") in known:
            return other
        longer = [text for text in known if text.startswith(name)]
        return " or ".join(longer[:3] or difflib.get_close_matches(name, known, n=3))
