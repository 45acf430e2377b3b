"""Images of numbers beside the pictures: each value but 0 is an object.

    images/a.png   masks/a.png        of StarDist and many others; or a.png and a_masks.png,
                                      Cellpose's
    classes.json                      may say of which class each object is

`classes.json` holds {"1": "cell", "2": "dead cell"} where the numbers of objects are
1000 * class + number, as in Cityscapes' files, or {"a.png": {"1": "cell", "2": "dead cell"}}, with
the numbers of each picture. Without it all objects are of one class.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from scipy.ndimage import label

from mrcnn.data.coco_fields import shorten
from mrcnn.datasets.formats.bitmaps import parts_of_ids, read_ids
from mrcnn.datasets.formats.listing import Listing, read_json
from mrcnn.datasets.formats.source import (
    ONLY_CLASS,
    Item,
    LabelledObject,
    Names,
    Source,
    as_class,
)
from mrcnn.files.image_file import width_and_height

IMAGES = ("images", "image", "imgs", "img", "raw", "jpegimages", "pictures")
MASKS = (
    *("masks", "mask", "labels", "label", "instances", "instance", "instance_masks", "gt"),
    *("annotations", "ground_truth", "groundtruth", "segmentations"),
)
CLASS_FILE = "classes.json"
PER_CLASS = 1000  # numbers of objects a class, without a map of each picture
_ENDING = re.compile(r"(?P<name>.+?)_(cp_masks|masks|mask|label|labels|instances|instanceIds)")
_SAMPLED = 20
_LOSSLESS = (".png", ".tif", ".tiff", ".bmp", ".pgm", ".gif")


class InstanceImages(Source):
    """A folder with pictures and their images of numbers."""

    NAME, TITLE = "instances", "instance-label images"

    @classmethod
    def recognised_by(cls, listing: Listing) -> str | None:
        if listing.chosen:
            return None
        return next((mask for _, mask in _pairs(listing).items()), None)

    def __init__(self, listing: Listing) -> None:
        super().__init__(listing)
        pairs = _pairs(listing)
        self._classes = self._class_map()
        self.items = [Item(image, mask, upright=False) for image, mask in pairs.items()]
        names = Names()
        if self._classes is None:
            names.add(ONLY_CLASS)
        else:
            for value in self._classes.values():
                for name in value.values() if isinstance(value, dict) else [value]:
                    names.add(name)
        self.categories = names.sorted()
        self._only_value = self._one_value() if self._classes is None else None
        if self._only_value is None:
            self._expect_objects()

    def _class_map(self) -> dict[str, Any] | None:
        """{class number: name} or {picture: {object number: name}}; None: there is none."""
        if CLASS_FILE not in self.listing:
            return None
        path = self.listing.path(CLASS_FILE)
        content = read_json(path, "the classes of the objects")
        if not isinstance(content, dict) or not content:
            raise ValueError(
                f"{path}: expected an object, the names of classes by their numbers or those of "
                f"objects by picture; received {shorten(content)}."
            )
        for key, value in content.items():
            of_picture = isinstance(value, dict)
            table = value if of_picture else {key: value}
            if not all(str(k).isdecimal() and as_class(v) == v for k, v in table.items()):
                raise ValueError(
                    f"{path}, {key!r}: expected numbers, each with the name of a class; received "
                    f"{shorten(value)}."
                )
        return content

    def _sample(self) -> list[np.ndarray]:
        """Some of the images of numbers."""
        some = self.items[:: max(1, -(-len(self.items) // _SAMPLED))]
        return [read_ids(self.listing.path(item.labels)) for item in some]

    def _expect_objects(self) -> None:
        """Refuse images of the numbers of classes.

        Raises:
            ValueError: most numbers lie in several parts.
        """
        several = total = 0
        for ids in self._sample():
            for _, bitmap in parts_of_ids(ids):
                total += 1
                several += label(np.pad(bitmap.pixels, 1), np.ones((3, 3)))[1] > 1
        if 2 * several > total:
            raise ValueError(
                f"{self.listing.path(self.items[0].labels)} and others: expected a number for each "
                f"object; {several} of {total} numbers lie in several parts, as in images of the "
                f"numbers of classes, which do not say which pixels are one object."
            )

    def _one_value(self) -> int | None:
        """The one value of all images of numbers, in a sample of them; None: there are more."""
        found: set[int] = set()
        for ids in self._sample():
            found |= set(np.unique(ids).tolist()) - {0}
        # A picture with one object says nothing; that every picture has just one is another thing.
        is_class = found == {255} or (len(found) == 1 and len(self.items) > 1)
        return found.pop() if is_class else None

    def objects(self, item: Item, counts: Counter[str]) -> Iterator[LabelledObject]:
        path = self.listing.path(item.labels)
        ids = read_ids(path)
        width, height = width_and_height(self.listing.path(item.file_name))
        if ids.shape != (height, width):
            raise ValueError(
                f"{path}: expected the size of {item.file_name}, {height} x {width}; received "
                f"{' x '.join(map(str, ids.shape))} pixels (height x width)."
            )
        if self._only_value is not None and set(np.unique(ids).tolist()) <= {0, self._only_value}:
            ids = label(ids)[0].astype(np.int64)
            counts["images of one value, of which each connected part is an object"] += 1
        for value, bitmap in parts_of_ids(ids):
            name = self._class_of(item, value)
            yield LabelledObject(name, f"{item.labels}, object {value}", bitmaps=[bitmap])

    def _class_of(self, item: Item, value: int) -> str:
        if self._classes is None:
            return ONLY_CLASS
        keys = (item.file_name, PurePosixPath(item.file_name).name, item.labels)
        table = next((self._classes[key] for key in keys if key in self._classes), None)
        if isinstance(table, dict):
            name = table.get(str(value))
        else:
            name = self._classes.get(str(value // PER_CLASS if value >= PER_CLASS else value))
        if not isinstance(name, str):
            raise ValueError(
                f"{self.listing.path(CLASS_FILE)}: expected the class of the object {value} of "
                f"{item.labels}; there is none."
            )
        return name


def _pairs(listing: Listing) -> dict[str, str]:
    """Each picture with its image of numbers."""
    by_place: dict[tuple[str, str], str] = {}
    pictures = [PurePosixPath(name) for name in listing.images]
    for path in pictures:
        for place, parent in _parents(path):
            if parent in IMAGES:
                by_place[place, path.stem] = str(path)
    found = {}
    for path in pictures:
        if path.suffix.lower() not in _LOSSLESS:
            continue
        ending = _ENDING.fullmatch(path.stem)
        stems = [path.stem, ending["name"]] if ending else [path.stem]
        for place, parent in _parents(path):
            images = [by_place.get((place, stem)) for stem in stems] if parent in MASKS else []
            for image in images:
                if image is not None and image not in found:
                    found[image] = str(path)
        if ending and path.parent.name.lower() not in MASKS:
            for suffix in (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp"):
                image = str(path.parent / f"{ending['name']}{suffix}")
                if image in listing and image not in found:
                    found[image] = str(path)
    return dict(sorted(found.items()))


def _parents(path: PurePosixPath) -> Iterator[tuple[str, str]]:
    """Each folder of a path, as the path with a blank in its place, and its name."""
    parts = path.parts[:-1]
    for i, part in enumerate(parts):
        yield "/".join([*parts[:i], "", *parts[i + 1 :]]), part.lower()
