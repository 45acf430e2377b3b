"""The subsets of a data set of any format, as a converter needs them."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from mrcnn.data.coco_fields import Entry
from mrcnn.datasets.coco_json import EntryReader
from mrcnn.datasets.image_files import image_paths
from mrcnn.datasets.image_stores import open_store
from mrcnn.datasets.layouts import SplitFiles
from mrcnn.datasets.segmentation import Annotation

CROWDS = "crowds left out, which the format does not have"


@dataclass(frozen=True)
class Picture:
    """An image with its objects.

    Attributes:
        entry: of COCO's 'images'.
        path: of the file.
        name: of the file in the copy, relative to the folder of its subset, with "/".
        annotations: in COCO's own form.
    """

    entry: Entry
    path: str
    name: str
    annotations: list[Annotation]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) that the annotations are of."""
        return self.entry["height"], self.entry["width"]


@dataclass
class Part:
    """A subset.

    Attributes:
        name: such as "train".
        file: the json, folder or file that it was read from, for messages.
        pictures: in the order of the annotations.
        categories: the names by id.
        counts: what was left out, or takes another form in the copy.
    """

    name: str
    file: Path
    pictures: list[Picture]
    categories: dict[Any, str]
    counts: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, files: SplitFiles, skip_invalid: bool = False) -> Part:
        """Read a subset. Annotations may be boxes alone.

        Raises:
            OSError, ValueError: it cannot be read, or an entry cannot be used; names it.
        """
        reader = EntryReader(files.annotations, box_only=True, skip_invalid=skip_invalid)
        content = files.read()
        categories = {c["id"]: c["name"] for c in reader.categories(content["categories"])}
        images = reader.images(content["images"])
        annotations: dict[Any, list[Annotation]] = defaultdict(list)
        for annotation in reader.annotations(content["annotations"], images, categories):
            annotations[annotation["image_id"]].append(annotation)
        entries = list(images.values())
        ids, file_names = [*images], [entry["file_name"] for entry in entries]
        store = open_store(files.images, files.annotations)
        paths = image_paths(ids, file_names, store, files.annotations)
        names = short_names([os.path.normpath(name) for name in file_names])
        pictures = [
            Picture(entry, path, name, annotations.get(entry["id"], []))
            for entry, path, name in zip(entries, paths, names, strict=True)
        ]
        return cls(files.name, files.annotations, pictures, categories, Counter(reader.left_out))

    def objects(self, picture: Picture) -> Iterator[Annotation]:
        """The objects of a picture; crowds are counted and left out."""
        for annotation in picture.annotations:
            if annotation.get("iscrowd"):
                self.counts[CROWDS] += 1
            else:
                yield annotation


def short_names(names: Sequence[str]) -> list[str]:
    """Names without the folders that all of them share.

    >>> short_names(["train/images/a.jpg", "train/images/x/b.jpg"])
    ['a.jpg', 'x/b.jpg']
    """
    paths = [PurePosixPath(name.replace(os.sep, "/")) for name in names]
    if not paths:
        return []
    shared = os.path.commonpath([path.parent for path in paths]) if len(paths) > 1 else None
    if shared is None:
        return [paths[0].name]
    return [str(path.relative_to(shared)) for path in paths]


def class_names(parts: Sequence[Part]) -> list[str]:
    """The names of the classes of all subsets, in the order of their ids in the first."""
    return list(dict.fromkeys(name for part in parts for name in part.categories.values()))
