"""The examples in docstrings, which the site shows as the Python API, are right.

`testpaths` in pyproject.toml names the folders whose examples pytest collects; here are the others.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import re
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from mrcnn.commands import cli
from mrcnn.commands.parser import Parser

REPOSITORY = Path(__file__).resolve().parents[2]
LITERAL = re.compile(r"::\n\n((?: {4}.*\n?|\n)+)")
# Indented text that is no Python.
OTHER = {"mrcnn.ablation.matching": "a formula", "mrcnn.commands.config_file": "YAML"}


def modules() -> Iterator[tuple[str, str]]:
    """The dotted name and the text of each file of the package."""
    for path in sorted((REPOSITORY / "mrcnn").rglob("*.py")):
        parts = path.relative_to(REPOSITORY).with_suffix("").parts
        yield ".".join(parts).removesuffix(".__init__"), path.read_text(encoding="utf-8")


def collected_by_pytest() -> tuple[str, ...]:
    options = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["pytest"]
    return tuple(path.replace("/", ".") for path in options["ini_options"]["testpaths"])


def with_examples() -> list[str]:
    collected = collected_by_pytest()
    return [
        name
        for name, text in modules()
        if re.search(r"(?m)^ *>>> ", text) and not name.startswith(collected)
    ]


def literal_blocks() -> list[tuple[str, str]]:
    """The indented code of each docstring, behind a text that ends in "::"."""
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef
    return [
        (name, textwrap.dedent(code))
        for name, text in modules()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, kinds)
        for code in LITERAL.findall(ast.get_docstring(node) or "")
    ]


@pytest.mark.parametrize("name", with_examples())
def test_the_examples_of_a_module_give_what_they_say(name: str):
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried and not failed


def test_there_are_some():
    assert len(with_examples()) > 5 and len(literal_blocks()) > 5


@pytest.mark.parametrize(("name", "code"), literal_blocks())
def test_indented_code_is_python(name: str, code: str):
    if name not in OTHER:
        compile(code, name, "exec")


def test_the_file_of_options_has_options():
    [code] = [code for name, code in literal_blocks() if name == "mrcnn.commands.config_file"]
    parser = Parser()
    cli.module_of("train").add_options(parser)
    known = {action.dest for action in parser._actions}
    from mrcnn.config import Config

    for name in yaml.safe_load(code):
        assert name in known or hasattr(Config, name), name
