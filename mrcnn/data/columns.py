"""Texts and ids of many entries in few bytes each; as Python's objects each takes some hundred."""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any, overload

import numpy as np


class Texts(Sequence[str]):
    """Texts, one behind another in a buffer: 8 bytes each beside their own.

    >>> names = Texts(["a.png", "b.png"])
    >>> names[1], len(names)
    ('b.png', 2)
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._bytes = bytearray()
        self._ends = array("q", [0])
        for text in texts:
            self.append(text)

    def append(self, text: str) -> None:
        """Add a text at the end."""
        # json may hold halves of surrogate pairs, which strict UTF-8 does not have.
        self._bytes += text.encode(errors="surrogatepass")
        self._ends.append(len(self._bytes))

    def take(self, numbers: Iterable[int]) -> Texts:
        """Some of them, by their numbers."""
        return Texts(map(self._text, numbers))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        places = range(len(self))[index]
        return [*map(self._text, places)] if isinstance(places, range) else self._text(places)

    def __iter__(self) -> Iterator[str]:
        return map(self._text, range(len(self)))

    def _text(self, number: int) -> str:
        content = self._bytes[self._ends[number] : self._ends[number + 1]]
        return content.decode(errors="surrogatepass")


class Paths(Sequence[str]):
    """Paths that begin and end alike, of which the middles are kept; `kind` makes them of texts.

    >>> Paths("photos/", Texts(["a.png", "b.png"]))[1]
    'photos/b.png'
    """

    def __init__(
        self, start: str, middles: Texts, end: str = "", kind: Callable[[str], str] = str
    ) -> None:
        self._start, self._middles, self._end, self._kind = start, middles, end, kind

    def __len__(self) -> int:
        return len(self._middles)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        found = self._middles[index]
        if isinstance(found, list):
            return [self._path(middle) for middle in found]
        return self._path(found)

    def _path(self, middle: str) -> str:
        return self._kind(f"{self._start}{middle}{self._end}")


class Ids(Sequence[int | str]):
    """Ids of entries: whole numbers of 64 bits, and texts. 8 to 20 bytes each, and the texts.

    >>> ids = Ids([7, "b", 3])
    >>> ids.row("b"), ids.row(3), ids.row(8), list(ids)
    (1, 2, None, [7, 'b', 3])
    """

    def __init__(self, ids: Iterable[int | str] = ()) -> None:
        self._keys = array("q")  # the number, or of a text its digest
        self._texts: Texts | None = None  # as many as ids, where one of them is a text
        self._is_text = bytearray()
        self._sorted: tuple[Sequence[int], Sequence[int]] | None = None  # keys, and their rows
        for id in ids:
            self.append(id)

    def append(self, id: int | str) -> None:
        """Add one at the end, whether or not it is there already."""
        if isinstance(id, str) and self._texts is None:
            self._texts = Texts(repeat("", len(self._keys)))
            self._is_text = bytearray(len(self._keys))
        if self._texts is not None:
            self._texts.append(id if isinstance(id, str) else "")
            self._is_text.append(isinstance(id, str))
        self._keys.append(_key(id))
        self._sorted = None

    def take(self, rows: Iterable[int]) -> Ids:
        """Some of them, by their rows."""
        return Ids(map(self._id, rows))

    def row(self, id: Any) -> int | None:
        """Where an id is, the first time; None: it is not among them."""
        return next(self._rows(id), None)

    def rows(self, id: Any) -> list[int]:
        """Where an id is, ascending."""
        return list(self._rows(id))

    def _rows(self, id: Any) -> Iterator[int]:
        if type(id) is not int and (type(id) is not str or self._texts is None):
            return
        key = _key(id)
        keys, rows = self._by_key()
        place = bisect_left(keys, key)
        while place < len(keys) and keys[place] == key:
            if self._texts is None or self._id(rows[place]) == id:
                yield rows[place]
            place += 1  # the same again, or a text whose digest is that number

    def repeated(self) -> tuple[int, int] | None:
        """The rows of the first id that is there before, and where it is before; None: none is."""
        keys, rows = self._by_key()
        if keys is self._keys:
            return None
        sorted_keys = np.array(keys, np.int64)
        alike = np.flatnonzero(sorted_keys[1:] == sorted_keys[:-1]) + 1
        found = []
        for place in alike.tolist():
            second = rows[place]
            first = self.row(self._id(second))
            if first is not None and first < second:
                found.append((second, first))
        return min(found, default=None)

    def __contains__(self, id: object) -> bool:
        return self.row(id) is not None

    def __len__(self) -> int:
        return len(self._keys)

    @overload
    def __getitem__(self, index: int) -> int | str: ...

    @overload
    def __getitem__(self, index: slice) -> list[int | str]: ...

    def __getitem__(self, index: int | slice) -> int | str | list[int | str]:
        rows = range(len(self))[index]
        return [*map(self._id, rows)] if isinstance(rows, range) else self._id(rows)

    def __iter__(self) -> Iterator[int | str]:
        return map(self._id, range(len(self)))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_sorted": None}

    def _id(self, row: int) -> int | str:
        if self._texts is not None and self._is_text[row]:
            return self._texts[row]
        return self._keys[row]

    def _by_key(self) -> tuple[Sequence[int], Sequence[int]]:
        """The keys in ascending order, and the row of each."""
        found = self._sorted
        if found is None:
            keys = np.array(self._keys, np.int64)
            if (keys[1:] > keys[:-1]).all():
                found = self._keys, range(len(keys))
            else:
                order = np.argsort(keys, kind="stable")
                in_order, rows = array("q"), array("i")
                in_order.frombytes(keys[order].tobytes())
                rows.frombytes(order.astype(np.intc).tobytes())
                found = in_order, rows
            self._sorted = found
        return found


def _key(id: int | str) -> int:
    if isinstance(id, int):
        return id
    digest = hashlib.blake2b(id.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)
