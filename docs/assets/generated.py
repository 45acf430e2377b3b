"""Pages that are made of the code: the Python API, the command line, and every setting."""

from __future__ import annotations

import ast
import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# The package is imported from beside the pages, wherever else it may be installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

NO_SEARCH = "---\nsearch:\n  exclude: true\n---\n"
BEHIND_GUIDES = "---\nsearch:\n  boost: 0.5\n---\n"
LANGUAGES = {".py": "python", ".toml": "toml", ".csv": "text", ".md": "markdown"}


def pages(root: Path) -> dict[str, str]:
    """The text of every generated page, by its place below docs/."""
    made = {"commands.md": _commands(), "every_setting.md": _settings(root)}
    for path in _modules(root):
        made[api_uri(path)] = _module_page(root, path)
    for folder in sorted({Path(path).parent for path in _modules(root)} - {Path("mrcnn")}):
        made[api_uri(folder.as_posix())] = _folder_page(root, folder)
    made["api/index.md"] = _overview(root)
    return made


def api_uri(path: str) -> str:
    """The page of a module's file or of a folder of modules, such as mrcnn/ops/nms.py."""
    below = path.removeprefix("mrcnn").strip("/")
    return f"api/{below.removesuffix('.py')}.md" if below.endswith(".py") else _index(below)


def api_navigation(root: Path) -> list[Any]:
    """The API's part of the navigation: the overview, the doors, then folder by folder."""
    folders: dict[str, list[Any]] = {}
    for path in _modules(root):
        folders.setdefault(Path(path).parent.as_posix(), []).append(
            {Path(path).stem: api_uri(path)}
        )
    modules = folders.pop("mrcnn")
    parts = [
        {folder.removeprefix("mrcnn/"): [api_uri(folder), *entries]}
        for folder, entries in sorted(folders.items())
    ]
    return ["api/index.md", *modules, *parts]


def source_page(root: Path, path: str) -> str:
    """A page with the text of a file, or the names of a folder's files."""
    place = root / path
    if place.is_dir():
        names = sorted(entry.name for entry in place.iterdir() if entry.name[0] not in "._")
        return f"{NO_SEARCH}# {path}\n\n" + "\n".join(f"- `{name}`" for name in names) + "\n"
    return f"{NO_SEARCH}# {path}\n\n" + _code(place)


def _index(folder: str) -> str:
    return f"api/{folder}/index.md" if folder else "api/index.md"


def _code(place: Path) -> str:
    text = place.read_text(encoding="utf-8")
    if place.suffix == ".ipynb":
        return _notebook(text)
    fence = "`" * 4 if "```" in text else "```"
    return f"{fence}{LANGUAGES.get(place.suffix, 'text')}\n{text}\n{fence}\n"


def _notebook(text: str) -> str:
    """The cells of a notebook, without what they printed."""
    parts = []
    for cell in json.loads(text)["cells"]:
        content = "".join(cell["source"])
        code = cell["cell_type"] == "code"
        # Its headings are below that of the page.
        parts.append(f"```python\n{content}\n```" if code else re.sub("^#", "##", content))
    return "\n\n".join(parts) + "\n"


# --- Python API -----------------------------------------------------------------------------------


def _modules(root: Path) -> list[str]:
    """The files of the package's public modules."""
    found = [path.relative_to(root).as_posix() for path in sorted((root / "mrcnn").rglob("*.py"))]
    return [path for path in found if not path.endswith(("__init__.py", "__main__.py"))]


def _dotted(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".")


def _first_line(place: Path) -> str:
    """What a module's docstring says first."""
    text = ast.get_docstring(ast.parse(place.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split()).replace("|", "\\|")


def _module_page(root: Path, path: str) -> str:
    indented = "".join(f"    {line}\n" for line in _code(root / path).splitlines())
    return (
        f"{BEHIND_GUIDES}# {_dotted(path)}\n\n::: {_dotted(path)}\n\n"
        f'<div data-search-exclude markdown>\n\n??? quote "{path}"\n\n{indented}\n</div>\n'
    )


def _folder_page(root: Path, folder: Path) -> str:
    head = _first_line(root / folder / "__init__.py")
    own = [path for path in _modules(root) if Path(path).parent == folder]
    return f"# {_dotted(folder.as_posix())}\n\n{head}\n\n{_table(root, own, folder)}"


def _table(root: Path, paths: list[str], folder: Path) -> str:
    rows = [
        f"| [`{Path(path).stem}`]({path}) | {_first_line(root / path)} |".replace(
            f"({path})", f"({Path(path).relative_to(folder).with_suffix('.md').as_posix()})"
        )
        for path in paths
    ]
    return "| module | |\n|---|---|\n" + "\n".join(rows) + "\n"


def _overview(root: Path) -> str:
    """The first page: what most programs need, then every folder."""
    folders = sorted({Path(path).parent for path in _modules(root)} - {Path("mrcnn")})
    own = [path for path in _modules(root) if Path(path).parent == Path("mrcnn")]
    rows = [
        f"| [`{folder.relative_to('mrcnn').as_posix()}`]"
        f"({folder.relative_to('mrcnn').as_posix()}/index.md) "
        f"| {_first_line(root / folder / '__init__.py')} |"
        for folder in folders
    ]
    return (
        "# Python API\n\nEvery public function and class, from the docstrings of the code; each "
        "page ends with its file. Most programs need no more than `mrcnn.load` and "
        "[`MaskRCNN`](model.md). What these names have to do with Matterport's is in "
        "[Compatibility](../compatibility.md); how the folders depend on each other in "
        "[Architecture](../architecture.md).\n\n"
        "::: mrcnn.load\n    options:\n      show_root_heading: true\n"
        "      show_root_full_path: true\n\n"
        f"## Modules\n\n{_table(root, own, Path('mrcnn'))}\n"
        "## Folders\n\n| folder | |\n|---|---|\n" + "\n".join(rows) + "\n"
    )


# --- The command line -----------------------------------------------------------------------------


def _commands() -> str:
    """Each command's own help."""
    from mrcnn.commands.cli import COMMANDS, module_of
    from mrcnn.commands.parser import Parser

    parts = ["# Command line\n\nWhat `mrcnn COMMAND --help` prints, command by command.\n"]
    for name in COMMANDS:
        module = module_of(name)
        parser = Parser(prog=f"mrcnn {name}")
        module.add_options(parser)
        parser.formatter_class = _narrow(parser.formatter_class)
        parts.append(f"## mrcnn {name}\n\n```text\n{parser.format_help()}```\n")
    return "\n".join(parts)


def _narrow(formatter: Any) -> Any:
    """A formatter of help that does not ask how wide the terminal is."""
    return lambda prog: formatter(prog, width=76, max_help_position=24)


# --- Settings -------------------------------------------------------------------------------------


def _settings(root: Path) -> str:
    """Every setting: its default, what it may be, and the comment of `mrcnn/config.py`."""
    rules = importlib.import_module("mrcnn.setting_rules.rules").RULES
    expected = {name: rule.expected for rule in rules for name in rule.names}
    text = (root / "mrcnn" / "config.py").read_text(encoding="utf-8")
    parts = [
        "# Every setting\n\nThe attributes of [`mrcnn.config.Config`](api/config.md), with their "
        "defaults. On the command line: `--set NAME=VALUE`. How to choose the ones that matter is "
        "in [Choosing settings](settings.md).\n"
    ]
    for title, settings in _sections(text):
        known = [row for row in settings if row[0] in expected]
        if known:
            parts.append(f"## {title}\n\n| setting, default | |\n|---|---|")
            for name, default, comment in known:
                meaning = f"{comment.rstrip('.')}. " if comment else ""
                meaning = f"{meaning[:1].upper()}{meaning[1:]}*May be {expected[name]}.*"
                parts.append(f"| `{name}` `{_cell(default)}`{{ .default }} | {_cell(meaning)} |")
            parts.append("")
    return "\n".join(parts)


def _sections(text: str) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """The headed parts of class Config: (name, default, comment) of each setting."""
    lines = text.splitlines()
    config = next(
        node
        for node in ast.parse(text).body
        if isinstance(node, ast.ClassDef) and node.name == "Config"
    )
    title, rows = "", []
    last = config.lineno
    for node in config.body:
        for line in lines[last : node.lineno - 1]:
            if head := re.match(r" *# --- (.*?) -+$", line):
                yield title, rows
                title, rows = re.sub(r" \(docs/.*\)", "", head.group(1)), []
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            name = ast.unparse(node.target)
            rows.append((name, _value(node.value, name), _comment(lines, node)))
        last = node.end_lineno or node.lineno
    yield title, rows


def _value(node: ast.expr, name: str) -> str:
    """A default as it is written, or what it comes to."""
    try:
        return repr(ast.literal_eval(node))
    except ValueError:
        from mrcnn.config import Config

        value = getattr(Config, name)
        return repr(value.tolist() if hasattr(value, "tolist") else value)


def _comment(lines: list[str], node: ast.AnnAssign) -> str:
    """The comment above a setting, and the one behind it."""
    above: list[str] = []
    for line in reversed(lines[: node.lineno - 1]):
        if not line.strip().startswith("#") or line.strip().startswith("# ---"):
            break
        above.insert(0, line.strip().lstrip("# "))
    text = "\n".join(lines[node.lineno - 1 : node.end_lineno])
    behind = re.search(r"  # (.*)", text)
    return " ".join([*above, behind.group(1) if behind else ""]).strip()


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
