"""The entries of 'images' that stay in their json file: what loading needs of them, in columns."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence, ValuesView
from typing import Any

from mrcnn.data.coco_fields import Entry, read_image
from mrcnn.data.columns import Ids, Texts
from mrcnn.files.json_items import JsonItems


class ImageEntries(Mapping[Any, Entry]):
    """Entries by id; each is read from the file when it is asked for.

    Attributes:
        ids, names, heights, widths, upright: [N] each, in the file's order; sizes in pixels, names
            as they are in the file.
    """

    def __init__(self, items: JsonItems, with_files: bool = True) -> None:
        """Know none yet.

        Args:
            items: one for each entry that is added, in turn.
            with_files: whether the entries need names.
        """
        self._items = items
        self._with_files = with_files
        self.ids = Ids()
        self.names = Texts()
        self.heights, self.widths = array("q"), array("q")
        self.upright = bytearray()

    def add(self, entry: Entry) -> None:
        """Add the next entry, in COCO's own form."""
        self.ids.append(entry["id"])
        self.names.append(entry["file_name"] if self._with_files else "")
        self.heights.append(entry["height"])
        self.widths.append(entry["width"])
        self.upright.append(entry.get("upright") is True)

    def repeated(self) -> tuple[Entry, Entry] | None:
        """The first entry whose id is there before, behind the one that has it; None: none is."""
        rows = self.ids.repeated()
        return None if rows is None else (self._entry(rows[1]), self._entry(rows[0]))

    def take(self, rows: Sequence[int]) -> ImageEntries:
        """Some of them, by their rows."""
        if len(rows) == len(self):
            return self
        some = ImageEntries(self._items.take(rows), self._with_files)
        some.ids, some.names = self.ids.take(rows), self.names.take(rows)
        some.heights = array("q", map(self.heights.__getitem__, rows))
        some.widths = array("q", map(self.widths.__getitem__, rows))
        some.upright = bytearray(map(self.upright.__getitem__, rows))
        return some

    def size(self, id: Any) -> tuple[int, int]:
        """(height, width) of an image."""
        row = self.ids.row(id)
        if row is None:
            raise KeyError(id)
        return self.heights[row], self.widths[row]

    def __getitem__(self, id: Any) -> Entry:
        row = self.ids.row(id)
        if row is None:
            raise KeyError(id)
        return self._entry(row)

    def __contains__(self, id: object) -> bool:
        return id in self.ids

    def __iter__(self) -> Iterator[Any]:
        return iter(self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def values(self) -> ValuesView[Entry]:
        """All entries; one after another they come from the file some at a time."""
        return _Entries(self)

    def read(self) -> Iterator[Entry]:
        """The entries, in turn."""
        for item in self._items:
            yield read_image(item, self._with_files).entry

    def _entry(self, row: int) -> Entry:
        return read_image(self._items[row], self._with_files).entry


class _Entries(ValuesView[Entry]):
    _mapping: ImageEntries

    def __iter__(self) -> Iterator[Entry]:
        return self._mapping.read()


def size_of(images: Mapping[Any, Entry], id: Any) -> tuple[int, int]:
    """(height, width) of an image."""
    if isinstance(images, ImageEntries):
        return images.size(id)
    return images[id]["height"], images[id]["width"]
