"""CVAT for images 1.1: annotations.xml (https://docs.cvat.ai/docs/dataset_management/formats).

    <image id="0" name="a.jpg" subset="train" width="640" height="480">
      <polygon label="cat" points="1.00,2.00;3.00,4.00;..." group_id="1"/>
      <box label="cat" xtl="1" ytl="2" xbr="3" ybr="4" rotation="30"/>
      <ellipse label="cat" cx="5" cy="6" rx="2" ry="1" rotation="0"/>
      <mask label="cat" rle="3, 5, 2" left="1" top="2" width="5" height="2"/>
    </image>

Run lengths of a mask go along its rows, outside first. Shapes of one label and one group are parts
of one object, as in CVAT's own export to COCO's format; a box beside them is their bounding box.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from mrcnn.data.coco_fields import shorten
from mrcnn.datasets.formats import geometry
from mrcnn.datasets.formats.listing import Listing, holds
from mrcnn.datasets.formats.safe_xml import elements
from mrcnn.datasets.formats.source import (
    Bitmap,
    Item,
    LabelledObject,
    Names,
    Source,
    as_class,
    malformed,
    subsets_of_file,
)
from mrcnn.files.untrusted import MAX_IMAGE_PIXELS, is_size

KIND = "annotations of CVAT for images 1.1"
SHAPES = ("polygon", "box", "ellipse", "mask")
NO_AREA = ("polyline", "points", "cuboid", "skeleton", "tag")
GROUPED = "shapes joined by their group_id"


class Cvat(Source):
    """The xml files of a folder."""

    NAME, TITLE = "cvat", "CVAT for images"

    @classmethod
    def recognised_by(cls, listing: Listing) -> str | None:
        for name in listing.some(".xml"):
            path = listing.path(name)
            if holds(path, [b"<annotations"]) and (
                holds(path, [b"<image "]) or holds(path, [b"<track "])
            ):
                return name
        return None

    def __init__(self, listing: Listing) -> None:
        super().__init__(listing)
        used, first = Names(), []
        described: dict[str, str] = {}
        for file in listing.ending(".xml"):
            path = listing.path(file)
            if not holds(path, [b"<annotations"]):
                self.counts["xml files that are not CVAT's left out"] += 1
                continue
            for outer, element in elements(path, KIND):
                if outer != "annotations":
                    raise ValueError(
                        f"{path}: expected {KIND}, which begin with <annotations>; received "
                        f"<{outer[:40]}>."
                    )
                if element.tag == "track":
                    raise ValueError(
                        f"{path}: expected {KIND}; received those of a video, which have tracks. "
                        f"Export the task as 'CVAT for images 1.1'."
                    )
                if element.tag == "meta":
                    first += [str(label.text) for label in element.iterfind(".//labels/label/name")]
                elif element.tag == "image":
                    item = self._item(file, element)
                    if item.file_name in described:
                        raise ValueError(
                            f"{path}: expected each image once; {item.file_name} is described in "
                            f"{described[item.file_name]} too."
                        )
                    described[item.file_name] = file
                    for shape in element:
                        if shape.tag in SHAPES:
                            used.add(self._label(path, item, shape))
                    self.items.append(item)
        # Labels for tags, lines or skeletons are no classes.
        order = [name for name in dict.fromkeys(first) if name in set(used.sorted())]
        self.categories = used.sorted(order)

    def _item(self, file: str, element: Element) -> Item:
        path = self.listing.path(file)
        name = element.get("name", "")
        size = _whole(element.get("height")), _whole(element.get("width"))
        if not name or not is_size(*size):
            raise ValueError(
                f"{path}: expected 'name', 'width' and 'height' of each <image>; received "
                f"{shorten(element.attrib)}."
            )
        subset = element.get("subset", "")
        near = PurePosixPath(file).parent
        try:
            found = None
            for folder in (f"images/{subset}", "images", ""):
                found = found or self.listing.image_named(name, near / folder)
        except ValueError as error:
            raise ValueError(f"{path}, image {name!r}: {error}.") from None
        if found is None:
            found = self.listing.join(near / "images", name)
        return Item(
            found,
            (file, list(element)),
            frozenset([subset]) if subset else subsets_of_file(file),
            (int(size[0] or 0), int(size[1] or 0)),
        )

    def _label(self, path: Any, item: Item, shape: Element) -> str:
        name = as_class(shape.get("label"))
        if name is None:
            raise ValueError(
                f"{path}, image {item.file_name!r}: expected a 'label' of each <{shape.tag}>; "
                f"received {shorten(shape.attrib)}."
            )
        return name

    def objects(self, item: Item, counts: Counter[str]) -> Iterator[LabelledObject]:
        file, shapes = item.labels
        objects: list[LabelledObject] = []
        masked = {_group(shape) for shape in shapes if shape.tag in SHAPES and shape.tag != "box"}
        groups: dict[tuple[str, str], LabelledObject] = {}
        for number, shape in enumerate(shapes):
            if shape.tag not in SHAPES:
                if shape.tag in NO_AREA:
                    counts[f"{shape.tag} shapes left out, which have no area"] += 1
                else:
                    counts[f"unknown shapes <{shape.tag[:20]}> left out"] += 1
                continue
            label, group = _group(shape)
            if shape.tag == "box" and group and (label, group) in masked:
                counts["boxes left out that have a mask in their group"] += 1
                continue
            where = f"{file}, image {item.file_name}, {shape.tag} {number}"
            found = LabelledObject(label, where)
            _draw(found, shape, counts)
            first = found if not group else groups.setdefault((label, group), found)
            if first is found:
                objects.append(found)
            else:
                first.join(found)
                counts[GROUPED] += 1
        yield from objects


def _group(shape: Element) -> tuple[str, str]:
    """The label and the group of a shape; of one without a group, ""."""
    group = shape.get("group_id") or "0"
    return str(shape.get("label")), "" if group == "0" else group


def _draw(found: LabelledObject, shape: Element, counts: Counter[str]) -> None:
    """Fill in the parts of a shape."""
    if shape.tag == "polygon":
        text = shape.get("points", "")
        corners = geometry.points([pair.split(",") for pair in text.split(";")], 1)
        if corners is None:
            found.malformed = malformed("points as x,y;x,y", text)
        else:
            found.polygons = [corners]
        return
    if shape.tag == "mask":
        _draw_mask(found, shape)
        return
    fields = ("xtl", "ytl", "xbr", "ybr") if shape.tag == "box" else ("cx", "cy", "rx", "ry")
    values = geometry.numbers([shape.get(name) for name in fields], 4)
    turn = geometry.numbers([shape.get("rotation", "0")], 1)
    if values is None or turn is None:
        found.malformed = malformed(f"numbers {', '.join(fields)}, rotation", dict(shape.attrib))
    elif shape.tag == "ellipse":
        cx, cy, rx, ry = values
        found.polygons = [geometry.ellipse(cx, cy, rx, ry, turn[0])]
        counts["ellipses taken as polygons"] += 1
    else:
        x1, y1, x2, y2 = values
        center = ((x1 + x2) / 2, (y1 + y2) / 2)
        corners = geometry.rectangle(x1, y1, x2, y2)
        found.polygons = [geometry.turned(corners, turn[0], center) if turn[0] else corners]
        counts["rectangles taken as masks"] += 1
        counts["turned rectangles taken as polygons"] += bool(turn[0])


def _draw_mask(found: LabelledObject, shape: Element) -> None:
    place = [_whole(shape.get(name)) for name in ("top", "left", "height", "width")]
    if None in place or not is_size(*place[2:]):
        found.malformed = malformed("whole numbers left, top, width, height", dict(shape.attrib))
        return
    top, left, height, width = (int(number or 0) for number in place)
    text = shape.get("rle", "")
    runs = [_whole(word) for word in text.split(",")]
    if None in runs or min(run or 0 for run in runs) < 0 or len(text) > 8 * MAX_IMAGE_PIXELS:
        found.malformed = malformed("run lengths", text)
        return
    lengths = np.array(runs, np.float64)  # which no sum overflows
    if lengths.sum() != height * width:
        found.malformed = malformed(f"run lengths of {height * width} pixels in all", text)
        return
    inside = np.arange(len(lengths)) % 2 == 1
    pixels = np.repeat(inside, lengths.astype(np.int64)).reshape(height, width)
    found.bitmaps = [Bitmap(pixels, (top, left))]


def _whole(text: str | None) -> int | None:
    try:
        return int(str(text))
    except ValueError:
        return None
