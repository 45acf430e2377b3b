"""The blocks of code in README.md and on the pages of the site."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = tuple(
    path.relative_to(REPOSITORY).as_posix()
    for path in (
        *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
        *sorted((REPOSITORY / "docs").rglob("*.md")),
        *(REPOSITORY / name for name in ("benchmarks/README.md", "tests/fixtures/README.md")),
        REPOSITORY / "mrcnn/nuclei-model/README.md",
    )
)
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
MARK = re.compile(r"<!-- not run: (.+?) -->\n\s*\Z", re.DOTALL)
# Code that is only indented: a command after an empty line.
INDENTED = re.compile(r"(?<=\n\n)(?:    (?:mrcnn|python|make) .*\n(?:    .*\n)*)+")


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        page: its file, from the repository's root.
        line: where it begins.
        language: as the fence says; "bash" for indented commands.
        code: its text.
        reason: why nothing runs it, as the mark above it says; None without a mark.
    """

    page: str
    line: int
    language: str
    code: str
    reason: str | None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks() -> list[Block]:
    """All blocks of all pages, in their order."""
    return [block for page in PAGES for block in _blocks_of(page)]


def _blocks_of(page: str) -> Iterator[Block]:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    for fence in FENCE.finditer(text):
        indent, language, code = fence.groups()
        mark = MARK.search(text[: fence.start()])
        lines = "".join(line.removeprefix(indent) for line in code.splitlines(keepends=True))
        yield Block(page, _line(text, fence.start()), language, lines, mark[1] if mark else None)
    for match in INDENTED.finditer(FENCE.sub(lambda fence: "\n" * fence[0].count("\n"), text)):
        code = re.sub(r"(?m)^    ", "", match.group())
        yield Block(page, _line(text, match.start()), "bash", code, None)


def _line(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1


def commands(code: str) -> list[list[str]]:
    """The words of each command of a block for the shell, in which variables have their values.

    Loops run once, with the first value; comments and what sets variables are left out.
    """
    variables: dict[str, str] = {}
    found = []
    for line in _lines(code):
        words = _words(line, variables)
        while words and re.fullmatch(r"\w+=.*", words[0], re.DOTALL):
            name, _, value = words.pop(0).partition("=")
            variables[name] = value
        if words[:1] == ["for"]:
            variables[words[1]] = words[3].rstrip(";")
        elif words and words != ["done"]:
            found.append(words)
    return found


def _lines(code: str) -> Iterator[str]:
    """Whole commands: lines that end in a backslash, or in an open quote, go on."""
    whole = ""
    for line in code.splitlines():
        whole += line
        if line.endswith("\\"):
            whole = whole[:-1]
            continue
        try:
            shlex.split(whole, comments=True)
        except ValueError:  # a quote is open
            whole += "\n"
            continue
        yield whole
        whole = ""
    assert not whole.strip(), f"a command does not end: {whole}"


def _words(line: str, variables: dict[str, str]) -> list[str]:
    for name, value in variables.items():
        line = re.sub(rf"\${name}\b", lambda _, value=value: " ".join(value.split()), line)
    return shlex.split(line, comments=True)
