"""The images of a large json file in columns, and a list that shows them as `image_info` does.

As a dict an image takes some 2 kB with its path and its key in `image_from_source_map`. Here it
takes its path's length and some 60 bytes, and becomes a dict when it is asked for. A dict that a
script writes into is kept, and is what the list holds from then on.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableSequence, Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex, overload
from weakref import WeakValueDictionary

import numpy as np

from mrcnn.data.annotation_table import AnnotationSlice, AnnotationTable
from mrcnn.data.columns import Ids

Info = dict[str, Any]  # of an image, as `add_image` makes it


@dataclass(frozen=True, eq=False)
class ImageTable:
    """Images of one json file.

    Attributes:
        source: their source.
        annotation_file: the json.
        ids: [N], in that source.
        paths: [N].
        heights, widths: [N], in pixels.
        upright: [N], whether `add_image` is given `upright`.
        annotations: of all of them, sorted by images.
        ends: [N + 1], so that those of image i are ends[i] to ends[i + 1].
    """

    source: str
    annotation_file: str
    ids: Ids
    paths: Sequence[str]
    heights: Sequence[int]
    widths: Sequence[int]
    upright: Sequence[int]
    annotations: AnnotationTable
    ends: Sequence[int]

    def __len__(self) -> int:
        return len(self.ids)

    def info(self, row: int) -> Info:
        """What `add_image` makes of an image."""
        info = {
            "id": self.ids[row],
            "source": self.source,
            "path": self.paths[row],
            "width": self.widths[row],
            "height": self.heights[row],
            "annotations": AnnotationSlice(self.annotations, self.ends[row], self.ends[row + 1]),
            "annotation_file": self.annotation_file,
        }
        return {**info, "upright": True} if self.upright[row] else info


class _TableInfo(dict[str, Any]):
    """An image of a table: the first change makes its store keep it. A copy is a plain dict."""

    __slots__ = ("__weakref__", "place", "store")

    place: int
    store: _Store

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return self.__reduce__()


def _changing(name: str) -> Callable[..., Any]:
    change = getattr(dict, name)

    def method(self: _TableInfo, *args: Any, **kwargs: Any) -> Any:
        self.store.kept.setdefault(self.place, self)
        return change(self, *args, **kwargs)

    method.__name__ = name
    return method


_CHANGES = ("__setitem__", "__delitem__", "__ior__", "clear", "pop", "popitem")
for _name in (*_CHANGES, "setdefault", "update"):
    setattr(_TableInfo, _name, _changing(_name))


class _Store:
    """What lists hold, by place: rows of tables from 0 on, and below 0 what was added by itself.

    Attributes:
        kept: by place, what was added, and rows that were changed.
    """

    def __init__(self) -> None:
        self.tables: list[tuple[int, ImageTable]] = []  # with the place of its first row
        self.rows = 0
        self.kept: dict[int, Any] = {}
        self._added = 0
        # While somebody holds the dict of a row, all others are given the same one.
        self._shown: WeakValueDictionary[int, _TableInfo] = WeakValueDictionary()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_shown": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _shown=WeakValueDictionary())

    def add_table(self, table: ImageTable) -> range:
        """Add a table; its places."""
        first = self.rows
        self.tables.append((first, table))
        self.rows += len(table)
        return range(first, self.rows)

    def place_of(self, value: Any) -> int:
        """The place of a value, which is added where it is no row of the tables."""
        if isinstance(value, _TableInfo) and value.store is self:
            return value.place
        self._added -= 1
        self.kept[self._added] = value
        return self._added

    def at(self, place: int) -> Any:
        """What is at a place."""
        if place in self.kept:
            return self.kept[place]
        shown = self._shown.get(place)
        if shown is None:
            first, table = self.table_of(place)
            shown = _TableInfo(table.info(place - first))
            shown.place, shown.store = place, self
            shown = self._shown.setdefault(place, shown)
        return shown

    def table_of(self, place: int) -> tuple[int, ImageTable]:
        """The table of a row, and the place of its first row."""
        return next(found for found in reversed(self.tables) if found[0] <= place)


class ImageInfos(MutableSequence[Any]):
    """A list of dicts, one an image, some of which are rows of tables.

    It behaves as a list does: changes of a dict stay, and what is deleted, inserted or assigned.
    Slices, copies and sums share its dicts. It is no instance of `list`, whose own methods would
    find it empty.
    """

    __hash__ = None  # type: ignore[assignment] # as of a list

    def __init__(self, values: Iterable[Any] = ()) -> None:
        self._store = _Store()
        self._places = array("q")
        self.extend(values)

    def extend_by_table(self, table: ImageTable) -> None:
        """Add the images of a table at the end."""
        places = self._store.add_table(table)
        self._places.frombytes(np.arange(places.start, places.stop, dtype=np.int64).tobytes())

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Any]:
        return map(self._store.at, self._places)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> ImageInfos: ...

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        if isinstance(index, slice):
            return self._sharing(self._places[index])
        return self._store.at(self._places[index])

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, slice):
            # An array would delete what an empty list is assigned to, of any step.
            places = list(self._places)
            places[index] = [*map(self._store.place_of, value)]
            self._places[:] = array("q", places)
        else:
            place = self._places[index]  # raises before the value is kept
            if self._store.at(place) is not value:
                self._places[index] = self._store.place_of(value)

    def __delitem__(self, index: Any) -> None:
        del self._places[index]

    def insert(self, index: int, value: Any) -> None:
        """As of a list."""
        self._places.insert(index, self._store.place_of(value))

    def append(self, value: Any) -> None:
        """As of a list."""
        self._places.append(self._store.place_of(value))

    def reverse(self) -> None:
        """As of a list."""
        self._places.reverse()

    def copy(self) -> ImageInfos:
        """As of a list: another one with the same dicts."""
        return self._sharing(self._places[:])

    def sort(self, *, key: Callable[[Any], Any] | None = None, reverse: bool = False) -> None:
        """As of a list."""
        at = self._store.at
        order = sorted(
            self._places, key=at if key is None else lambda p: key(at(p)), reverse=reverse
        )
        self._places[:] = array("q", order)

    def __copy__(self) -> ImageInfos:
        return self.copy()

    def __add__(self, other: Iterable[Any]) -> ImageInfos:
        if not isinstance(other, list | ImageInfos):
            return NotImplemented
        total = self.copy()
        total.extend(other)
        return total

    def __radd__(self, other: Iterable[Any]) -> ImageInfos:
        if not isinstance(other, list):
            return NotImplemented
        return self._sharing(array("q", [*map(self._store.place_of, other)]) + self._places)

    def __mul__(self, times: int) -> ImageInfos:
        return self._sharing(self._places * times)

    __rmul__ = __mul__

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, list | ImageInfos):
            return NotImplemented
        return len(self) == len(other) and all(map(_is_equal, self, other))

    def __repr__(self) -> str:
        return repr(list(self))

    def internal_ids(self) -> SourceIds:
        """The number of each image by "source.id", as things are now."""
        return SourceIds(self._store, self._places)

    def _sharing(self, places: array[int]) -> ImageInfos:
        other = ImageInfos()
        other._store, other._places = self._store, places
        return other


class SourceIds(Mapping[str, int]):
    """The number of each image by "source.id", found in the columns of its table.

    Of images with one source and id the last counts, as in a dict.
    """

    def __init__(self, store: _Store, places: Sequence[int]) -> None:
        self._tables = list(store.tables)
        self._numbers = np.full(store.rows, -1, np.int32)
        numbers, at = np.arange(len(places), dtype=np.int32), np.array(places, np.int64)
        is_row = at >= 0
        self._numbers[at[is_row]] = numbers[is_row]
        self._others: dict[str, int] = {}
        if store.kept:
            of_kept = np.isin(at, np.fromiter(store.kept, np.int64))
            for number in numbers[of_kept].tolist():
                info = store.kept[places[number]]
                self._others[f"{info['source']}.{info['id']}"] = number
            kept_rows = [place for place in store.kept if place >= 0]
            self._numbers[kept_rows] = -1

    def __getitem__(self, key: str) -> int:
        number = self._others.get(key, -1)
        source, dot, text = key.partition(".") if isinstance(key, str) else ("", "", "")
        if dot:
            id = _id_of(text)
            for first, table in self._tables:
                row = table.ids.row(id) if table.source == source else None
                if row is not None:
                    number = max(number, int(self._numbers[first + row]))
        if number < 0:
            raise KeyError(key)
        return number

    def __iter__(self) -> Iterator[str]:
        rows = np.flatnonzero(self._numbers >= 0)
        keys = {number: key for key, number in self._others.items()}
        order = np.concatenate([self._numbers[rows], np.fromiter(keys, np.int32)])
        rows = np.concatenate([rows, np.full(len(keys), -1)])[np.argsort(order)]
        for number, row in zip(np.sort(order).tolist(), rows.tolist(), strict=True):
            key = keys[number] if row < 0 else self._key(row)
            if self[key] == number:
                yield key

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return repr(dict(self))

    def _key(self, row: int) -> str:
        first, table = next(found for found in reversed(self._tables) if found[0] <= row)
        return f"{table.source}.{table.ids[row - first]}"


def _id_of(text: str) -> int | str:
    """The id of a table that is written so: its texts are never those of whole numbers."""
    try:
        number = int(text)
    except ValueError:
        return text
    return number if str(number) == text and abs(number) < 2**63 else text


def _is_equal(one: Any, other: Any) -> bool:
    return one is other or one == other
