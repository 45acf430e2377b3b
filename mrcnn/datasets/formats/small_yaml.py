"""A few keys of a YAML file: texts, numbers, lists and tables of one level, as in YOLO's data.yaml.

A whole YAML reader would be one more dependency. What this one does not know is an error where it
is asked for, and left alone elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

_KEY = re.compile(r"(?P<key>\"[^\"]*\"|'[^']*'|[^\s#:'\"\[\]{},][^#:]*?)\s*:(?:\s+(?P<value>.*))?$")


class YamlError(ValueError):
    """A value cannot be read; the text says what was expected, and the line."""


def read_keys(lines: Sequence[str], keys: Sequence[str]) -> dict[str, Any]:
    """The values of some keys of the outermost level.

    Returns:
        By key: a text, None, a list of texts, or a table {text: text}. Keys that are not there are
        missing.

    >>> lines = ["names:", "  0: cat  # first", "  1: 'dog'", "train: [a, b]"]
    >>> read_keys(lines, ["names", "train"])
    {'names': {'0': 'cat', '1': 'dog'}, 'train': ['a', 'b']}

    Raises:
        YamlError: a value is in a form that is not known here.
    """
    found: dict[str, Any] = {}
    starts = [i for i, line in enumerate(lines) if line[:1].strip() and line[0] not in "#-%]}"]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        match = _KEY.match(_without_comment(lines[start]))
        key = _text(match["key"], start) if match else None
        if match and key in keys:
            if key in found:
                raise YamlError(f"expected each key once; line {start + 1} has {key!r} again")
            rest = [
                (start + 1 + i, _without_comment(s)) for i, s in enumerate(lines[start + 1 : end])
            ]
            block = [(number, text) for number, text in rest if text.strip()]
            found[str(key)] = _value((match["value"] or "").strip(), block, start)
    return found


def _value(text: str, block: list[tuple[int, str]], line: int) -> Any:
    if text[:1] in ("[", "{"):  # perhaps over several lines
        return _flow(" ".join([text, *(part.strip() for _, part in block)]), line)
    if text in ("~", "null"):
        return None
    if text:
        if block:
            raise YamlError(f"expected a value on one line; received more after line {line + 1}")
        return _text(text, line)
    if not block:
        return None
    if block[0][1].strip().startswith("- "):
        values = []
        for number, part in block:
            if not part.strip().startswith("- "):
                raise YamlError(
                    f"expected '- VALUE' in line {number + 1}; received {part.strip()!r}"
                )
            values.append(_text(part.strip()[2:].strip(), number))
        return values
    table = {}
    indent = len(block[0][1]) - len(block[0][1].lstrip())
    for number, part in block:
        match = _KEY.match(part.strip())
        if (
            not match
            or len(part) - len(part.lstrip()) != indent
            or not (match["value"] or "").strip()
        ):
            raise YamlError(
                f"expected 'KEY: VALUE' in line {number + 1}; received {part.strip()!r}"
            )
        table[_text(match["key"], number)] = _text(match["value"].strip(), number)
    return table


def _flow(text: str, line: int) -> Any:
    close = {"[": "]", "{": "}"}[text[0]]
    if not text.endswith(close):
        raise YamlError(f"expected {close!r} at the end of the value of line {line + 1}")
    parts = [part for part in _split(text[1:-1], line) if part.strip()]
    if text[0] == "[":
        return [_text(part.strip(), line) for part in parts]
    table = {}
    for part in parts:
        key, colon, value = part.partition(":")
        if not colon:
            raise YamlError(f"expected KEY: VALUE in line {line + 1}; received {part.strip()!r}")
        table[_text(key.strip(), line)] = _text(value.strip(), line)
    return table


def _split(text: str, line: int) -> list[str]:
    """Cut at commas outside quotes."""
    parts, quote = [""], ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "[]{}":
            raise YamlError(f"expected a list or table of plain values in line {line + 1}")
        if letter == "," and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _text(text: str, line: int) -> str:
    if text[:1] in ("'", '"'):
        if len(text) < 2 or text[-1] != text[0]:
            raise YamlError(f"expected a closing quote in line {line + 1}; received {text!r}")
        inner = text[1:-1]
        return inner.replace("''", "'") if text[0] == "'" else inner
    if text[:1] in ("&", "*", "!", "|", ">", "[", "{"):
        raise YamlError(f"expected a plain value in line {line + 1}; received {text!r}")
    return text


def _without_comment(line: str) -> str:
    quote = ""
    for i, letter in enumerate(line):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"" and (i == 0 or line[i - 1] in " [{,:"):
            quote = letter
        elif letter == "#" and (i == 0 or line[i - 1].isspace()):
            return line[:i].rstrip()
    return line.rstrip()
