"""YOLO's text files, as Ultralytics and the exports of Roboflow, CVAT and Label Studio have them.

    data.yaml              names: {0: cat, 1: dog}; train: images/train; val: images/val
    images/train/a.jpg     labels/train/a.txt

A line of a text file is an object: the number of its class and the corners of its polygon, x and y
in turn, in parts of the image's width and height; or, of a box, the x and y of its center, its
width and its height. An image without a text file has no object.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from mrcnn.data.coco_fields import shorten
from mrcnn.datasets.formats.listing import Listing, holds, read_lines
from mrcnn.datasets.formats.source import Item, LabelledObject, Source, as_class, malformed
from mrcnn.datasets.formats.yaml_file import read_yaml
from mrcnn.files.image_file import width_and_height

SUBSETS = ("train", "val", "valid", "test")
NOTHING = ("", "~", "null")  # in YAML
# A corner may lie so far outside, in parts of the image.
MARGIN = 0.01
NO_FILE = "images without a text file, which have no object"
_LINE = re.compile(rb"\s*\d+(\s+-?\d*\.?\d+([eE][+-]?\d+)?){4,}\s*$")


class Yolo(Source):
    """A folder with `images` and `labels`."""

    NAME, TITLE = "yolo", "YOLO text files"

    @classmethod
    def recognised_by(cls, listing: Listing) -> str | None:
        for name in listing.some(".yaml", ".yml"):
            if _is_data_yaml(listing, name):
                return name
        if listing.chosen:
            return None
        for name in listing.some(".txt"):
            if "labels" in PurePosixPath(name).parts[:-1] and _is_label_file(listing, name):
                return f"{PurePosixPath(name).parent}/*.txt"
        return None

    def __init__(self, listing: Listing) -> None:
        super().__init__(listing)
        files = listing.some(".yaml", ".yml")
        self._file = next((name for name in files if _is_data_yaml(listing, name)), None)
        keys = read_yaml(listing.path(self._file)) if self._file else {}
        self.categories = self._names(keys)
        labels = {PurePosixPath(name): name for name in listing.files if name.endswith(".txt")}
        subsets = self._subsets(keys)
        for image in listing.images:
            if subsets and image not in subsets:
                self.counts["images in no subset of the yaml left out"] += 1
                continue
            label = labels.get(_label_of(image))
            if not subsets and label is None and "images" not in PurePosixPath(image).parts:
                continue
            self.items.append(Item(image, label, frozenset(subsets.get(image, ()))))

    def _names(self, keys: dict[str, Any]) -> list[str]:
        """The names of the classes, in the order of their numbers."""
        if self._file is None:
            for name in ("classes.txt", "labels/classes.txt", "obj.names", "names.txt"):
                if name in self.listing:
                    lines = read_lines(self.listing.path(name), "names of classes")
                    return self._unique([line.strip() for line in lines if line.strip()], name)
            raise FileNotFoundError(
                f"{self.listing.root}: expected the names of the classes, as 'names' of a "
                f"data.yaml or in classes.txt; there is none. Write one, such as: names: [cat, dog]"
            )
        given = keys["names"]
        if isinstance(given, dict):
            numbers = [str(i) for i in range(len(given))]
            if sorted(given) != sorted(numbers):
                raise ValueError(
                    f"{self.listing.path(self._file)}, key 'names': expected the numbers 0 to "
                    f"{len(given) - 1}; received {shorten(sorted(given))}."
                )
            given = [given[number] for number in numbers]
        if not isinstance(given, list) or not given:
            raise ValueError(
                f"{self.listing.path(self._file)}, key 'names': expected a list of names, or a "
                f"table of numbers and names; received {shorten(given)}."
            )
        return self._unique(given, self._file)

    def _unique(self, names: list[str], file: str) -> list[str]:
        bad = [name for name in names if as_class(name) is None or names.count(name) > 1]
        if bad:
            raise ValueError(
                f"{self.listing.path(file)}, 'names': expected a name for each class, each once; "
                f"received {bad[0]!r}."
            )
        return names

    def _subsets(self, keys: dict[str, Any]) -> dict[str, set[str]]:
        """The subsets that each image is said to be in; empty where nothing is said."""
        found: dict[str, set[str]] = {}
        told = {s: keys[s] for s in SUBSETS if keys.get(s) not in (None, *NOTHING)}
        for subset, places in told.items():
            known = "val" if subset == "valid" else subset
            for place in places if isinstance(places, list) else [places]:
                for image in self._images_at(str(place), str(keys.get("path") or ""), subset):
                    found.setdefault(image, set()).add(known)
        if told and not found:
            raise FileNotFoundError(
                f"{self.listing.path(self._file or '')}: expected images in the folders of "
                f"{', '.join(told)}, {shorten(list(told.values()))}; there are none below "
                f"{self.listing.root}."
            )
        return found

    def _images_at(self, place: str, base: str, subset: str) -> list[str]:
        """The images of a folder or a list, below this data set."""
        folder = PurePosixPath(self._file or "").parent
        # Ultralytics and Roboflow write paths of the machine that trained: what is below the
        # folder of the data set counts.
        inner = place.replace("\\", "/")
        while inner.startswith(("../", "./")):
            inner = inner.split("/", 1)[1]
        places = [
            *(self.listing.join(folder / base, place), self.listing.join(folder, place)),
            *(self.listing.join(folder, inner), self.listing.join("", inner)),
        ]
        for found in dict.fromkeys(places):
            if found.endswith(".txt") and found in self.listing:
                return self._listed_in(found, subset)
            start = "" if found == "." else f"{found}/"
            images = [name for name in self.listing.images if name.startswith(start)]
            if images:
                return images
        return []

    def _listed_in(self, file: str, subset: str) -> list[str]:
        images = []
        path = self.listing.path(file)
        for number, line in enumerate(read_lines(path, "a list of images"), start=1):
            if not line.strip():
                continue
            image = self.listing.image_named(line.strip(), PurePosixPath(file).parent)
            if image is None:
                raise FileNotFoundError(
                    f"{path}, line {number}: expected an image of the subset {subset!r} below "
                    f"{self.listing.root}; received {line.strip()[:200]!r}, which is not there."
                )
            images.append(image)
        return images

    def objects(self, item: Item, counts: Counter[str]) -> Iterator[LabelledObject]:
        if item.labels is None:
            counts[NO_FILE] += 1
            return
        path = self.listing.path(item.labels)
        lines = read_lines(path, "YOLO's lines of objects")
        if not any(line.strip() for line in lines):
            return
        width, height = width_and_height(self.listing.path(item.file_name), upright=True)
        for number, line in enumerate(lines, start=1):
            words = line.split()
            if not words:
                continue
            index = int(words[0]) if words[0].isdecimal() else -1
            if not 0 <= index < len(self.categories):
                raise ValueError(
                    f"{path}, line {number}: expected the number of a class, from 0 to "
                    f"{len(self.categories) - 1}; received {words[0][:40]!r}."
                )
            found = LabelledObject(self.categories[index], f"{item.labels}, line {number}")
            _draw(found, words[1:], (height, width))
            yield found


def _draw(found: LabelledObject, words: list[str], size: tuple[int, int]) -> None:
    height, width = size
    values = _numbers(words)
    if values is None or len(values) < 4 or len(values) % 2:
        found.malformed = malformed("corners x y in parts of the image", " ".join(words))
    elif len(values) == 4:
        cx, cy, w, h = values
        found.box = [(cx - w / 2) * width, (cy - h / 2) * height, w * width, h * height]
    elif min(values) < -MARGIN or max(values) > 1 + MARGIN:
        found.malformed = malformed("parts of the image, 0 to 1", " ".join(words))
    else:
        found.polygons = [
            [
                value * side
                for x, y in zip(values[0::2], values[1::2], strict=True)
                for value, side in ((x, width), (y, height))
            ]
        ]


def _numbers(words: list[str]) -> list[float] | None:
    try:
        return [float(word) for word in words]
    except ValueError:
        return None


def _label_of(image: str) -> PurePosixPath:
    """The text file of an image: `labels` in the place of the last `images`, else beside it."""
    path = PurePosixPath(image)
    parts = list(path.parts[:-1])
    for i in range(len(parts) - 1, -1, -1):
        if parts[i] == "images":
            parts[i] = "labels"
            break
    return PurePosixPath(*parts, f"{path.stem}.txt")


def _is_data_yaml(listing: Listing, name: str) -> bool:
    """Whether a file has the names of classes, and perhaps where the images are."""
    path = listing.path(name)
    if not holds(path, [b"names"]):
        return False
    try:
        content = read_yaml(path)
    except ValueError:
        # Of a broken one, its names and subsets say that it is meant.
        return holds(path, [b"names:", b"train:"])
    return isinstance(content, dict) and "names" in content


def _is_label_file(listing: Listing, name: str) -> bool:
    """Whether the first lines of a file are those of objects."""
    try:
        with open(listing.path(name), "rb") as file:
            lines = file.read(1 << 16).splitlines()[:1]
    except OSError:
        return False
    return bool(lines) and all(map(_LINE.match, lines))
