"""The json of a subset, read so that one bad entry does not hide the others.

The reader of training (`mrcnn.datasets.coco`) stops at the first fault. Here each entry of
'images', 'annotations' and 'categories' is checked by itself; what is usable goes on to the other
checks.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from mrcnn.datasets.coco_json import read_coco_json
from mrcnn.doctor.findings import Finding, Kind, note, report, stops_at_start, warning
from mrcnn.doctor.subset import (
    Entry,
    Subset,
    is_id,
    is_outside,
    is_side,
    same_object_key,
    shorten,
    split_categories,
)

JSON_UNREADABLE = stops_at_start(
    *("json-unreadable", "subset", ""),
    "a COCO json file with the lists 'images', 'annotations' and 'categories'",
    "{problem}",
)
FOLDER_MISSING = stops_at_start(
    *("folder-missing", "subset", "", "the images in the folder {folder}", "no such folder")
)
NO_IMAGES = stops_at_start(
    *("no-images", "subset", "images", "at least one image", "none that is usable")
)
NO_ANNOTATIONS = warning(
    *("no-annotations", "subset", "annotations", "at least one object", "none that is usable"),
    "learns that there is only background",
)
CATEGORY_ENTRY = stops_at_start(
    *("category-entry", "category", ""),
    *("an 'id', a whole number or text, and a 'name', a printable text", "{entry}"),
    fix="leaves the entry out",
)
CATEGORY_ID_TWICE = warning(
    *("category-id-twice", "category", "id", "each category id once", "it for {names}"),
    "takes the last of the names for all its objects",
    fix="keeps the last entry, as training does",
)
CATEGORY_NAME_TWICE = warning(
    *("category-name-twice", "category", "name", "a name of its own", "{name!r}, as {other} has"),
    "makes them two classes, which compete",
)
IMAGE_ENTRY = stops_at_start(
    *("image-entry", "image", ""),
    "'id', 'file_name', and a whole 'height' and 'width' above 0",
    "{entry}",
    fix="takes the size from the file; leaves out an entry without id or file name",
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
PATH_OUTSIDE = stops_at_start(
    *("path-outside", "image", "file_name", "a path inside the image folder", "{name!r}"),
    fix="leaves the image and its annotations out",
)
IMAGE_MISSING = stops_at_start(
    *("image-missing", "image", "file_name", "the file {name!r} in {folder}", "no such file"),
    fix="leaves the image and its annotations out",
)
UNLISTED = note(
    *("images-unlisted", "subset", "images", "an entry for each file of {folder}"),
    "{count} files without one, such as {examples}",
    "does not see them",
)
UNANNOTATED = note(
    *("image-unannotated", "image", "annotations", "objects", "none"),
    "learns that all of the image is background",
)
ANNOTATION_ENTRY = stops_at_start(
    *("annotation-entry", "annotation", "", "'id', 'image_id' and 'category_id'", "{entry}"),
    fix="gives it an id; without one of the others, leaves it out",
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
CROWD_FLAG = warning(
    *("crowd-flag", "annotation", "iscrowd", "0 or 1", "{value!r}"),
    "treats as a crowd whatever Python counts as true, the text '0' too",
    fix="writes 0 for the text '0', else what training treats it as",
)
CROWD = note(
    *("crowd", "annotation", "iscrowd", "0, an object", "1, a crowd"),
    "takes no object from it, and no background where it is",
)

KINDS: tuple[Kind, ...] = (
    *(JSON_UNREADABLE, FOLDER_MISSING, NO_IMAGES, NO_ANNOTATIONS),
    *(CATEGORY_ENTRY, CATEGORY_ID_TWICE, CATEGORY_NAME_TWICE),
    *(IMAGE_ENTRY, IMAGE_ID_TWICE, IMAGE_FILE_TWICE, PATH_OUTSIDE, IMAGE_MISSING),
    *(UNLISTED, UNANNOTATED),
    *(ANNOTATION_ENTRY, ANNOTATION_ID_TWICE, ANNOTATION_TWICE, IMAGE_UNKNOWN, CATEGORY_UNKNOWN),
    *(CROWD_FLAG, CROWD),
)


def read_entries(subset: Subset) -> list[Finding]:
    """Read the json of a subset, and check its lists entry by entry.

    Fills in `content`, `images`, `annotations` and `categories` of the subset.
    """
    try:
        subset.content = read_coco_json(subset.file)
    except (OSError, ValueError) as error:
        problem = _reader_problem(error, subset)
        return [report(JSON_UNREADABLE, subset.name, subset.file, problem=problem)]
    return [
        *_check_categories(subset),
        *_check_images(subset),
        *_check_files(subset),
        *_check_annotations(subset),
        *_check_emptiness(subset),
    ]


def _reader_problem(error: Exception, subset: Subset) -> str:
    """An error of the reader, without the file that the finding names anyway."""
    text = str(error).removeprefix(f"{subset.file}: ")
    return text.split("; ", 1)[-1].rstrip(".") if "; " in text else text.rstrip(".")


def _report(subset: Subset, kind: Kind, id: Any = None, **values: Any) -> Finding:
    return report(kind, subset.name, subset.file, id, **values)


def _check_categories(subset: Subset) -> Iterator[Finding]:
    names: dict[Any, list[str]] = defaultdict(list)
    usable, unusable = split_categories(subset.content["categories"])
    for entry in unusable:
        id = entry.get("id") if isinstance(entry, dict) else None
        yield _report(subset, CATEGORY_ENTRY, id if is_id(id) else None, entry=shorten(entry))
    for entry in usable:
        names[entry["id"]].append(str(entry["name"]))
    subset.categories = {id: of_id[-1] for id, of_id in names.items()}
    by_name: dict[str, Any] = {}
    for id, of_id in names.items():
        if len(of_id) > 1:
            yield _report(subset, CATEGORY_ID_TWICE, id, names=" and ".join(map(repr, of_id)))
        other = by_name.setdefault(of_id[-1], id)
        if other != id:
            yield _report(subset, CATEGORY_NAME_TWICE, id, name=of_id[-1], other=other)


def _check_images(subset: Subset) -> Iterator[Finding]:
    """The entries of images; keeps the usable ones."""
    first: dict[Any, Entry] = {}
    by_file: dict[str, Any] = {}
    for entry in subset.content["images"]:
        if not _is_image(entry):
            id = entry.get("id") if isinstance(entry, dict) else None
            yield _report(subset, IMAGE_ENTRY, id if is_id(id) else None, entry=shorten(entry))
            continue
        id, name = entry["id"], entry["file_name"]
        if id in first:
            names = {"first": first[id]["file_name"], "second": name}
            yield _report(subset, IMAGE_ID_TWICE, id, **names)
            continue
        first[id] = entry
        other = by_file.setdefault(os.path.normpath(name), id)
        if other != id:
            yield _report(subset, IMAGE_FILE_TWICE, id, name=name, other=other)
    subset.images = list(first.values())


def _is_image(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and is_id(entry.get("id"))
        and isinstance(entry.get("file_name"), str)
        and is_side(entry.get("height"))
        and is_side(entry.get("width"))
    )


def _check_files(subset: Subset) -> Iterator[Finding]:
    """Which files of the images there are; keeps those images whose file exists."""
    folder = subset.folder
    if not folder.is_dir():
        subset.images = []
        yield _report(subset, FOLDER_MISSING, folder=folder)
        return
    listing = {entry.name for entry in os.scandir(folder) if entry.is_file()}
    entries = [entry for entry in subset.content["images"] if isinstance(entry, dict)]
    used = {os.path.normpath(str(entry.get("file_name"))) for entry in entries}
    existing = []
    for image in subset.images:
        name = image["file_name"]
        if is_outside(name):
            yield _report(subset, PATH_OUTSIDE, image["id"], name=name)
        elif os.path.normpath(name) not in listing and not subset.path(image).is_file():
            yield _report(subset, IMAGE_MISSING, image["id"], name=name, folder=folder)
        else:
            existing.append(image)
    subset.images = existing
    unlisted = sorted(listing - used)
    if unlisted:
        examples = ", ".join(unlisted[:3])
        yield _report(subset, UNLISTED, folder=folder, count=len(unlisted), examples=examples)


def _check_annotations(subset: Subset) -> Iterator[Finding]:
    """The entries of annotations; keeps the usable ones of images that are kept."""
    images = [entry for entry in subset.content["images"] if isinstance(entry, dict)]
    image_ids = {image["id"] for image in images if is_id(image.get("id"))}
    counts: Counter[Any] = Counter()
    by_key: dict[int, Entry] = {}
    usable: dict[Any, list[Entry]] = defaultdict(list)
    for entry in subset.content["annotations"]:
        yield from _check_fields(subset, entry)
        if not _has_owner(entry):
            continue
        id = entry.get("id") if is_id(entry.get("id")) else None
        counts[id] += id is not None
        if entry["image_id"] not in image_ids:
            yield _report(subset, IMAGE_UNKNOWN, id, value=entry["image_id"])
            continue
        if entry["category_id"] not in subset.categories:
            yield _report(subset, CATEGORY_UNKNOWN, id, value=entry["category_id"])
            continue
        yield from _check_crowd(subset, entry, id)
        key = same_object_key(entry)
        if key is not None and (other := by_key.setdefault(key, entry)) is not entry:
            yield _report(subset, ANNOTATION_TWICE, id, other=other.get("id"))
        usable[entry["image_id"]].append(entry)
    for id, count in counts.items():
        if count > 1:
            yield _report(subset, ANNOTATION_ID_TWICE, id, count=count)
    kept = {image["id"] for image in subset.images}
    subset.annotations = {id: entries for id, entries in usable.items() if id in kept}


def _has_owner(entry: Any) -> bool:
    """Whether an annotation says of which image and category it is."""
    return (
        isinstance(entry, dict) and is_id(entry.get("image_id")) and is_id(entry.get("category_id"))
    )


def _check_fields(subset: Subset, entry: Any) -> Iterator[Finding]:
    if not isinstance(entry, dict):
        yield _report(subset, ANNOTATION_ENTRY, entry=shorten(entry))
        return
    # Training looks nothing up by the id, so that null is as good as a number.
    has_id = "id" in entry and not isinstance(entry["id"], (list, dict))
    if not has_id or not _has_owner(entry):
        id = entry.get("id") if is_id(entry.get("id")) else None
        received = {name: entry.get(name) for name in ("id", "image_id", "category_id")}
        yield _report(subset, ANNOTATION_ENTRY, id, entry=shorten(received))


def _check_crowd(subset: Subset, entry: Entry, id: Any) -> Iterator[Finding]:
    flag = entry.get("iscrowd", 0)
    if isinstance(flag, bool) or flag not in (0, 1):
        yield _report(subset, CROWD_FLAG, id, value=flag)
    if flag:
        yield _report(subset, CROWD, id)


def _check_emptiness(subset: Subset) -> Iterator[Finding]:
    """Whether anything usable is left, and which images have no object."""
    if not subset.images:
        yield _report(subset, NO_IMAGES)
    elif not subset.annotations:
        yield _report(subset, NO_ANNOTATIONS)
    else:
        for image in subset.images:
            if image["id"] not in subset.annotations:
                yield _report(subset, UNANNOTATED, image["id"])
