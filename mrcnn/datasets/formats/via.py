"""The VGG Image Annotator's json, 1.x and 2.x: regions of each image, with attributes.

What a region is, is one of its attributes, which the annotator named. `mrcnn.datasets.via` reads
the files.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from mrcnn.data.coco_fields import shorten
from mrcnn.datasets.formats import geometry
from mrcnn.datasets.formats.listing import Listing, holds
from mrcnn.datasets.formats.source import (
    ONLY_CLASS,
    Item,
    LabelledObject,
    Names,
    Source,
    as_class,
    subsets_of_file,
)
from mrcnn.datasets.via import Region, read_via_json

MARK = (b'"shape_attributes"',)
# Of several attributes, the one that is the class.
USUAL = ("class", "label", "category", "name", "object", "type", "object_name", "class_name")


class Via(Source):
    """The json files of a folder."""

    NAME, TITLE = "via", "VGG Image Annotator"

    @classmethod
    def recognised_by(cls, listing: Listing) -> str | None:
        for name in listing.some(".json"):
            if holds(listing.path(name), MARK):
                return name
        return None

    def __init__(self, listing: Listing) -> None:
        super().__init__(listing)
        found = []
        described: dict[str, str] = {}
        for file in listing.ending(".json"):
            path = listing.path(file)
            if not holds(path, MARK):
                self.counts["json files that are not VIA's left out"] += 1
                continue
            for image in read_via_json(path):
                if not image.regions:
                    self.counts["images without regions left out"] += 1
                    continue
                name = self._image(file, image.filename)
                if name in described:
                    raise ValueError(
                        f"{path}: expected each image once; {name} is described in "
                        f"{described[name]} too."
                    )
                described[name] = file
                found.append((name, file, image.regions))
        self._key = self._class_key([region for _, _, regions in found for region in regions])
        names = Names()
        for name, file, regions in found:
            for number, region in enumerate(regions):
                if region.has_area:
                    names.add(self._class_of(region, f"{file}, image {name}, region {number}"))
            self.items.append(Item(name, (file, regions), subsets_of_file(file)))
        self.categories = names.sorted()

    def _image(self, file: str, name: str) -> str:
        path = self.listing.path(file)
        try:
            found = self.listing.image_named(name, PurePosixPath(file).parent)
        except ValueError as error:
            raise ValueError(f"{path}, image {name!r}: {error}.") from None
        if found is None:
            raise FileNotFoundError(
                f"{path}: expected the image {name!r} beside it; there is no such file below "
                f"{self.listing.root}."
            )
        return found

    def _class_key(self, regions: list[Region]) -> str | None:
        """The attribute that is the class; None where regions have none."""
        keys = Counter(key for region in regions if region.has_area for key in _attributes(region))
        usual = [key for name in USUAL for key in keys if key.lower() == name]
        if len(keys) > 1 and not usual:
            raise ValueError(
                f"{self.place}: expected one attribute of regions that is the class, or one of "
                f"the name {', '.join(USUAL)}; found {', '.join(map(repr, sorted(keys)))}. Rename "
                f"the right one in VIA."
            )
        return usual[0] if usual else next(iter(keys), None)

    def _class_of(self, region: Region, where: str) -> str:
        if self._key is None:
            return ONLY_CLASS
        value = _attributes(region).get(self._key)
        if isinstance(value, dict):  # checkboxes
            ticked = [option for option, is_on in value.items() if is_on]
            value = ticked[0] if len(ticked) == 1 else None
        name = as_class(value)
        if name is None:
            raise ValueError(
                f"{self.listing.root}: {where}: expected its class as the attribute "
                f"{self._key!r}; received {shorten(region.attributes)}. Set it in VIA."
            )
        return name

    def objects(self, item: Item, counts: Counter[str]) -> Iterator[LabelledObject]:
        file, regions = item.labels
        for number, region in enumerate(regions):
            if not region.has_area:
                counts[f"{region.name} regions left out, which have no area"] += 1
                continue
            where = f"{file}, image {item.file_name}, region {number}"
            found = LabelledObject(self._class_of(region, where), where)
            _draw(found, region, counts)
            yield found


def _attributes(region: Region) -> dict[str, Any]:
    return region.attributes if isinstance(region.attributes, dict) else {}


def _draw(found: LabelledObject, region: Region, counts: Counter[str]) -> None:
    """Fill in the polygon of a region, whose numbers `read_via_json` has checked."""
    shape = region.shape
    if region.name == "polygon":
        pairs = zip(shape["all_points_x"], shape["all_points_y"], strict=True)
        found.polygons = [[[x, y] for x, y in pairs]]
    elif region.name == "rect":
        x, y = shape["x"], shape["y"]
        found.polygons = [geometry.rectangle(x, y, x + shape["width"], y + shape["height"])]
        counts["rectangles taken as masks"] += 1
    else:
        rx, ry = (shape["r"],) * 2 if region.name == "circle" else (shape["rx"], shape["ry"])
        turn = math.degrees(shape.get("theta", 0)) if region.name == "ellipse" else 0
        found.polygons = [geometry.ellipse(shape["cx"], shape["cy"], rx, ry, turn)]
        counts[f"{region.name}s taken as polygons"] += 1
