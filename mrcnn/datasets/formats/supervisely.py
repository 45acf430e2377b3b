"""Supervisely's project folders.

    meta.json                 the classes
    ds0/img/a.jpg             ds0/ann/a.jpg.json

    {"size": {"height": 480, "width": 640}, "objects": [
      {"classTitle": "cat", "geometryType": "polygon",
       "points": {"exterior": [[x, y], ...], "interior": [[[x, y], ...], ...]}},
      {"classTitle": "cat", "geometryType": "bitmap",
       "bitmap": {"data": "...", "origin": [x, y]}}]}

Coordinates are numbers of pixels: the corner [1, 2] is the pixel's center, and a rectangle's last
row and column belong to it. A bitmap is a PNG, packed by zlib, in base64.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from mrcnn.data.coco_fields import shorten
from mrcnn.datasets.formats import geometry
from mrcnn.datasets.formats.bitmaps import bitmap_of_png
from mrcnn.datasets.formats.listing import Listing, holds, read_json
from mrcnn.datasets.formats.source import (
    Bitmap,
    Item,
    LabelledObject,
    Source,
    as_class,
    malformed,
)
from mrcnn.files.untrusted import is_size

META = "meta.json"
SHAPES = ("polygon", "bitmap", "rectangle")
CENTER = 0.5


class Supervisely(Source):
    """A project."""

    NAME, TITLE = "supervisely", "Supervisely"

    @classmethod
    def recognised_by(cls, listing: Listing) -> str | None:
        if listing.chosen not in ("", META) or META not in listing:
            return None
        path = listing.path(META)
        annotated = any(_is_annotation(name) for name in listing.files)
        return META if annotated and holds(path, [b'"classes"', b'"title"']) else None

    def __init__(self, listing: Listing) -> None:
        super().__init__(listing)
        path = listing.path(META)
        meta = read_json(path, "the classes of a Supervisely project")
        classes = meta.get("classes") if isinstance(meta, dict) else None
        if not isinstance(classes, list):
            raise ValueError(f"{path}: expected the list 'classes'; received {shorten(meta)}.")
        for number, entry in enumerate(classes):
            name = as_class(entry.get("title")) if isinstance(entry, dict) else None
            if name is None or name in self.categories:
                raise ValueError(
                    f"{path}, class {number}: expected a 'title' of its own; received "
                    f"{shorten(entry)}."
                )
            self.categories.append(name)
        used: set[str] = set()
        for file in listing.files:
            if not _is_annotation(file):
                continue
            item = self._item(file)
            used |= {shape["classTitle"] for shape in item.labels[1] if _kind(shape) in SHAPES}
            self.items.append(item)
        # A class of lines or points is none of ours.
        self.categories = [name for name in self.categories if name in used]

    def _item(self, file: str) -> Item:
        path, place = self.listing.path(file), PurePosixPath(file)
        content = read_json(path, "a Supervisely annotation")
        content = content if isinstance(content, dict) else {}
        size, shapes = content.get("size"), content.get("objects")
        sides = (size.get("height"), size.get("width")) if isinstance(size, dict) else (None, None)
        if not isinstance(shapes, list) or not is_size(*sides):
            raise ValueError(
                f"{path}: expected an object with the list 'objects' and the 'size' of the image; "
                f"received {shorten(content)}."
            )
        for number, shape in enumerate(shapes):
            title = shape.get("classTitle") if isinstance(shape, dict) else None
            if title not in self.categories:
                raise ValueError(
                    f"{path}, object {number}, field 'classTitle': expected a class of "
                    f"{META}; received {shorten(title)}."
                )
        image = place.parent.parent / "img" / place.name.removesuffix(".json")
        dataset = str(place.parent.parent)
        return Item(
            *(str(image), (file, shapes)),
            subsets=frozenset([dataset] if dataset != "." else []),
            size=(int(sides[0] or 0), int(sides[1] or 0)),
        )

    def objects(self, item: Item, counts: Counter[str]) -> Iterator[LabelledObject]:
        file, shapes = item.labels
        for number, shape in enumerate(shapes):
            kind = _kind(shape)
            if kind not in SHAPES:
                counts[f"{kind} objects left out, which have no area"] += 1
                continue
            found = LabelledObject(shape["classTitle"], f"{file}, object {number}")
            _draw(found, kind, shape, counts)
            yield found


def _draw(found: LabelledObject, kind: str, shape: dict[str, Any], counts: Counter[str]) -> None:
    """Fill in the parts of an object."""
    if kind == "bitmap":
        bitmap = shape.get("bitmap")
        origin = geometry.numbers(bitmap.get("origin"), 2) if isinstance(bitmap, dict) else None
        if not isinstance(bitmap, dict) or origin is None:
            found.malformed = malformed("a bitmap with data and origin", bitmap)
            return
        try:
            pixels = bitmap_of_png(bitmap.get("data"), compressed=True)
        except ValueError as error:
            found.malformed = f"a bitmap of {error}"
            return
        found.bitmaps = [Bitmap(pixels, (int(origin[1]), int(origin[0])))]
        return
    outline = shape.get("points")
    outline = outline if isinstance(outline, dict) else {}
    corners = geometry.points(outline.get("exterior"), 1)
    inner = outline.get("interior") or []
    holes = [geometry.points(hole, 3) for hole in inner] if isinstance(inner, list) else [None]
    if corners is None or None in holes:
        found.malformed = malformed("points with exterior and interior", shape.get("points"))
    elif kind == "polygon":
        found.polygons = [_centered(corners)]
        found.holes = [_centered(hole) for hole in holes if hole is not None]
    elif len(corners) != 2:
        found.malformed = malformed("two corners", corners)
    else:
        (x1, y1), (x2, y2) = corners
        left, top = min(x1, x2), min(y1, y2)
        found.polygons = [geometry.rectangle(left, top, max(x1, x2) + 1, max(y1, y2) + 1)]
        counts["rectangles taken as masks"] += 1


def _centered(polygon: geometry.Polygon) -> geometry.Polygon:
    return [[x + CENTER, y + CENTER] for x, y in polygon]


def _kind(shape: dict[str, Any]) -> str:
    kind = shape.get("geometryType")
    if isinstance(kind, str):
        return kind
    return "bitmap" if shape.get("bitmap") else "polygon"  # exports of 2019 and before


def _is_annotation(name: str) -> bool:
    path = PurePosixPath(name)
    return path.parent.name == "ann" and path.suffix == ".json"
