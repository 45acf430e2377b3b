"""The json of a subset, read so that one bad entry does not hide the others.

The reader of training (`mrcnn.datasets.coco`) stops at the first fault. Here each entry of
'images', 'annotations' and 'categories' is looked at by itself; what is usable goes on to the
other checks.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any

from mrcnn.datasets.coco import SUBSETS_OF_VAL, is_category, read_coco_json
from mrcnn.doctor.findings import Finding, Kind, note, report, stops_at_start, warning

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
    "takes it for two objects in one place",
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
    "takes for a crowd what Python takes for true, the text '0' too",
    fix="writes 0 for the text '0', else what training takes it for",
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


@dataclass
class Subset:
    """A subset's usable entries.

    Attributes:
        name: with the year, such as "train2017".
        file: the json.
        folder: of the images.
        content: all of the json, as it stands there; None when it cannot be read.
        images: the usable entries whose files exist, in the file's order.
        annotations: the usable entries by image id.
        categories: {id: name}.
    """

    name: str
    file: Path
    folder: Path
    content: dict[str, Any] | None = None
    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: dict[Any, list[dict[str, Any]]] = field(default_factory=dict)
    categories: dict[Any, str] = field(default_factory=dict)

    def path(self, image: dict[str, Any]) -> Path:
        """The file of an image."""
        return self.folder / os.path.normpath(image["file_name"])


def find_subset(dataset: str | os.PathLike[str], subset: str, year: str) -> Subset:
    """Where a subset's json and images are, as `CocoDataset.load_coco` finds them."""
    folder = Path(dataset)
    image_subset = "val" if subset in SUBSETS_OF_VAL else subset
    for suffix in dict.fromkeys([year, ""]):
        file = folder / "annotations" / f"instances_{subset}{suffix}.json"
        if file.is_file():
            break
    else:
        file, suffix = folder / "annotations" / f"instances_{subset}{year}.json", year
    return Subset(f"{subset}{suffix}", file, folder / f"{image_subset}{suffix}")


def read_entries(subset: Subset) -> list[Finding]:
    """Read the json of a subset, and check its lists entry by entry.

    Fills `content`, `images`, `annotations` and `categories` of the subset.
    """
    try:
        subset.content = read_coco_json(subset.file)
    except (OSError, ValueError) as error:
        return [report(JSON_UNREADABLE, subset.name, subset.file, problem=_short(error, subset))]
    findings = list(_categories(subset))
    findings += _images(subset)
    findings += _files(subset)
    findings += _annotations(subset)
    if not subset.images:
        findings.append(report(NO_IMAGES, subset.name, subset.file))
    elif not subset.annotations:
        findings.append(report(NO_ANNOTATIONS, subset.name, subset.file))
    else:
        for image in subset.images:
            if image["id"] not in subset.annotations:
                findings.append(report(UNANNOTATED, subset.name, subset.file, image["id"]))
    return findings


def sort_categories(entries: list[Any]) -> tuple[list[dict[str, Any]], list[Any]]:
    """The usable entries of 'categories' and the others."""
    usable: list[dict[str, Any]] = []
    unusable: list[Any] = []
    for entry in entries:
        is_usable = isinstance(entry, dict) and is_category(entry.get("id"), entry.get("name"))
        (usable if is_usable else unusable).append(entry)
    return usable, unusable


def is_id(value: Any) -> bool:
    """Whether a value can be an id: a text or a number, which NaN is not."""
    return isinstance(value, (int, float, str)) and value == value


def is_side(value: Any) -> bool:
    """Whether a value can be a width or height in pixels."""
    return isinstance(value, int) and value > 0


def shorten(value: Any, length: int = 80) -> str:
    """The `repr` of a value, cut to a length."""
    text = repr(value)
    return text if len(text) <= length else text[: length - 1] + "…"


def _short(error: Exception, subset: Subset) -> str:
    """An error of the reader, without the file that the finding names anyway."""
    text = str(error).removeprefix(f"{subset.file}: ")
    return text.split("; ", 1)[-1].rstrip(".") if "; " in text else text.rstrip(".")


def _reporter(subset: Subset) -> Callable[..., Finding]:
    return lambda kind, id=None, **values: report(kind, subset.name, subset.file, id, **values)


def _categories(subset: Subset) -> Iterator[Finding]:
    found = _reporter(subset)
    names: dict[Any, list[str]] = defaultdict(list)
    usable, unusable = sort_categories(subset.content["categories"])
    for entry in unusable:
        id = entry.get("id") if isinstance(entry, dict) else None
        yield found(CATEGORY_ENTRY, id if is_id(id) else None, entry=shorten(entry))
    for entry in usable:
        names[entry["id"]].append(str(entry["name"]))
    subset.categories = {id: of_id[-1] for id, of_id in names.items()}
    by_name: dict[str, Any] = {}
    for id, of_id in names.items():
        if len(of_id) > 1:
            yield found(CATEGORY_ID_TWICE, id, names=" and ".join(map(repr, of_id)))
        other = by_name.setdefault(of_id[-1], id)
        if other != id:
            yield found(CATEGORY_NAME_TWICE, id, name=of_id[-1], other=other)


def _images(subset: Subset) -> Iterator[Finding]:
    found = _reporter(subset)
    first: dict[Any, dict[str, Any]] = {}
    by_file: dict[str, Any] = {}
    for entry in subset.content["images"]:
        id = entry.get("id") if isinstance(entry, dict) else None
        if not (
            is_id(id)
            and isinstance(entry.get("file_name"), str)
            and is_side(entry.get("height"))
            and is_side(entry.get("width"))
        ):
            yield found(IMAGE_ENTRY, id if is_id(id) else None, entry=shorten(entry))
            continue
        name = entry["file_name"]
        if id in first:
            yield found(IMAGE_ID_TWICE, id, first=first[id]["file_name"], second=name)
            continue
        first[id] = entry
        other = by_file.setdefault(os.path.normpath(name), id)
        if other != id:
            yield found(IMAGE_FILE_TWICE, id, name=name, other=other)
    subset.images = list(first.values())


def _files(subset: Subset) -> Iterator[Finding]:
    """Which files of the images there are; keeps those images whose file exists."""
    found = _reporter(subset)
    if not subset.folder.is_dir():
        subset.images = []
        yield found(FOLDER_MISSING, folder=subset.folder)
        return
    listing = {entry.name for entry in os.scandir(subset.folder) if entry.is_file()}
    entries = [entry for entry in subset.content["images"] if isinstance(entry, dict)]
    used = {os.path.normpath(str(entry.get("file_name"))) for entry in entries}
    there = []
    for image in subset.images:
        name = os.path.normpath(image["file_name"])
        if (
            os.path.isabs(name)
            or PureWindowsPath(name).anchor
            or name.split(os.sep)[0] == os.pardir
        ):
            yield found(PATH_OUTSIDE, image["id"], name=image["file_name"])
        elif name not in listing and not (subset.folder / name).is_file():
            yield found(IMAGE_MISSING, image["id"], name=image["file_name"], folder=subset.folder)
        else:
            there.append(image)
    subset.images = there
    unlisted = sorted(listing - used)
    if unlisted:
        examples = ", ".join(unlisted[:3])
        yield found(UNLISTED, folder=subset.folder, count=len(unlisted), examples=examples)


def _annotations(subset: Subset) -> Iterator[Finding]:
    found = _reporter(subset)
    entries = [entry for entry in subset.content["images"] if isinstance(entry, dict)]
    image_ids = {entry["id"] for entry in entries if is_id(entry.get("id"))}
    counts: Counter[Any] = Counter()
    shapes: dict[Any, Any] = {}
    usable: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for entry in subset.content["annotations"]:
        if not isinstance(entry, dict):
            yield found(ANNOTATION_ENTRY, None, entry=shorten(entry))
            continue
        id = entry.get("id") if is_id(entry.get("id")) else None
        missing = [k for k in ("image_id", "category_id") if not is_id(entry.get(k))]
        # Training looks nothing up by this id, so that null is as good as a number.
        if "id" not in entry or isinstance(entry["id"], (list, dict)):
            missing.append("id")
        if missing:
            received = {k: entry.get(k) for k in ("id", "image_id", "category_id")}
            yield found(ANNOTATION_ENTRY, id, entry=shorten(received))
            if missing != ["id"]:
                continue
        counts[id] += id is not None
        if entry["image_id"] not in image_ids:
            yield found(IMAGE_UNKNOWN, id, value=entry["image_id"])
            continue
        if entry["category_id"] not in subset.categories:
            yield found(CATEGORY_UNKNOWN, id, value=entry["category_id"])
            continue
        flag = entry.get("iscrowd", 0)
        if isinstance(flag, bool) or flag not in (0, 1):
            yield found(CROWD_FLAG, id, value=flag)
        if flag:
            yield found(CROWD, id)
        key = same_object(entry)
        if key is not None and (other := shapes.setdefault(key, entry)) is not entry:
            yield found(ANNOTATION_TWICE, id, other=other.get("id"))
        usable[entry["image_id"]].append(entry)
    for id, count in counts.items():
        if count > 1:
            yield found(ANNOTATION_ID_TWICE, id, count=count)
    there = {image["id"] for image in subset.images}
    subset.annotations = {id: entries for id, entries in usable.items() if id in there}


def same_object(annotation: dict[str, Any]) -> Any:
    """A key that two annotations share when they say the same of the same pixels."""
    shape = annotation.get("segmentation") or annotation.get("bbox")
    if not shape:
        return None
    return hash((annotation["image_id"], annotation["category_id"], repr(shape)))
