"""Pascal VOC's masks, of the challenge itself and as CVAT and Datumaro export them.

    JPEGImages/a.jpg              SegmentationObject/a.png   the number of the object
    ImageSets/Segmentation/train.txt   SegmentationClass/a.png    the number of its class

Pixels of 255, the border of objects, belong to none. Exports have the colors of these numbers in
the place of the numbers, and the names of the classes with their colors in labelmap.txt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath

import numpy as np

from mrcnn.data.coco_fields import shorten
from mrcnn.datasets.formats.bitmaps import parts_of_ids, read_ids
from mrcnn.datasets.formats.listing import Listing, read_lines
from mrcnn.datasets.formats.source import Item, LabelledObject, Source
from mrcnn.files.image_file import open_image

OBJECTS, CLASSES, SETS = "SegmentationObject", "SegmentationClass", "ImageSets"
VOID = 255
# Of the challenge, in the order of their numbers from 1 on.
NAMES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
BACKGROUND = "background"


class Voc(Source):
    """A folder with `SegmentationObject`, perhaps below `VOCdevkit/VOC2012`."""

    NAME, TITLE = "voc", "Pascal VOC masks"

    @classmethod
    def recognised_by(cls, listing: Listing) -> str | None:
        base = _base(listing)
        return None if base is None else str(PurePosixPath(base) / OBJECTS)

    def __init__(self, listing: Listing) -> None:
        super().__init__(listing)
        base = PurePosixPath(_base(listing) or "")
        self._colors, self.categories = self._labelmap(base)
        masks = _below(listing, base / OBJECTS)
        classes = _below(listing, base / CLASSES)
        images = _below(listing, base / "JPEGImages")
        subsets = self._subsets(base)
        named = {name for name, of in subsets.items() if of}
        for name in sorted(masks):
            if name not in classes:
                raise FileNotFoundError(
                    f"{listing.root / base / CLASSES}: expected {name}.png, the classes of the "
                    f"objects of {masks[name]}; there is no such file."
                )
            image = images.get(name, str(base / "JPEGImages" / f"{name}.jpg"))
            if named and name not in named:
                self.counts["images in no list of ImageSets left out"] += 1
                continue
            labels = (masks[name], classes[name])
            self.items.append(Item(image, labels, frozenset(subsets.get(name, ())), upright=False))
        without = len(set(images) - set(masks))
        if without:
            self.counts["images without masks left out"] += without

    def _labelmap(self, base: PurePosixPath) -> tuple[dict[int, str], list[str]]:
        """The classes by the numbers and colors that stand for them, and their names."""
        file = next(
            (str(place) for place in (base / "labelmap.txt",) if str(place) in self.listing), None
        )
        palette = _palette()
        if file is None:
            numbers = dict(enumerate([BACKGROUND, *NAMES]))
            return numbers | {palette[i]: name for i, name in numbers.items()}, list(NAMES)
        by_value: dict[int, str] = {}
        names: list[str] = []
        seen: list[str] = []
        path = self.listing.path(file)
        for number, line in enumerate(read_lines(path, "a map of labels"), start=1):
            if not line.strip() or line.startswith("#"):
                continue
            name, _, rest = line.partition(":")
            color = [part.strip() for part in rest.split(":")[0].split(",")]
            if color == [""]:  # that of the line's number
                color = _channels(palette[min(len(seen), VOID)])
            seen.append(name)
            if not name or len(color) != 3 or not all(part.isdecimal() for part in color):
                raise ValueError(
                    f"{path}, line {number}: expected NAME:R,G,B:parts:actions; received "
                    f"{shorten(line)}."
                )
            red, green, blue = map(int, color)
            value = red + 256 * green + 65536 * blue
            by_value[value] = name
            if value in palette:  # where the file has numbers in the place of colors
                by_value.setdefault(palette.index(value), name)
            if name != BACKGROUND:
                names.append(name)
        return by_value, names

    def _subsets(self, base: PurePosixPath) -> dict[str, set[str]]:
        """The lists that each name is in."""
        found: dict[str, set[str]] = {}
        start = f"{base / SETS / 'Segmentation'}/"
        for file in self.listing.files:
            if file.startswith(start) and file.endswith(".txt"):
                subset = PurePosixPath(file).stem
                for line in read_lines(self.listing.path(file), "names of images"):
                    if line.split():
                        found.setdefault(line.split()[0], set()).add(subset)
        return found

    def objects(self, item: Item, counts: Counter[str]) -> Iterator[LabelledObject]:
        object_file, class_file = item.labels
        path = self.listing.path(object_file)
        ids, classes = read_ids(path), read_ids(self.listing.path(class_file))
        with open_image(self.listing.path(item.file_name)) as image:
            size = (image.height, image.width)
        if not ids.shape == classes.shape == size:
            raise ValueError(
                f"{path}: expected the size of {class_file} and {item.file_name}, "
                f"{size[0]} x {size[1]}; received {' x '.join(map(str, ids.shape))} and "
                f"{' x '.join(map(str, classes.shape))} pixels (height x width)."
            )
        palette = _palette()
        without = frozenset((0, VOID, palette[VOID]))
        for value, bitmap in parts_of_ids(ids, without):
            (y, x), (h, w) = bitmap.corner, bitmap.pixels.shape
            inside = classes[y : y + h, x : x + w][bitmap.pixels]
            inside = inside[(inside != VOID) & (inside != palette[VOID])]
            values, often = np.unique(inside, return_counts=True)
            best = int(values[often.argmax()]) if len(values) else VOID
            name = self._colors.get(best)
            if name is None:
                raise ValueError(
                    f"{self.listing.path(class_file)}: expected the number or color of a class "
                    f"for the object {value} of {object_file}; received {best}."
                )
            if name == BACKGROUND:
                counts["objects of the class background left out"] += 1
                continue
            if len(values) > 1:
                counts["objects with pixels of several classes, taken for the most frequent"] += 1
            yield LabelledObject(name, f"{object_file}, object {value}", bitmaps=[bitmap])


def _base(listing: Listing) -> str | None:
    """The folder that holds `SegmentationObject`, the first by name."""
    for name in listing.images:
        path = PurePosixPath(name)
        if path.parent.name == OBJECTS:
            return str(path.parent.parent)
    return None


def _below(listing: Listing, folder: PurePosixPath) -> dict[str, str]:
    """The images of a folder, by their names without suffix, folders in it included."""
    start = f"{folder}/"
    return {
        str(PurePosixPath(name[len(start) :]).with_suffix("")): name
        for name in listing.images
        if name.startswith(start)
    }


def _channels(color: int) -> list[str]:
    return [str(color % 256), str(color // 256 % 256), str(color // 65536)]


def _palette() -> list[int]:
    """The colors of the numbers 0 to 255, as R + 256 G + 65536 B: bits from the top, in turn."""
    colors = []
    for number in range(256):
        channels = [0, 0, 0]
        rest = number
        for bit in range(7, -1, -1):
            for channel in range(3):
                channels[channel] |= ((rest >> channel) & 1) << bit
            rest >>= 3
        colors.append(channels[0] + 256 * channels[1] + 65536 * channels[2])
    return colors
