"""A subset of a data set in COCO's layout: its files, and what in its json is usable."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mrcnn.data.annotation_table import counts
from mrcnn.data.coco_fields import Entry
from mrcnn.datasets.division import Division
from mrcnn.datasets.image_stores import ImageStore, Place, open_store
from mrcnn.datasets.layouts import find_split
from mrcnn.files.addresses import RemotePath


@dataclass
class Subset:
    """A subset and its usable entries.

    Attributes:
        name: with the year, such as "train2017".
        file: the json.
        folder: of the images; or, as a text, an address or tar files.
        content: all of the json, as it is written there, or what a json would hold of annotations
            in another format; empty when it cannot be read.
        images: the usable entries whose files exist, in the file's order and COCO's own form.
        annotations: the usable entries by image id, in COCO's own form.
        categories: {id: name}.
        is_standard: whether its files are in COCO's layout.
        is_part: whether the folder holds images that are not meant for it: of a data set that was
            divided, or in another format, whose reader counts what it leaves out.
        is_validation: whether training only looks at it.
        exif_orientation: the setting EXIF_ORIENTATION of the training.
        upright: ids of the images whose reader turns them as their EXIF data say.
    """

    name: str
    file: Path
    folder: Place
    content: dict[str, Any] = field(default_factory=dict)
    images: list[Entry] = field(default_factory=list)
    annotations: dict[Any, Sequence[Entry]] = field(default_factory=dict)
    categories: dict[Any, str] = field(default_factory=dict)
    is_standard: bool = True
    is_part: bool = False
    is_validation: bool = False
    exif_orientation: str = "auto"
    upright: frozenset[Any] = frozenset()

    @property
    def is_readable(self) -> bool:
        """Whether the json could be read; it then has COCO's three lists."""
        return bool(self.content)

    def counts(self) -> Counter[tuple[Any, bool]]:
        """How many annotations there are by (category id, whether crowds)."""
        found: Counter[tuple[Any, bool]] = Counter()
        for of_image in self.annotations.values():
            found.update(counts(of_image))
        return found

    @cached_property
    def store(self) -> ImageStore:
        """The files of the images; errors as of `open_store`."""
        return open_store(self.folder, self.file)

    def finds(self, file_name: str) -> bool:
        """Whether a name, which does not lead out of the folder, is that of a file in it."""
        if isinstance(self.folder, str):
            try:
                return self.store.find(file_name) is not None
            except ValueError:
                return False
        return os.path.isfile(self.folder / os.path.normpath(file_name))  # False if too long

    def size(self, image: Entry) -> int:
        """How many bytes the file of an image has, which exists."""
        return self.store.size(image["file_name"])

    def path(self, image: Entry) -> Path | RemotePath:
        """The file of an image; elsewhere than on this machine it has to exist."""
        if isinstance(self.folder, str):
            path = self.store.find(image["file_name"])
            assert isinstance(path, RemotePath)
            return path
        return self.folder / os.path.normpath(image["file_name"])


def find_subset(
    dataset: str | os.PathLike[str],
    subset: str,
    year: str,
    division: Division | None = None,
    image_dir: str | None = None,
) -> Subset:
    """Find a subset's json and images where `CocoDataset.load_coco` finds them.

    Raises:
        FileNotFoundError: there is no such folder or no json; lists what is there.
        ValueError: several files could be it; lists them.
    """
    files = find_split(dataset, subset, year, division, image_dir)
    return Subset(
        *(files.name, files.annotations, files.images),
        content=files.content or {},
        is_standard=files.is_standard,
        is_part=files.content is not None,
    )


def is_finite(value: Any) -> bool:
    """Whether a value of the json is a finite number, exact as a float where it is whole."""
    if type(value) is int:
        return abs(value) < 2**53
    return isinstance(value, float) and math.isfinite(value)


def is_refused(check: Callable[[], object]) -> bool:
    """Whether a check of the reader raises an error."""
    try:
        check()
    except (ValueError, TypeError):
        return True
    return False


def same_object_key(annotation: Entry) -> int | None:
    """A key that two annotations share when they say the same of the same pixels.

    Args:
        annotation: in COCO's own form.
    """
    segmentation = annotation.get("segmentation") or annotation.get("bbox")
    if not segmentation:
        return None
    owner = annotation["image_id"], annotation["category_id"]
    if isinstance(segmentation, list):
        try:
            return hash((owner, tuple(map(tuple, segmentation))))
        except TypeError:  # a box, or values that are no numbers
            pass
    return hash((owner, repr(segmentation)))
