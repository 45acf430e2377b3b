"""Which format a folder is in, and its subsets."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from mrcnn.data.coco_fields import Entry
from mrcnn.datasets.formats.content import coco_content
from mrcnn.datasets.formats.cvat import Cvat
from mrcnn.datasets.formats.instance_images import InstanceImages
from mrcnn.datasets.formats.label_studio import LabelStudio
from mrcnn.datasets.formats.labelme import Labelme
from mrcnn.datasets.formats.listing import Listing
from mrcnn.datasets.formats.mask_folders import MaskFolders
from mrcnn.datasets.formats.source import Item, Source
from mrcnn.datasets.formats.supervisely import Supervisely
from mrcnn.datasets.formats.via import Via
from mrcnn.datasets.formats.voc import Voc
from mrcnn.datasets.formats.yolo import Yolo
from mrcnn.datasets.subset_names import SYNONYMS, names_any_subset, names_subset

# In the order of docs/formats.md. Those of the second line have no file that describes them, and
# are looked for where none of the first is.
DESCRIBED: tuple[type[Source], ...] = (*(Labelme, Via, Voc, Yolo, Cvat, LabelStudio, Supervisely),)
PICTURES: tuple[type[Source], ...] = (MaskFolders, InstanceImages)
FORMATS = (*DESCRIBED, *PICTURES)

# What was read last, by its files' times and sizes: a command reads a data set several times.
_READ: dict[tuple[object, ...], Source] = {}
_KEPT = 2


def open_source(path: str | os.PathLike[str]) -> Source | None:
    """The annotations of a folder or file in one of `FORMATS`; None: it is in none of them.

    Raises:
        OSError, ValueError: they cannot be read, or are in several formats; names what was found.
    """
    listing = Listing(path)
    found = _recognised(listing, DESCRIBED) or _recognised(listing, PICTURES)
    if not found:
        return None
    if len(found) > 1:
        texts = [f"{reader.TITLE} ({mark})" for reader, mark in found.items()]
        raise ValueError(
            f"{path}: expected annotations in one format; found {' and '.join(texts)}. Name the "
            f"file that is meant in place of the folder, or move the others away."
        )
    (reader,) = found
    key = (reader, os.path.abspath(path), *_state(listing))
    if key not in _READ:
        while len(_READ) >= _KEPT:
            _READ.pop(next(iter(_READ)))
        _READ[key] = reader(listing)
    return _READ[key]


def is_annotated(path: str | os.PathLike[str]) -> bool:
    """Whether a folder or file is in one of `FORMATS`, or several."""
    listing = Listing(path)
    return bool(_recognised(listing, DESCRIBED) or _recognised(listing, PICTURES))


def items_of(source: Source, subset: str) -> list[Item]:
    """The images of a subset, by what the format says, or else by the names of their folders.

    Where nothing names a subset, all images are those of "train".
    """
    chosen = [item for item in source.items if _is_in(item, subset)]
    if not chosen and subset == "train":
        chosen = [item for item in source.items if not any(map(names_any_subset, _places(item)))]
    return chosen


def subsets_of(source: Source) -> dict[str, list[Item]]:
    """All images, by subset; those that no name tells are of "train"."""
    found = {name: items_of(source, name) for name in SYNONYMS}
    told = {item.file_name for items in found.values() for item in items}
    for name in sorted({place for item in source.items for place in item.subsets}):
        items = items_of(source, name)
        if not told.issuperset(item.file_name for item in items):
            found[name] = items
    return {name: items for name, items in found.items() if items}


def read_subset(source: Source, subset: str) -> tuple[dict[str, list[Entry]], str]:
    """The content of a COCO json for a subset, which may be empty, and what to say about it."""
    if subset not in source.contents:
        counts = Counter(source.counts)
        content = coco_content(source, items_of(source, subset), counts)
        source.contents[subset] = content, describe(source, content, counts)
    return source.contents[subset]


def describe(source: Source, content: dict[str, list[Entry]], counts: Counter[str]) -> str:
    """What was read, and what was read in another form or left out."""
    objects = len(content["annotations"])
    text = f"{source.TITLE}, {len(content['images'])} images with {objects} objects"
    told = [f"{count} {words}" for words, count in sorted(counts.items()) if count]
    return f"{text}; {', '.join(told)}" if told else text


def _recognised(listing: Listing, formats: Sequence[type[Source]]) -> dict[type[Source], str]:
    marks = {reader: reader.recognised_by(listing) for reader in formats}
    return {reader: mark for reader, mark in marks.items() if mark is not None}


def _is_in(item: Item, subset: str) -> bool:
    return any(names_subset(place, subset) for place in _places(item))


def _places(item: Item) -> list[str]:
    """The names that may tell the subset of an image."""
    return sorted(item.subsets) or [str(PurePosixPath(item.file_name).parent)]


def _state(listing: Listing) -> tuple[object, ...]:
    """What changes when a file of the folder does."""
    states = []
    for name in listing.files:
        status = os.stat(listing.path(name))
        states.append((name, status.st_mtime_ns, status.st_size))
    return (hash(tuple(states)),)
