"""XML of strangers: no entities, no document types, a bounded size and depth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn
from xml.etree import ElementTree
from xml.parsers import expat

from mrcnn.files.untrusted import MAX_JSON_BYTES

MAX_DEPTH = 32
_CHUNK = 1 << 16


def elements(path: Path, kind: str) -> Iterator[tuple[str, ElementTree.Element]]:
    """The elements below the outermost one, one after the other, each complete.

    Yields:
        The name of the outermost element, and an element; it is not kept afterwards.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is not XML, has a document type or an entity, or is too large; names it.
    """
    size = path.stat().st_size
    if size > MAX_JSON_BYTES:
        raise ValueError(
            f"{path}: expected {kind} of at most {MAX_JSON_BYTES} bytes (the environment variable "
            f"MRCNN_MAX_JSON_BYTES); it has {size}."
        )
    reader = _Reader(path, kind)
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            yield from reader.feed(chunk)
    yield from reader.feed(b"", last=True)


class _Reader:
    """Builds elements from what expat finds, and refuses what could grow."""

    def __init__(self, path: Path, kind: str) -> None:
        self._path, self._kind = path, kind
        self._open: list[ElementTree.Element] = []
        self._done: list[tuple[str, ElementTree.Element]] = []
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._parser.StartDoctypeDeclHandler = self._refuse
        self._parser.EntityDeclHandler = self._refuse
        self._parser.ExternalEntityRefHandler = self._refuse

    def feed(self, chunk: bytes, last: bool = False) -> list[tuple[str, ElementTree.Element]]:
        """Read on, and return the elements that are complete."""
        try:
            self._parser.Parse(chunk, last)
        except (expat.ExpatError, LookupError) as error:  # the latter of an unknown encoding
            raise ValueError(f"{self._path}: expected {self._kind}; {error}.") from None
        done, self._done = self._done, []
        return done

    def _refuse(self, *_: object) -> NoReturn:
        raise ValueError(
            f"{self._path}: expected {self._kind} without a document type and entities, which "
            f"tools do not write; it has some, and is not read."
        )

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._open) >= MAX_DEPTH:
            raise ValueError(f"{self._path}: expected {self._kind}; it is nested too deeply.")
        element = ElementTree.Element(name, attributes)
        if len(self._open) > 1:
            self._open[-1].append(element)
        self._open.append(element)

    def _end(self, _name: str) -> None:
        element = self._open.pop()
        if len(self._open) == 1:
            self._done.append((self._open[0].tag, element))

    def _text(self, text: str) -> None:
        element = self._open[-1]
        if len(element):
            element[-1].tail = (element[-1].tail or "") + text
        else:
            element.text = (element.text or "") + text
