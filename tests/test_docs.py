"""What the documents name exists."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
# CHANGELOG.md also names what was: it is not among them.
DOCUMENTS = [
    *sorted(path.name for path in REPOSITORY.glob("*.md") if path.name != "CHANGELOG.md"),
    *sorted(f"docs/{path.name}" for path in (REPOSITORY / "docs").glob("*.md")),
    *("docs/results/README.md", "docs/results/protocol.md", "docs/results/variants.md"),
    *("benchmarks/README.md", "tests/fixtures/README.md"),
]
PATH = re.compile(r"(?<![\w/.])(?:mrcnn|tests|benchmarks|samples|docs)/[\w/.]*\w")
MODULE = re.compile(r"(?<![\w/.-])(?:mrcnn|benchmarks)(?:\.[a-z_][a-z0-9_]*)+")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
FRAGMENT = re.compile(r"\]\(([^)#:]*)#([^)]+)\)")


def text(document: str) -> str:
    return (REPOSITORY / document).read_text(encoding="utf-8")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_paths(document):
    missing = [path for path in PATH.findall(text(document)) if not (REPOSITORY / path).exists()]
    # CONTRIBUTING.md shows how a command is added.
    assert set(missing) <= {"tests/commands/test_layers.py"}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links(document):
    folder = (REPOSITORY / document).parent
    links = [link for link in LINK.findall(text(document)) if "issues/new" not in link]
    assert [link for link in links if not (folder / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_fragments(document):
    """A link to a part of a page names one of its headings, as GitHub and the site spell it."""
    folder = (REPOSITORY / document).parent
    for target, fragment in FRAGMENT.findall(text(document)):
        path = (folder / target).resolve() if target else REPOSITORY / document
        if path.suffix == ".md":
            heads = re.findall(r"(?m)^#+ (.+)$", path.read_text(encoding="utf-8"))
            names = [re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads]
            assert fragment in names, f"{target}#{fragment}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_modules(document):
    """The longest part of a dotted name that may be a module is one; the rest are attributes."""
    for name in MODULE.findall(text(document)):
        module, _, rest = name.rpartition(".")
        found = importlib.util.find_spec(name) if _is_package(module) else None
        assert found or _defines(name), f"{document}: {name}"


def test_the_examples_of_contributing_start_from_lines_that_exist():
    """The diffs in CONTRIBUTING.md show what to change: their old lines are those of the code."""
    sources = [path.read_text(encoding="utf-8") for path in (REPOSITORY / "mrcnn").rglob("*.py")]
    old = [
        line[1:]
        for diff in re.findall(r"```diff\n(.*?)```", text("CONTRIBUTING.md"), flags=re.DOTALL)
        for line in diff.splitlines()
        if not line.startswith("+")
    ]
    assert len(old) >= 2
    assert [line for line in old if not any(f"\n{line}\n" in source for source in sources)] == []


def _is_package(module: str) -> bool:
    return (REPOSITORY / module.replace(".", "/")).is_dir()


def _defines(name: str) -> bool:
    """Whether a module's text has the attribute, so that nothing need be imported."""
    module, _, attribute = name.rpartition(".")
    path = REPOSITORY / (module.replace(".", "/") + ".py")
    if (REPOSITORY / module).is_dir():
        path = REPOSITORY / module / "__init__.py"
    return path.is_file() and re.search(rf"\b{attribute}\b", path.read_text(encoding="utf-8"))


def test_the_whole_script_in_the_old_style_runs(tmp_path, monkeypatch, capsys):
    """As it stands, but for its length and the size of its network."""
    blocks = re.findall(r"```python\n(.*?)```", text("docs/matterport.md"), re.DOTALL)
    (script,) = (block for block in blocks if "model.train(" in block)
    shorter = {
        "STEPS_PER_EPOCH = 60": "STEPS_PER_EPOCH = 1",
        "VALIDATION_STEPS = 2": "VALIDATION_STEPS = 1\n    TOP_DOWN_PYRAMID_SIZE = 16",
        "epochs=2": "epochs=1",
        "epochs=3": "epochs=2",
        "load_discs(200": "load_discs(8",
    }
    for long, short in shorter.items():
        assert script.count(long) == 1, long
        script = script.replace(long, short)
    monkeypatch.chdir(tmp_path)
    exec(compile(script, "docs/matterport.md", "exec"), {})
    assert "discs found" in capsys.readouterr().out
    assert list((tmp_path / "logs").glob("discs*/mask_rcnn_discs_0002.h5"))
