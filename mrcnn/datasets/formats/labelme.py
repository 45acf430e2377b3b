"""labelme: a json beside each image (https://github.com/wkentaro/labelme).

    {"imagePath": "a.jpg", "imageHeight": 480, "imageWidth": 640,
     "shapes": [{"label": "cat", "shape_type": "polygon", "points": [[x, y], ...],
                 "group_id": null, ...}, ...]}

A circle has its center and a point on it, a rectangle two corners, a mask the corners of its box,
both inside it, and a PNG. Shapes of one label and one group are parts of one object.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from mrcnn.datasets.formats import geometry
from mrcnn.datasets.formats.bitmaps import bitmap_of_png
from mrcnn.datasets.formats.listing import Listing, holds, read_json
from mrcnn.datasets.formats.source import (
    Bitmap,
    Item,
    LabelledObject,
    Names,
    Source,
    as_class,
    malformed,
)
from mrcnn.files.untrusted import is_size

MARKS = (b'"shapes"', b'"imagePath"')
KIND = "a json file of labelme"
# Labels that labelme's own examples give to what is no object.
NO_OBJECT = frozenset(("__ignore__", "_background_"))
NO_AREA = frozenset(("line", "linestrip", "point", "points"))
GROUPED = "shapes joined by their group_id"


class Labelme(Source):
    """The json files of a folder."""

    NAME, TITLE = "labelme", "labelme"

    @classmethod
    def recognised_by(cls, listing: Listing) -> str | None:
        for name in listing.some(".json"):
            if holds(listing.path(name), MARKS):
                return name
        return None

    def __init__(self, listing: Listing) -> None:
        super().__init__(listing)
        names = Names()
        described: dict[str, str] = {}
        for file in listing.ending(".json"):
            path = listing.path(file)
            content = read_json(path, KIND)
            if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
                self.counts["json files that are not labelme's left out"] += 1
                continue
            item = self._item(file, content)
            if item.file_name in described:
                raise ValueError(
                    f"{path}: expected one file for each image; {item.file_name} has "
                    f"{described[item.file_name]} too. Delete one of them."
                )
            described[item.file_name] = file
            for number, shape in enumerate(content["shapes"]):
                name = self._class_of(shape, path, number)
                if name not in NO_OBJECT and _type(shape) not in NO_AREA:
                    names.add(name)
            self.items.append(item)
        self.categories = names.sorted()
        missing = sum(name not in described for name in listing.images)
        if missing and not listing.chosen:
            self.counts["images without a json left out"] += missing

    def _item(self, file: str, content: dict[str, Any]) -> Item:
        path, folder = self.listing.path(file), PurePosixPath(file).parent
        name = content.get("imagePath")
        if not isinstance(name, str) or not name:
            raise ValueError(
                f"{path}, field 'imagePath': expected the name of an image; received {name!r}."
            )
        try:
            found = self.listing.image_named(name, folder)
        except ValueError as error:
            raise ValueError(f"{path}, field 'imagePath': {error}.") from None
        if found is None:  # an image that was renamed, or was on another machine
            same = [f"{folder / PurePosixPath(file).stem}{s}" for s in _suffixes(name)]
            found = next((other for other in same if other in self.listing), None)
        if found is None:
            inside = " It is inside the json (imageData), which is not read." * bool(
                content.get("imageData")
            )
            raise FileNotFoundError(
                f"{path}, field 'imagePath': expected the image {name!r} beside the json; there is "
                f"no such file below {self.listing.root}.{inside}"
            )
        size = content.get("imageHeight"), content.get("imageWidth")
        if size != (None, None) and not is_size(*size):
            raise ValueError(
                f"{path}, fields 'imageHeight', 'imageWidth': expected the image's size in pixels; "
                f"received {size[0]!r} and {size[1]!r}."
            )
        stated = None if size == (None, None) else (int(size[0] or 0), int(size[1] or 0))
        return Item(found, (file, content["shapes"]), size=stated)

    def _class_of(self, shape: Any, path: Any, number: int) -> str:
        label = shape.get("label") if isinstance(shape, dict) else None
        name = as_class(label)
        if name is None:
            received = label if isinstance(shape, dict) else shape
            raise ValueError(
                f"{path}, shape {number}, field 'label': expected the name of a class; received "
                f"{repr(received)[:60]}."
            )
        return name

    def objects(self, item: Item, counts: Counter[str]) -> Iterator[LabelledObject]:
        file, shapes = item.labels
        objects: list[LabelledObject] = []
        groups: dict[tuple[str, Any], LabelledObject] = {}
        for number, shape in enumerate(shapes):
            label, kind = str(shape["label"]), _type(shape)
            if label in NO_OBJECT:
                counts[f"shapes labelled {label} left out"] += 1
                continue
            if kind in NO_AREA:
                counts[f"{kind} shapes left out, which have no area"] += 1
                continue
            found = LabelledObject(label, f"{file}, shape {number}")
            _draw(found, shape, kind, counts)
            group = shape.get("group_id")
            first = found if group is None else groups.setdefault((label, repr(group)), found)
            if first is found:
                objects.append(found)
            else:
                first.join(found)
                counts[GROUPED] += 1
        yield from objects


def _draw(found: LabelledObject, shape: Any, kind: str, counts: Counter[str]) -> None:
    """Fill in the parts of a shape."""
    given = shape.get("points")
    if kind == "polygon":
        found.polygons = [given]
        if not isinstance(given, list):
            found.polygons, found.malformed = [], malformed("a list of points [x, y]", given)
        return
    if kind == "oriented_rectangle":
        corners = geometry.points(given, 4, 4)
        if corners is None:
            found.malformed = malformed("four corners [x, y]", given)
            return
        found.polygons = [corners]
        counts["turned rectangles taken as polygons"] += 1
        return
    pair = geometry.points(given, 2, 2)
    if kind not in ("rectangle", "circle", "mask"):
        found.malformed = malformed("a shape_type of labelme", kind)
    elif pair is None:
        found.malformed = malformed("two points [x, y]", given)
    elif kind == "circle":
        (cx, cy), edge = pair
        radius = math.dist((cx, cy), edge)
        found.polygons = [geometry.ellipse(cx, cy, radius, radius)]
        counts["circles taken as polygons"] += 1
    elif kind == "rectangle":
        (x1, y1), (x2, y2) = pair
        found.polygons = [geometry.rectangle(min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))]
        counts["rectangles taken as masks"] += 1
    else:
        try:
            pixels = bitmap_of_png(shape.get("mask"))
        except ValueError as error:
            found.malformed = f"a mask of {error}"
            return
        # Where a box was dragged, the corner is between pixels.
        found.bitmaps = [Bitmap(pixels, (int(pair[0][1]), int(pair[0][0])))]


def _type(shape: Any) -> str:
    return str((isinstance(shape, dict) and shape.get("shape_type")) or "polygon")


def _suffixes(name: str) -> list[str]:
    suffix = PurePosixPath(name).suffix
    return list(dict.fromkeys([suffix, ".jpg", ".jpeg", ".png", ".JPG", ".tif", ".bmp"]))
