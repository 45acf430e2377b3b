"""The documentation site: it builds strictly, its links lead somewhere, it needs no network."""

from __future__ import annotations

import ast
import html
import os
import posixpath
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

pytest.importorskip("mkdocs", reason='needs pip install "mrcnn[docs]"')
pytest.importorskip("mkdocstrings", reason='needs pip install "mrcnn[docs]"')

from mrcnn.commands.cli import COMMANDS  # noqa: E402
from mrcnn.setting_rules.rules import RULES  # noqa: E402

# Building takes half a minute; the workflow's job for the site, and `make test-all`, run these.
pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).resolve().parents[2]
TAG = re.compile(r"<(a|img|link|script|iframe|source|video)\b([^>]*)>")
ATTRIBUTE = re.compile(r"\b(href|src|id|rel)=(?:\"([^\"]*)\"|'([^']*)'|([^\s>]+))")
ID = re.compile(r"<\w[^>]*?\b(?:id|name)=\"?([^\s\">]+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does: a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-5000:]
    assert "WARNING" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, str]:
    """The text of each page, by its place in the site."""
    found = {
        path.relative_to(site).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(site.rglob("*.html"))
    }
    assert len(found) > 300
    return found


def tags(text: str) -> list[tuple[str, dict[str, str]]]:
    """The tags that lead somewhere, with their attributes."""
    return [
        (name, {a[0]: html.unescape(a[1] or a[2] or a[3]) for a in ATTRIBUTE.findall(attributes)})
        for name, attributes in TAG.findall(text)
    ]


def test_every_link_leads_somewhere(site: Path, pages: dict[str, str]):
    ids = {page: set(ID.findall(text)) for page, text in pages.items()}
    dead = []
    for page, text in pages.items():
        if page == "404.html":  # its links are those of the root, wherever it is shown
            continue
        for _, attributes in tags(text):
            target = attributes.get("href", attributes.get("src", ""))
            if not target or re.match(r"[a-z]+:", target):
                continue
            path, _, fragment = target.partition("#")
            place = posixpath.normpath(posixpath.join(posixpath.dirname(page), unquote(path)))
            place = page if not path else place
            if not (site / place).exists():
                dead.append(f"{page}: {target}")
            elif fragment and place in ids and unquote(fragment) not in ids[place] | {"__top"}:
                dead.append(f"{page}: {target}")
    assert dead == []


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[str, str]):
    for page, text in pages.items():
        for name, attributes in tags(text):
            if name == "a" or attributes.get("rel") == "canonical":
                continue
            for target in (attributes.get("href", ""), attributes.get("src", "")):
                assert not re.match(r"(https?:)?//", target), f"{page}: {target}"
    for path in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//|@import", path.read_text()), path.name


def test_every_public_name_is_in_the_reference(pages: dict[str, str]):
    missing = []
    for path in sorted((REPOSITORY / "mrcnn").rglob("*.py")):
        if path.name in ("__init__.py", "__main__.py"):
            continue
        module = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
        page = pages["api/" + path.relative_to(REPOSITORY / "mrcnn").as_posix()[:-3] + ".html"]
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"
            if public and ast.get_docstring(node) and f'id="{module}.{node.name}"' not in page:
                missing.append(f"{module}.{node.name}")
    assert missing == []


def test_the_reference_shows_types_examples_and_the_file(pages: dict[str, str]):
    page = re.sub(r"<[^>]+>", "", pages["api/ops/boxes.html"])
    assert "normalize(boxes: Tensor, image_shape: Tensor) -&gt; Tensor" in page
    assert "&gt;&gt;&gt; ops.convert_to_numpy(normalize(" in page
    assert "def normalize(" in page


def test_every_command_and_every_setting_has_its_place(pages: dict[str, str]):
    for name in COMMANDS:
        assert f"usage: mrcnn {name} " in pages["commands.html"]
    for rule in RULES:
        for name in rule.names:
            assert f"<code>{name}</code> <code" in pages["every_setting.html"], name
