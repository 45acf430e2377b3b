"""The json of a subset, read so that one bad entry does not hide the others.

The reader of training (`mrcnn.datasets.coco`) stops at the first fault. Here each entry of
'images', 'annotations' and 'categories' is checked by itself; what is usable goes on to the other
checks.
"""

from __future__ import annotations

import os
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mrcnn.data import coco_fields
from mrcnn.data.annotation_table import Collector, by_image
from mrcnn.data.coco_fields import Entry, Reading, shorten
from mrcnn.datasets.coco_json import read_coco_json
from mrcnn.doctor.boxes import AREA_MALFORMED, BOX_MALFORMED
from mrcnn.doctor.file_names import check_files
from mrcnn.doctor.findings import (
    Finding,
    Kind,
    note,
    report,
    stops_at_start,
    stops_train_command,
    warning,
)
from mrcnn.doctor.segmentations import MALFORMED
from mrcnn.doctor.subset import Subset, same_object_key

JSON_UNREADABLE = stops_at_start(
    *("json-unreadable", "subset", ""),
    "a COCO json file with the lists 'images', 'annotations' and 'categories'",
    "{problem}",
)
NO_IMAGES = stops_at_start(
    *("no-images", "subset", "images", "at least one image", "none that is usable")
)
NO_ANNOTATIONS = stops_train_command(
    *("no-annotations", "subset", "annotations", "at least one object", "none that is usable"),
    "would learn that there is only background",
)
VAL_NO_ANNOTATIONS = stops_train_command(
    *("val-no-annotations", "subset", "annotations", "at least one object to validate on"),
    "none that is usable",
    "would find no metric, because each AP needs an object, and a val_loss of the background alone",
)
CATEGORY_ENTRY = stops_at_start(
    *("category-entry", "category", ""),
    *("an 'id', a whole number or text, and a 'name', a printable text", "{entry}"),
    fix="leaves the entry out",
)
CATEGORY_FORM = note(
    *("category-form", "category", "", "{field!r} in COCO's form", "{form}, {value}"),
    *("reads it without loss", "writes it in COCO's form"),
)
CATEGORY_ID_TWICE = warning(
    *("category-id-twice", "category", "id", "each category id once", "it for {names}"),
    "takes the last of the names for all its objects",
    fix="keeps the last entry, as training does",
)
CATEGORY_REPEATED = note(
    *("category-repeated", "category", "", "each category once", "{name!r} {count} times"),
    "takes it as one category",
    fix="keeps one entry",
)
CATEGORY_NAME_TWICE = warning(
    *("category-name-twice", "category", "name", "a name of its own", "{name!r}, as {other} has"),
    "makes them two classes, which compete",
)
CATEGORY_PLACEHOLDER = note(
    *("category-placeholder", "category", "name", "a name of its own", "{name!r}, as {other} has"),
    "makes it a class that has no object here, beside the one that has; Roboflow's exports begin "
    "with such a category",
)
CATEGORY_NAMELESS = warning(
    *("category-nameless", "category", "name", "a name for people, and not 'BG'", "{name!r}"),
    "trains it as any class; tables and pictures show no name, or that of the background",
)
IMAGE_ENTRY = stops_at_start(
    *("image-entry", "image", ""),
    "'id', 'file_name', and a whole 'height' and 'width' above 0, of a size that can be read",
    "{entry}",
    fix="takes the size from the file; leaves out an entry without id or file name",
)
IMAGE_FORM = note(
    *("image-form", "image", "", "{field!r} in COCO's form", "{form}, {value}"),
    *("reads it without loss", "writes it in COCO's form"),
)
IMAGE_ID_TWICE = stops_at_start(
    *("image-id-twice", "image", "id", "each image id once", "it for {first!r} and {second!r}"),
    fix="leaves out the second entry; with another file, all entries and annotations of the id",
)
IMAGE_FILE_TWICE = warning(
    *("image-file-twice", "image", "file_name", "each file once", "{name!r}, as image {other}"),
    "draws the picture as often as it is listed, each time with that entry's objects only: the "
    "others' are background",
)
UNANNOTATED = note(
    *("image-unannotated", "image", "annotations", "objects", "none"),
    "learns that all of the image is background",
)
ANNOTATION_ENTRY = stops_at_start(
    *("annotation-entry", "annotation", "", "'id', 'image_id' and 'category_id'", "{entry}"),
    fix="gives it an id; without one of the others, leaves it out",
)
ANNOTATION_FORM = note(
    *("annotation-form", "annotation", "", "{field!r} in COCO's form", "{form}, {value}"),
    *("reads it without loss", "writes it in COCO's form"),
)
ANNOTATION_ID_TWICE = warning(
    *("annotation-id-twice", "annotation", "id", "each annotation id once", "it {count} times"),
    "takes all of them, as `mrcnn evaluate` does; tools that look annotations up by id find the "
    "last one only",
    fix="gives the later ones new ids",
)
ANNOTATION_TWICE = warning(
    *("annotation-twice", "annotation", "", "each object once", "the object of {other} again"),
    "treats it as two objects in one place",
    fix="leaves the second one out",
)
IMAGE_UNKNOWN = stops_at_start(
    *("image-unknown", "annotation", "image_id", "the id of an entry of 'images'", "{value!r}"),
    fix="leaves the annotation out",
)
CATEGORY_UNKNOWN = stops_at_start(
    *("category-unknown", "annotation", "category_id", "an id of 'categories'", "{value!r}"),
    fix="leaves the annotation out",
)
CROWD_FLAG = stops_at_start(
    *("crowd-flag", "annotation", "iscrowd", "0 or 1", "{received}"),
    fix="leaves the annotation out",
)
CROWD = note(
    *("crowd", "annotation", "iscrowd", "0, an object", "1, a crowd"),
    "takes no object from it, and no background where it is",
)

KINDS: tuple[Kind, ...] = (
    *(JSON_UNREADABLE, NO_IMAGES, NO_ANNOTATIONS, VAL_NO_ANNOTATIONS),
    *(CATEGORY_ENTRY, CATEGORY_FORM, CATEGORY_ID_TWICE, CATEGORY_REPEATED),
    *(CATEGORY_NAME_TWICE, CATEGORY_PLACEHOLDER, CATEGORY_NAMELESS),
    *(IMAGE_ENTRY, IMAGE_FORM, IMAGE_ID_TWICE, IMAGE_FILE_TWICE),
    UNANNOTATED,
    *(ANNOTATION_ENTRY, ANNOTATION_FORM, ANNOTATION_ID_TWICE, ANNOTATION_TWICE),
    *(IMAGE_UNKNOWN, CATEGORY_UNKNOWN, CROWD_FLAG, CROWD),
)

_KIND_OF_FIELD = {
    "iscrowd": CROWD_FLAG,
    "area": AREA_MALFORMED,
    "bbox": BOX_MALFORMED,
    "segmentation": MALFORMED,
}


def read_entries(subset: Subset) -> list[Finding]:
    """Read the json of a subset, and check its lists entry by entry.

    Fills in `content`, `images`, `annotations` and `categories` of the subset.
    """
    try:
        subset.content = subset.content or read_coco_json(subset.file)
    except (OSError, ValueError) as error:
        problem = _reader_problem(error, subset)
        return [report(JSON_UNREADABLE, subset.name, subset.file, problem=problem)]
    return [
        *_check_categories(subset),
        *_check_images(subset),
        *check_files(subset),
        *_check_annotations(subset),
        *check_names(subset),
        *check_emptiness(subset),
    ]


def _reader_problem(error: Exception, subset: Subset) -> str:
    """An error of the reader, without the file that the finding names anyway."""
    text = str(error).removeprefix(f"{subset.file}: ")
    return text.split("; ", 1)[-1].rstrip(".") if "; " in text else text.rstrip(".")


def _report(subset: Subset, kind: Kind, id: Any = None, **values: Any) -> Finding:
    return report(kind, subset.name, subset.file, id, **values)


def _written_id(entry: Any) -> Any:
    """The id of an entry that cannot be read, if it says where to look."""
    id = entry.get("id") if isinstance(entry, dict) else None
    return id if isinstance(id, (int, float, str)) else None


def _report_forms(subset: Subset, kind: Kind, entry: Entry, reading: Reading) -> Iterator[Finding]:
    for field, form in reading.forms:
        values = {"field": field, "form": form, "value": shorten(entry[field])}
        yield _report(subset, kind, reading.entry.get("id"), **values)


def _check_categories(subset: Subset) -> Iterator[Finding]:
    names: dict[Any, list[str]] = defaultdict(list)
    for entry in subset.content["categories"]:
        reading = coco_fields.read_category(entry)
        yield from _report_forms(subset, CATEGORY_FORM, entry, reading)
        id = reading.entry.get("id")
        if reading.problems:
            yield _report(subset, CATEGORY_ENTRY, _written_id(entry), entry=shorten(entry))
        else:
            names[id].append(reading.entry["name"])
    subset.categories = {id: of_id[-1] for id, of_id in names.items()}
    for id, of_id in names.items():
        different = list(dict.fromkeys(of_id))
        if len(different) > 1:
            yield _report(subset, CATEGORY_ID_TWICE, id, names=" and ".join(map(repr, different)))
        elif len(of_id) > 1:
            yield _report(subset, CATEGORY_REPEATED, id, name=of_id[0], count=len(of_id))


def check_names(subset: Subset) -> Iterator[Finding]:
    """Whether categories have names, each its own; the annotations tell those in use."""
    used = {id for id, _ in subset.counts()}
    by_name: dict[str, list[Any]] = defaultdict(list)
    for id, name in subset.categories.items():
        by_name[name].append(id)
    for name, ids in by_name.items():
        if name.strip() in ("", "BG"):
            yield _report(subset, CATEGORY_NAMELESS, ids[0], name=name)
        first = next((id for id in ids if id in used), ids[0])
        for id in ids:
            if id != first:
                is_placeholder = first in used and id not in used
                kind = CATEGORY_PLACEHOLDER if is_placeholder else CATEGORY_NAME_TWICE
                yield _report(subset, kind, id, name=name, other=first)


def _check_images(subset: Subset) -> Iterator[Finding]:
    """The entries of images; keeps the usable ones."""
    first: dict[Any, Entry] = {}
    by_file: dict[str, Any] = {}
    for entry in subset.content["images"]:
        reading = coco_fields.read_image(entry)
        yield from _report_forms(subset, IMAGE_FORM, entry, reading)
        image = reading.entry
        if reading.problems:
            yield _report(subset, IMAGE_ENTRY, _written_id(entry), entry=shorten(entry))
            continue
        id, name = image["id"], image["file_name"]
        if id in first:
            names = {"first": first[id]["file_name"], "second": name}
            yield _report(subset, IMAGE_ID_TWICE, id, **names)
            continue
        first[id] = image
        other = by_file.setdefault(os.path.normpath(name), id)
        if other != id:
            yield _report(subset, IMAGE_FILE_TWICE, id, name=name, other=other)
    subset.images = list(first.values())
    subset.upright |= {id for id, image in first.items() if image.get("upright") is True}


def _check_annotations(subset: Subset) -> Iterator[Finding]:
    """The entries of annotations; keeps the usable ones of images that are kept."""
    images = map(coco_fields.read_image, subset.content["images"])
    image_ids = {reading.entry["id"] for reading in images if "id" in reading.entry}
    entries = subset.content["annotations"]
    usable = Collector(entries, image_ids, subset.categories)
    seen = _Repeated(entries)
    for number, raw in enumerate(entries):
        reading = coco_fields.read_annotation(raw)
        entry, id = reading.entry, reading.entry.get("id")
        if reading.forms or reading.problems:
            yield from _report_forms(subset, ANNOTATION_FORM, raw, reading)
            yield from _check_fields(subset, raw, reading)
            if reading.problem("", "image_id", "category_id"):
                continue
        seen.add_id(id)
        if entry["image_id"] not in image_ids:
            yield _report(subset, IMAGE_UNKNOWN, id, value=entry["image_id"])
            continue
        if entry["category_id"] not in subset.categories:
            yield _report(subset, CATEGORY_UNKNOWN, id, value=entry["category_id"])
            continue
        if entry.get("iscrowd"):
            yield _report(subset, CROWD, id)
        seen.add_object(number, same_object_key(entry))
        if not reading.problem("iscrowd", "segmentation"):
            usable.add(number, entry, entry is raw)
    for id, other in seen.objects():
        yield _report(subset, ANNOTATION_TWICE, id, other=other)
    for id, count in seen.ids():
        yield _report(subset, ANNOTATION_ID_TWICE, id, count=count)
    kept = {image["id"] for image in subset.images}
    annotations = by_image(usable.collected())
    subset.annotations = {id: entries for id, entries in annotations.items() if id in kept}


class _Repeated:
    """What comes again among the annotations of a json; takes 24 bytes for each of them.

    Args:
        entries: of the json.
    """

    def __init__(self, entries: Sequence[Any]) -> None:
        self._entries = entries
        self._keys, self._numbers, self._ids = array("q"), array("q"), array("q")
        self._other_ids: Counter[Any] = Counter()

    def add_id(self, id: Any) -> None:
        """Count an id; None is none."""
        if isinstance(id, int):
            self._ids.append(id)
        elif id is not None:
            self._other_ids[id] += 1

    def add_object(self, number: int, key: int | None) -> None:
        """Keep the key of an entry, see `same_object_key`; None is none."""
        if key is not None:
            self._keys.append(key)
            self._numbers.append(number)

    def ids(self) -> Iterator[tuple[Any, int]]:
        """The ids of several annotations, and how many those are."""
        ids, numbers = np.unique(np.array(self._ids, np.int64), return_counts=True)
        for place in np.flatnonzero(numbers > 1):
            yield int(ids[place]), int(numbers[place])
        yield from ((id, count) for id, count in self._other_ids.items() if count > 1)

    def objects(self) -> Iterator[tuple[Any, Any]]:
        """Of each object that was annotated before: its id, and that of the first."""
        keys, numbers = np.array(self._keys, np.int64), np.array(self._numbers, np.int64)
        _, first, group = np.unique(keys, return_index=True, return_inverse=True)
        for place in np.flatnonzero(first[group] != np.arange(len(keys))):
            yield self._id(numbers[place]), self._id(numbers[first[group[place]]])

    def _id(self, number: int) -> Any:
        return coco_fields.read_annotation(self._entries[number]).entry.get("id")


def _check_fields(subset: Subset, raw: Any, reading: Reading) -> Iterator[Finding]:
    """The fields that cannot be read."""
    id = reading.entry.get("id")
    if reading.problem(""):
        yield _report(subset, ANNOTATION_ENTRY, entry=shorten(raw))
        return
    if reading.problem("id", "image_id", "category_id"):
        received = {name: raw.get(name) for name in ("id", "image_id", "category_id")}
        yield _report(subset, ANNOTATION_ENTRY, _written_id(raw), entry=shorten(received))
    for problem in reading.problems:
        kind = _KIND_OF_FIELD.get(problem.field)
        if kind is not None:
            yield _report(subset, kind, id, received=problem.received)


def check_emptiness(subset: Subset) -> Iterator[Finding]:
    """Whether anything usable is left, and which images have no object."""
    if not subset.images:
        yield _report(subset, NO_IMAGES)
    elif not subset.annotations:
        yield _report(subset, VAL_NO_ANNOTATIONS if subset.is_validation else NO_ANNOTATIONS)
    else:
        for image in subset.images:
            if image["id"] not in subset.annotations:
                yield _report(subset, UNANNOTATED, image["id"])
