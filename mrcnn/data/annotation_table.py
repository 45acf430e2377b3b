"""Annotations that stay in their json file: what groups and counts them is held in columns.

A table holds 22 bytes for each annotation: its place in the file, the rows of its image and
category, and whether it is a crowd. Fields are read from the file whenever they are asked for, and
in COCO's own form (`mrcnn.data.coco_fields`), as those of smaller files are.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np

from mrcnn.data.coco_fields import Entry, read_annotation
from mrcnn.data.columns import Ids
from mrcnn.files.json_items import JsonItems

_TYPES = {"image": "i", "category": "i", "is_crowd": "b", "as_written": "b"}


class AnnotationTable(Sequence[Entry]):
    """Annotations of one json file.

    Attributes:
        image_ids, category_ids: what the rows mean.
    """

    def __init__(
        self,
        entries: JsonItems,
        image_ids: Ids,
        category_ids: Sequence[Any],
        columns: Mapping[str, np.ndarray],
    ) -> None:
        """Name the columns.

        Args:
            entries: of the file, one for each annotation.
            image_ids, category_ids: each id once.
            columns: "image": int32 [N] rows of `image_ids`; "category": int32 [N] rows of
                `category_ids`; "is_crowd": bool [N]; "as_written": bool [N], whether the entry is
                in COCO's own form already.
        """
        self._entries = entries
        self.image_ids = image_ids
        self.category_ids = category_ids
        self._columns = columns

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, index: int) -> Entry: ...

    @overload
    def __getitem__(self, index: slice) -> list[Entry]: ...

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        return next(self.read((index,)))

    def __iter__(self) -> Iterator[Entry]:
        yield from map(self._own, self._entries, range(len(self)))

    def read(self, numbers: Sequence[int]) -> Iterator[Entry]:
        """Some of the annotations, by their numbers."""
        yield from map(self._own, self._entries.read(numbers), numbers)

    def _own(self, entry: Entry, number: int) -> Entry:
        """In COCO's own form, with the category that it was mapped to."""
        if self._columns["as_written"][number]:
            return entry
        category = self.category_ids[self._columns["category"][number]]
        return {**read_annotation(entry).entry, "category_id": category}

    def of(self, categories: Collection[Any]) -> AnnotationTable:
        """Those of some categories."""
        rows = [row for row, id in enumerate(self.category_ids) if id in categories]
        if len(rows) == len(self.category_ids):
            return self
        return self._take(np.flatnonzero(np.isin(self._columns["category"], rows)))

    def mapped(self, categories: Mapping[Any, Any]) -> AnnotationTable:
        """With other categories in place of some; both are ids of the table's."""
        if not categories:
            return self
        row_of = {id: row for row, id in enumerate(self.category_ids)}
        rows = [row_of[categories.get(id, id)] for id in self.category_ids]
        category = np.array(rows, np.int32)[self._columns["category"]]
        as_written = self._columns["as_written"] & (category == self._columns["category"])
        columns = {**self._columns, "category": category, "as_written": as_written}
        return AnnotationTable(self._entries, self.image_ids, self.category_ids, columns)

    def sorted_by_image(self) -> tuple[AnnotationTable, array[int]]:
        """The annotations of one image after another, in the file's order.

        Returns:
            The table, and [images + 1] where those of each row of `image_ids` end; before them 0.
        """
        images = self._columns["image"]
        counts = np.bincount(images, minlength=len(self.image_ids))
        ends = array("q", [0])
        ends.frombytes(np.cumsum(counts, dtype=np.int64).tobytes())
        return self._take(np.argsort(images, kind="stable")), ends

    def by_image(self) -> dict[Any, AnnotationSlice]:
        """The annotations of each image that has some, in the file's order."""
        table, ends = self.sorted_by_image()
        found = zip(self.image_ids, ends, ends[1:], strict=False)
        return {id: AnnotationSlice(table, start, end) for id, start, end in found if start < end}

    def counts(self, start: int, stop: int) -> Counter[tuple[Any, bool]]:
        """How many of some there are, by (category id, whether crowds)."""
        categories, are_crowds = (
            self._columns[name][start:stop].tolist() for name in ("category", "is_crowd")
        )
        ids = [self.category_ids[row] for row in categories]
        return Counter(zip(ids, are_crowds, strict=True))

    def _take(self, numbers: np.ndarray) -> AnnotationTable:
        columns = {name: column[numbers] for name, column in self._columns.items()}
        entries = self._entries.take(numbers)
        return AnnotationTable(entries, self.image_ids, self.category_ids, columns)


class AnnotationSlice(Sequence[Entry]):
    """The annotations of one image, of a table that is sorted by images."""

    __slots__ = ("_start", "_stop", "_table")

    def __init__(self, table: AnnotationTable, start: int, stop: int) -> None:
        self._table, self._start, self._stop = table, start, stop

    def __len__(self) -> int:
        return self._stop - self._start

    @overload
    def __getitem__(self, index: int) -> Entry: ...

    @overload
    def __getitem__(self, index: slice) -> list[Entry]: ...

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        return self._table[range(self._start, self._stop)[index]]

    def __iter__(self) -> Iterator[Entry]:
        return self._table.read(range(self._start, self._stop))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __repr__(self) -> str:
        return repr(list(self))

    def counts(self) -> Counter[tuple[Any, bool]]:
        """How many there are by (category id, whether crowds)."""
        return self._table.counts(self._start, self._stop)


class Collector:
    """Collects annotations of a json: in a table where its entries stay in the file, else a list.

    Args:
        entries: of the json.
        image_ids, category_ids: those that annotations may have, each once.
    """

    def __init__(
        self, entries: Sequence[Any], image_ids: Collection[Any], category_ids: Collection[Any]
    ) -> None:
        self._entries = entries
        self._kept: list[Entry] = []
        self._numbers = array("q")
        self._columns = {name: array(_TYPES[name]) for name in _TYPES}
        self._stay = isinstance(entries, JsonItems)
        if self._stay:
            self._image_ids = image_ids if isinstance(image_ids, Ids) else Ids(image_ids)
            self._category_rows = {id: row for row, id in enumerate(category_ids)}

    def add(self, number: int, annotation: Entry, as_written: bool) -> None:
        """Keep an annotation.

        Args:
            number: of its entry.
            annotation: in COCO's own form.
            as_written: whether it is the entry, not a copy.
        """
        if not self._stay:
            self._kept.append(annotation)
            return
        row = self._image_ids.row(annotation["image_id"])
        assert row is not None
        self._numbers.append(number)
        self._columns["image"].append(row)
        self._columns["category"].append(self._category_rows[annotation["category_id"]])
        self._columns["is_crowd"].append(bool(annotation.get("iscrowd")))
        self._columns["as_written"].append(as_written)

    def collected(self) -> AnnotationTable | list[Entry]:
        """What was kept, in order."""
        if not isinstance(self._entries, JsonItems):
            return self._kept
        columns = {  # on the arrays themselves: a copy of all would be the most that loading takes
            name: np.frombuffer(column, np.int32 if _TYPES[name] == "i" else bool)
            for name, column in self._columns.items()
        }
        entries = self._entries
        if len(self._numbers) < len(entries):
            entries = entries.take(np.frombuffer(self._numbers, np.int64))
        return AnnotationTable(entries, self._image_ids, [*self._category_rows], columns)


def counts(annotations: Sequence[Entry]) -> Counter[tuple[Any, bool]]:
    """How many annotations there are by (category id, whether crowds)."""
    if isinstance(annotations, AnnotationSlice):
        return annotations.counts()
    return Counter((entry["category_id"], bool(entry.get("iscrowd"))) for entry in annotations)


def by_image(annotations: Sequence[Entry]) -> dict[Any, Sequence[Entry]]:
    """The annotations of each image that has some."""
    if isinstance(annotations, AnnotationTable):
        return dict(annotations.by_image())
    found: dict[Any, list[Entry]] = {}
    for entry in annotations:
        found.setdefault(entry["image_id"], []).append(entry)
    return dict(found)
