"""Every command on every page is one: the real parsers take it, the files and extras exist.

Commands are parsed, not run; what a chosen set of pages does when it is run is in
tests/docs/test_pages.py and tests/test_walkthrough.py.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import re
import runpy
import shlex
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from mrcnn.commands import cli
from tests.docs.blocks import FENCE, PAGES, REPOSITORY, Block, blocks, commands

LANGUAGES = {"bash", "python", "pycon", "text", "diff"}
# Of other packages, and why they are on a page.
OTHER_PACKAGES = {"labelme": "an annotation tool", "pre-commit": "checks before every commit"}
# Programs that are not this package's, and are not looked into.
OTHER_PROGRAMS = {"mv", "cd", "labelme", "."}


class ParsedError(Exception):
    """Instead of what would follow once the options are known."""


def shell_blocks() -> list[Block]:
    return [block for block in blocks() if block.language == "bash" and block.reason is None]


@pytest.fixture
def parse_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs end where they have parsed their options."""
    parse_args = argparse.ArgumentParser.parse_args

    def parse(self: argparse.ArgumentParser, *args: Any, **options: Any) -> Any:
        raise ParsedError(parse_args(self, *args, **options))

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)
    monkeypatch.setattr(sys, "path", [*sys.path])


@pytest.mark.parametrize("block", blocks(), ids=str)
def test_a_block_has_a_language_that_is_checked(block: Block):
    assert block.language in LANGUAGES, "write ```text for what is no code"
    assert block.reason is None or len(block.reason.split()) > 2, "say why it is not run"


@pytest.mark.parametrize("block", shell_blocks(), ids=str)
def test_the_commands_of_a_block_are_real(block: Block, parse_only: None):
    for words in commands(block.code):
        check(words)


def test_wrong_commands_are_found(parse_only: None):
    for wrong in (
        "mrcnn train photos --stepps 3",
        "mrcnn trian photos",
        "mrcnn export --format onyx",
        "mrcnn ablate … --no-such-option",
        "python samples/shapes/shapes.py --no-such-option",
        "python -m benchmarks.no_such_module",
        "python -m benchmarks.growth --no-such-option",
        "python -m pytest tests/no_such_test.py",
        'pip install "mrcnn[no-such-extra]"',
        "make no-such-target",
        "no-such-program",
    ):
        with pytest.raises((AssertionError, SystemExit, ModuleNotFoundError)):
            [words] = commands(wrong)
            check(words)


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_the_text_have_the_options_that_it_says(page: str, parse_only: None):
    text = FENCE.sub("", (REPOSITORY / page).read_text(encoding="utf-8"))
    for code in re.findall(r"`(mrcnn [a-z][^`]*)`", text):
        words = shlex.split(" ".join(code.split()))[1:]
        assert words[0] in cli.COMMANDS, code
        options = [word for word in words if word.startswith("--")]
        check_parser(lambda words=words: cli.main([*words, "…"]), [*options, "…"])


def check(words: Sequence[str]) -> None:
    """That a command could be run."""
    program, *arguments = words
    program = program.removeprefix(".venv/bin/")
    if program in ("python", "python3"):
        return check_python(arguments)
    if program == "mrcnn":
        return check_parser(lambda: cli.main(arguments), arguments)
    if program == "pip":
        return check_pip(arguments)
    if program == "make":
        targets = re.findall(r"(?m)^([a-z-]+):", (REPOSITORY / "Makefile").read_text())
        assert set(arguments) <= set(targets), words
        return None
    if program == "pre-commit":
        assert (REPOSITORY / ".pre-commit-config.yaml").is_file()
        return None
    assert program in OTHER_PROGRAMS, f"{program}: unknown program"
    return None


def check_python(arguments: Sequence[str]) -> None:
    first, *rest = arguments
    if first == "-c":
        compile(rest[0], "-c", "exec")
    elif first == "-m" and rest[0] == "venv":
        pass
    elif first == "-m" and rest[0] == "pytest":
        paths = [word.partition("::")[0] for word in rest[1:] if "/" in word]
        assert paths and all((REPOSITORY / path).exists() for path in paths), paths
    elif first == "-m":
        name, options = rest[0], rest[1:]
        assert importlib.util.find_spec(name), f"{name}: no such module"
        check_parser(lambda: run_module(name, options), options)
    else:
        script = REPOSITORY / first
        assert script.is_file(), f"{first}: no such file"
        usage = re.match(r'"""[^"]*?: python \w+\.py ([^"\n]*)', script.read_text())
        if usage:  # a program of some twenty lines, without a parser
            assert len(rest) == len(usage[1].split()), f"{first}: {usage[1]}"
            return
        check_parser(lambda: run_script(script, rest), rest)


def check_parser(run: Callable[[], Any], arguments: Sequence[str]) -> None:
    """Run a program until it has parsed its options.

    "…" stands for options that are left out; then only those that are there are looked at.
    """
    if "…" not in arguments:
        with pytest.raises(ParsedError):
            run()
        return
    with pytest.raises((ParsedError, SystemExit)):
        run()
    text = help_of(run)
    for word in arguments:
        if word.startswith("--"):
            assert word in text, f"{word}: no such option"


def help_of(run: Callable[[], Any]) -> str:
    """All option strings of the parser that a program ends up with."""
    seen: list[str] = []
    error = argparse.ArgumentParser.error

    def remember(self: argparse.ArgumentParser, message: str) -> None:
        seen.extend(self._option_string_actions)
        error(self, message)

    original = argparse.ArgumentParser.parse_known_args

    def known(self: argparse.ArgumentParser, *args: Any, **options: Any) -> Any:
        seen.extend(self._option_string_actions)
        return original(self, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "error", remember)
        patch.setattr(argparse.ArgumentParser, "parse_known_args", known)
        with pytest.raises((ParsedError, SystemExit)):
            run()
    return " ".join(seen).split()  # type: ignore[return-value]


def run_module(name: str, options: Sequence[str]) -> None:
    """As `python -m name`, for a module that other tests may have imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *options])
        runpy.run_module(name, run_name="__main__", alter_sys=False)


def run_script(path: Path, options: Sequence[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(path), *options])
        patch.syspath_prepend(str(path.parent))
        runpy.run_path(str(path), run_name="__main__")


def check_pip(arguments: Sequence[str]) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert arguments[0] == "install"
    for word in arguments[1:]:
        name, _, extras = word.rstrip("]").partition("[")
        assert name in (".", "mrcnn") or name in OTHER_PACKAGES, f"{word}: unknown package"
        missing = set(filter(None, extras.split(","))) - set(project["optional-dependencies"])
        assert not missing, f"{word}: no such extra"
