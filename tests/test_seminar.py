"""docs/seminar.md names things that exist; its links and modules are in tests/test_docs.py too."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from mrcnn.commands import cli
from mrcnn.config import Config

REPOSITORY = Path(__file__).resolve().parent.parent
PAGE = REPOSITORY / "docs" / "seminar.md"
TEXT = PAGE.read_text(encoding="utf-8")
CODE = re.findall(r"`([^`]+)`", TEXT)
LINKS = re.findall(r"\]\(([^)]+)\)", TEXT)
DOTTED = [code for code in CODE if re.fullmatch(r"mrcnn(?:\.\w+)+", code)]
SETTINGS = [code for code in CODE if re.fullmatch(r"[A-Z][A-Z_]+", code)]
COMMANDS = [code.split()[1] for code in CODE if code.startswith("mrcnn ")]
# What the notes describe.
PARTS = """backbone, ResNeXt, feature pyramid, RPN, anchors, proposals, non-maximum suppression,
    RoIPool, RoIAlign, mask head, deltas, labels, border, losses, pretraining, alternating, IoU, AP,
    digits"""


def anchors_of(path: Path) -> set[str]:
    """The fragments of a page's headings, as GitHub makes them."""
    heads = re.findall(r"(?m)^#+ (.+)$", path.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def names_in(path: Path) -> set[str]:
    """Functions and classes of a module, by its text: nothing is imported."""
    nodes = ast.parse(path.read_text(encoding="utf-8")).body
    return {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)}


def test_it_goes_through_the_seminar():
    missing = [part for part in re.split(r",\s+", PARTS) if part.lower() not in TEXT.lower()]
    assert not missing
    assert len(LINKS) > 20 and len(DOTTED) > 20 and len(SETTINGS) > 15 and len(COMMANDS) >= 4


@pytest.mark.parametrize("link", sorted(set(LINKS)))
def test_a_link_leads_somewhere(link: str):
    target, _, fragment = link.partition("#")
    path = PAGE.parent / target if target else PAGE
    assert path.exists(), link
    assert not fragment or fragment in anchors_of(path), link


@pytest.mark.parametrize("name", sorted(set(DOTTED)))
def test_a_dotted_name_is_a_module_or_in_one(name: str):
    path = REPOSITORY / name.replace(".", "/")
    if path.is_dir() or path.with_suffix(".py").is_file():
        return
    module = path.parent.with_suffix(".py")
    assert module.is_file() and path.name in names_in(module), name


@pytest.mark.parametrize("path", sorted({c for c in CODE if re.fullmatch(r"[\w]+(?:/[\w.]+)+", c)}))
def test_a_path_exists(path: str):
    assert (REPOSITORY / path).exists()


def test_settings_and_commands_exist():
    assert [name for name in SETTINGS if not hasattr(Config, name)] == []
    assert [name for name in COMMANDS if name not in cli.COMMANDS] == []
