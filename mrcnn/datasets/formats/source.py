"""What every reader of a format gives: images, classes, and the objects of an image.

Points are (x, y) in pixels of the image, to the right and down; the pixel (0, 0) spans 0 to 1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from mrcnn.data.coco_fields import Entry, shorten
from mrcnn.datasets.formats.listing import Listing
from mrcnn.datasets.subset_names import names_any_subset

# The one class of formats that have none.
ONLY_CLASS = "object"


@dataclass(frozen=True)
class Bitmap:
    """A mask within its box.

    Attributes:
        pixels: bool [h, w].
        corner: (y, x) of the first of them in the image.
    """

    pixels: np.ndarray
    corner: tuple[int, int] = (0, 0)


@dataclass
class LabelledObject:
    """An object as an annotator drew it.

    Attributes:
        name: of its class.
        where: which one it is, for messages: the file and its place there.
        polygons: the parts, each a list of points [x, y], or of x and y in turn; checked by
            whoever rasterizes them.
        holes: polygons that are not part of it.
        bitmaps: further parts.
        box: [x, y, width, height], of an object that is nothing else.
        malformed: says what cannot be read of it; "": nothing. Then there is nothing else.
    """

    name: str
    where: str
    polygons: list[Any] = field(default_factory=list)
    holes: list[Any] = field(default_factory=list)
    bitmaps: list[Bitmap] = field(default_factory=list)
    box: list[float] | None = None
    malformed: str = ""

    def join(self, other: LabelledObject) -> None:
        """Add the parts of another entry of the same object."""
        self.polygons += other.polygons
        self.holes += other.holes
        self.bitmaps += other.bitmaps
        self.malformed = self.malformed or other.malformed


@dataclass(frozen=True)
class Item:
    """An image of a source.

    Attributes:
        file_name: relative to the folder, with "/"; of a missing file, where it should be.
        labels: what the reader knows about its objects.
        subsets: it is said to be in; empty: what its folder is named after.
        size: (height, width) that the annotations are of; None: that of the file.
        upright: whether the tool shows the image turned as its EXIF data say.
        fields: more about the image, by which a split may group.
    """

    file_name: str
    labels: Any = None
    subsets: frozenset[str] = frozenset()
    size: tuple[int, int] | None = None
    upright: bool = True
    fields: Mapping[str, Any] = field(default_factory=dict)


class Source(ABC):
    """The annotations of a folder, in one format.

    Attributes:
        listing: of the folder.
        items: the images, in an order that does not depend on the file system.
        categories: the names of the classes.
        counts: what was read in another form, or left out, in the whole folder.
        contents: of subsets that were read, with what there is to say about them.
    """

    NAME: ClassVar[str]
    TITLE: ClassVar[str]

    def __init__(self, listing: Listing) -> None:
        self.listing = listing
        self.items: list[Item] = []
        self.categories: list[str] = []
        self.counts: Counter[str] = Counter()
        self.contents: dict[str, tuple[dict[str, list[Entry]], str]] = {}

    @classmethod
    @abstractmethod
    def recognised_by(cls, listing: Listing) -> str | None:
        """What in a folder says that it is of this format, or None."""

    @abstractmethod
    def objects(self, item: Item, counts: Counter[str]) -> Iterator[LabelledObject]:
        """The objects of an image.

        Args:
            item: one of `items`.
            counts: what is read in another form, or left out, is counted here.
        """

    @property
    def place(self) -> str:
        """The folder or file, for messages."""
        return str(self.listing.root / self.listing.chosen)


class Names:
    """Names of classes, in the order in which they sort, or in a given one."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def add(self, name: str) -> str:
        """Note a name, and return it."""
        self._names.add(name)
        return name

    def sorted(self, first: Sequence[str] = ()) -> list[str]:
        """All names, those of `first` before the others."""
        return [*dict.fromkeys(first), *sorted(self._names - set(first))]


def malformed(expected: str, received: Any) -> str:
    """The text of `LabelledObject.malformed`."""
    return f"{shorten(received, 60)}, where {expected} was expected"


def subsets_of_file(file: str) -> frozenset[str]:
    """The subset that a file of many images is named after; none: the images' folders tell it."""
    return frozenset([file]) if names_any_subset(file) else frozenset()


def as_class(value: Any) -> str | None:
    """A value as the name of a class; None: it is none."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        return None
    return value
