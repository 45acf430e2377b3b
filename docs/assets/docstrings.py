"""A griffe extension: the package's docstrings, written to be read in the code, as Markdown.

`Args:` may name several parameters that share a description; examples need no heading; a text
that ends in "::" is followed by indented code.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

ARGUMENTS = re.compile(r"^(Args|Attributes):\n(?: .*\n?|\n)*", re.MULTILINE)
# An indented "first, second: what both are", with the lines that continue it.
SHARED = re.compile(r"^( +)(\w+(?:,\s+\w+)+):\s((?:.*)(?:\n\1 .*)*)", re.MULTILINE)
EXAMPLE = re.compile(r"^>>> .*(?:\n(?!$).*)*", re.MULTILINE)
LITERAL = re.compile(r"::\n\n(?=    )")


class PlainDocstrings(griffe.Extension):
    """Changes the text of each docstring before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for every module, class, function and attribute."""
        if obj.docstring is not None:
            text = ARGUMENTS.sub(_apart, obj.docstring.value)
            text = EXAMPLE.sub(lambda code: f"```pycon\n{code.group()}\n```", text)
            obj.docstring.value = LITERAL.sub(":\n\n", text)


def _apart(section: re.Match[str]) -> str:
    return SHARED.sub(_one_each, section.group())


def _one_each(shared: re.Match[str]) -> str:
    indent, names, text = shared.groups()
    return "\n".join(f"{indent}{name}: {text}" for name in re.split(r",\s+", names))
