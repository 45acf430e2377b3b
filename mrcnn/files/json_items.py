"""Lists in json files of any size: their items are read from the file when they are asked for.

The annotations of a large data set take some ten times their file's size as Python objects, in
every process that touches them. Here a file is read once, a few megabytes at a time; of the lists
that are named, the place of each item is kept, 12 bytes, and not what it holds.
"""

from __future__ import annotations

import json
import os
import re
import threading
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, overload

import numpy as np

from mrcnn.files.untrusted import expect_json_size, load_json

# Smaller files are read whole: as objects they fit beside the network.
MIN_BYTES = 64 << 20
# What is read and decoded at a time. An item that is larger is read whole.
WINDOW_BYTES = 4 << 20
# Of items that are read one after another; those of one image seldom lie side by side.
READ_AHEAD_BYTES = 256 << 10
PLACES = 10_000  # that are Python's integers at a time

_SPACE = re.compile(r"[ \t\n\r]*")
_COMMA = re.compile(r"[ \t\n\r]*,[ \t\n\r]*")
_HAS_PREAD = hasattr(os, "pread")
_BEHIND_VALUES = frozenset(" \t\n\r,:]}")
_decode = json.JSONDecoder().raw_decode


class FileChangedError(RuntimeError):
    """A file is not the one any more that was read; names it."""


class _UnexpectedError(ValueError):
    """The file is not what a quick look took it for."""


class JsonItems(Sequence[Any]):
    """Items of a list in a json file, each decoded anew whenever it is asked for.

    Copies of it, those in other processes included, share the file and hold places alone.

    Raises:
        FileChangedError: by every access, once the file is another one.
    """

    def __init__(
        self, path: Path, version: tuple[int, int], starts: np.ndarray, sizes: np.ndarray
    ) -> None:
        """Name the places of the items.

        Args:
            path: of the file.
            version: its size and time, as `_version` gives them.
            starts: int64 [N], the first byte of each item.
            sizes: int32 [N], how many bytes it has.
        """
        self._path = path
        self._version = version
        self._starts = starts
        self._sizes = sizes
        self._file: BinaryIO | None = None
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> JsonItems: ...

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        return next(self.read((index,)))

    def __iter__(self) -> Iterator[Any]:
        self._open()
        first, ahead = 0, b""
        for start, size in self._places():
            if not first <= start <= start + size <= first + len(ahead):
                first, ahead = start, self._bytes(start, max(size, READ_AHEAD_BYTES))
            yield _decode(ahead[start - first : start - first + size].decode())[0]

    def _places(self) -> Iterator[tuple[int, int]]:
        """First byte and bytes of each, some at a time: as Python's integers they take 70 bytes."""
        for place in range(0, len(self), PLACES):
            some = slice(place, place + PLACES)
            yield from zip(self._starts[some].tolist(), self._sizes[some].tolist(), strict=True)

    def read(self, numbers: Iterable[int]) -> Iterator[Any]:
        """Some of the items, by their numbers, one after another."""
        self._open()
        for number in numbers:
            data = self._bytes(int(self._starts[number]), int(self._sizes[number]))
            yield _decode(data.decode())[0]

    def take(self, numbers: Sequence[int] | np.ndarray) -> JsonItems:
        """Some of the items, by their numbers."""
        chosen = np.asarray(numbers, np.int64)
        return JsonItems(self._path, self._version, self._starts[chosen], self._sizes[chosen])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def __repr__(self) -> str:
        return f"<{len(self)} items of {self._path}>"

    def _open(self) -> None:
        """Open the file, and see whether it is still the one that was read."""
        if self._file is None:
            try:
                self._file = open(self._path, "rb")
            except OSError as error:
                raise FileChangedError(
                    f"{self._path}: expected the file that was read before; {error}."
                ) from None
        if _version(self._file) != self._version:
            raise FileChangedError(
                f"{self._path}: expected the file as it was read at first; it has been changed "
                f"since. Start again, and change no annotations during a run."
            )

    def _bytes(self, start: int, size: int) -> bytes:
        file = self._file
        assert file is not None
        if _HAS_PREAD:  # threads, and processes that were forked, share the place in the file
            return os.pread(file.fileno(), size, start)
        with self._lock:
            file.seek(start)
            return file.read(size)


def load_json_items(file: str | os.PathLike[str], lists: Collection[str]) -> Any:
    """Read a json file; of one object with large lists, those stay in the file.

    Args:
        file: any json file.
        lists: names of fields of the outer object, whose values become `JsonItems` where they are
            lists and the file has MIN_BYTES or more.

    Raises:
        OSError, ValueError: as `load_json`.
    """
    size = expect_json_size(file)
    if size < MIN_BYTES:
        return load_json(file)
    path = Path(file).absolute()
    with open(path, "rb") as source:
        version = _version(source)
        try:
            return _Scan(source, size).read(
                frozenset(lists), lambda starts, sizes: JsonItems(path, version, starts, sizes)
            )
        except (ValueError, RecursionError):
            pass
    return load_json(file)  # which says what is wrong, or reads what is unusual


def where(items: Sequence[Any], keep: Callable[[Any], bool]) -> Sequence[Any]:
    """The items that a condition keeps: a list, or of `JsonItems` some of those."""
    if isinstance(items, JsonItems):
        kept = array("q", (number for number, item in enumerate(items) if keep(item)))
        return items.take(np.frombuffer(kept, np.int64))
    return [item for item in items if keep(item)]


def _version(file: BinaryIO) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


class _Scan:
    """Reads one object from a file, window by window.

    A window is decoded as Latin-1, of which each character is a byte, so that the decoder's places
    are the file's. What is not ASCII is decoded once more, as what it is.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self._first = 0
        self._window = ""
        self._is_ascii = True

    def read(
        self, lists: Collection[str], items: Callable[[np.ndarray, np.ndarray], JsonItems]
    ) -> dict[str, Any]:
        """The object.

        Raises:
            ValueError: the file holds something else, or something more.
        """
        content: dict[str, Any] = {}
        place = self._expect("{", 0)
        if self._at(self._skip(place)) == "}":
            place = self._skip(place) + 1
        else:
            while True:
                name, place = self._value(self._skip(place))
                if not isinstance(name, str):
                    raise _UnexpectedError
                place = self._skip(self._expect(":", place))
                if self._at(place) == "[":
                    content[name], place = self._list(place + 1, name in lists, items)
                else:
                    content[name], place = self._value(place)
                place = self._skip(place)
                if self._at(place) == "}":
                    place += 1
                    break
                place = self._expect(",", place)
        if self._skip(place) != self._size:
            raise _UnexpectedError
        return content

    def _list(
        self,
        place: int,
        stays: bool,
        items: Callable[[np.ndarray, np.ndarray], JsonItems],
    ) -> tuple[Sequence[Any], int]:
        """A list whose bracket is read, and the place behind it."""
        starts, sizes, values = array("q"), array("i"), []
        place = self._skip(place)
        if self._at(place) == "]":
            place += 1
        else:
            while True:
                value, end = self._value(place)
                if stays:
                    starts.append(place)
                    sizes.append(end - place)
                else:
                    values.append(value)
                following = _COMMA.match(self._window, end - self._first)
                if following is not None and following.end() < len(self._window):
                    place = self._first + following.end()
                    continue
                place = self._skip(end)
                if self._at(place) == "]":
                    place += 1
                    break
                place = self._skip(self._expect(",", place))
        if not stays:
            return values, place
        return items(np.frombuffer(starts, np.int64), np.frombuffer(sizes, np.intc)), place

    def _value(self, place: int) -> tuple[Any, int]:
        """A value that begins at a place, and the place behind it."""
        self._cover(place)
        while True:
            ends_file = self._first + len(self._window) == self._size
            try:
                value, end = _decode(self._window, place - self._first)
            except ValueError:
                if ends_file:
                    raise
            else:
                # Of "1.5", a window may end behind "1" or "1.".
                if ends_file or self._window[end : end + 1] in _BEHIND_VALUES:
                    if not self._is_ascii:
                        text = self._window[place - self._first : end]
                        if not text.isascii():
                            value = json.loads(text.encode("latin-1"))
                    return value, self._first + end
            is_whole = self._first == place
            self._load(place, 2 * len(self._window) if is_whole else WINDOW_BYTES)

    def _cover(self, place: int) -> None:
        if not self._first <= place < self._first + len(self._window):
            self._load(place, WINDOW_BYTES)

    def _load(self, place: int, size: int) -> None:
        self._file.seek(place)
        data = self._file.read(size)
        self._first = place
        self._window = data.decode("latin-1")
        self._is_ascii = data.isascii()

    def _at(self, place: int) -> str:
        """The character at a place; "" at the end of the file."""
        self._cover(place)
        return self._window[place - self._first : place - self._first + 1]

    def _skip(self, place: int) -> int:
        """The first place at or behind this one that is no space."""
        while place < self._size:
            self._cover(place)
            found = _SPACE.match(self._window, place - self._first)
            assert found is not None
            if found.end() < len(self._window):
                return self._first + found.end()
            place = self._first + found.end()
        return place

    def _expect(self, character: str, place: int) -> int:
        """The place behind a character, with spaces before it."""
        place = self._skip(place)
        if self._at(place) != character:
            raise _UnexpectedError
        return place + 1
