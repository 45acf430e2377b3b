"""Entries of images repaired: sizes taken from the files, what cannot be read left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from mrcnn.data import coco_fields
from mrcnn.data.coco_fields import Entry
from mrcnn.doctor import image_files
from mrcnn.doctor.image_files import ImageFile, ImageFiles
from mrcnn.doctor.segmentations import position_fault
from mrcnn.doctor.subset import Subset, is_finite
from mrcnn.files.elsewhere import file_meant
from mrcnn.files.image_file import width_and_height
from mrcnn.files.remote_image import local_image
from mrcnn.files.untrusted import is_outside


def repair_images(subset: Subset, checked: ImageFiles, done: Counter[str]) -> list[Entry]:
    """The entries of images that training can use.

    Args:
        subset: readable.
        checked: its image files.
        done: what is done is counted here.
    """
    files = {image["id"]: file for image, file in checked}
    repaired = []
    for entry in _one_of_each_id(subset, done):
        file = files.get(entry["id"])
        if file is None:  # its size is malformed, or its file does not exist
            file = _check_again(subset, entry)
        if file is None or not file.is_readable or file.size is None:
            done["images left out whose file is missing or cannot be read"] += 1
            continue
        if (entry.get("height"), entry.get("width")) != file.size:
            if not _annotations_fit(subset, entry, file, file.size):
                done["images left out whose annotations may be of another size"] += 1
                continue
            height, width = file.size
            entry = {**entry, "height": height, "width": width}
            done["sizes of images taken from the file"] += 1
        repaired.append(entry)
    return repaired


def _one_of_each_id(subset: Subset, done: Counter[str]) -> Iterator[Entry]:
    """The entries with id and file name; none of an id that stands for several files."""
    entries_of: dict[Any, list[Entry]] = {}
    for entry in subset.content["images"]:
        reading = coco_fields.read_image(entry)
        if reading.problem("", "id", "file_name"):
            done["images without id or file name left out"] += 1
            continue
        for field, form in reading.forms:
            done[f"images, field {field!r}: {form}, written as COCO does"] += 1
        entries_of.setdefault(reading.entry["id"], []).append(reading.entry)
    names = _names_here(subset, [entry for of_id in entries_of.values() for entry in of_id])
    for of_id in entries_of.values():
        entries = [_renamed(entry, names, done) for entry in of_id]
        if len({entry["file_name"] for entry in entries}) > 1:
            done["images left out, of an id that stands for several files"] += len(entries)
            continue
        if len(entries) > 1:
            done["images left out that are listed again"] += len(entries) - 1
        yield entries[0]


def _renamed(entry: Entry, names: dict[str, str], done: Counter[str]) -> Entry:
    name = entry["file_name"]
    if names.get(name, name) == name:
        return entry
    what = "with '/'" if names[name] == name.replace("\\", "/") else "as they are here"
    done[f"file names written {what}"] += 1
    return {**entry, "file_name": names[name]}


def _names_here(subset: Subset, entries: list[Entry]) -> dict[str, str]:
    """The file that each name means, where there is one; see `mrcnn.files.elsewhere`."""
    names: dict[str, str] = {}
    meant: dict[str, list[Entry]] = {}
    for entry in entries:
        name = entry["file_name"]
        found = next((n for n in (name, name.replace("\\", "/")) if _is_here(subset, n)), None)
        if found is not None:
            names[name] = found
        elif (end := file_meant(name, subset.finds)) is not None:
            meant.setdefault(os.path.normpath(end), []).append(entry)
    taken = set(map(os.path.normpath, names.values()))
    for end, of_end in meant.items():
        alike = len({entry["file_name"] for entry in of_end}) == 1
        if alike and end not in taken and all(_has_size(subset, e, end) for e in of_end):
            names[of_end[0]["file_name"]] = end
    return names


def _is_here(subset: Subset, name: str) -> bool:
    return not is_outside(name) and subset.finds(name)


def _has_size(subset: Subset, entry: Entry, name: str) -> bool:
    """Whether a file has the size of an entry, as it is stored or turned by its EXIF data."""
    stated = entry.get("width"), entry.get("height")
    path = subset.path({"file_name": name})
    try:
        sizes = [width_and_height(local_image(path), upright) for upright in (False, True)]
    except (OSError, ValueError):
        return False
    return stated in sizes


def _check_again(subset: Subset, entry: Entry) -> ImageFile | None:
    """The file of an entry that was not checked because of its size; None where that is right."""
    has_size = not coco_fields.read_image(entry).problems
    name = entry["file_name"]
    is_found = has_size and not is_outside(name) and subset.finds(name)
    if is_outside(name) or (has_size and not is_found):
        return None
    size = {} if has_size else {"height": 1, "width": 1}
    return image_files.check_image_file(subset, {**entry, **size})


def _annotations_fit(subset: Subset, entry: Entry, file: ImageFile, size: tuple[int, int]) -> bool:
    """Whether the annotations of an image are of the size of its file, as far as one can tell."""
    is_scaled = _is_scaled(entry, size)
    for annotation in subset.content["annotations"]:
        annotation = coco_fields.read_annotation(annotation).entry
        if annotation.get("image_id") != entry["id"]:
            continue
        segmentation = annotation.get("segmentation")
        if isinstance(segmentation, dict) and segmentation.get("size") != list(size):
            return False
        # Polygons of a scaled picture fit, and lie on something else.
        if isinstance(segmentation, list) and (is_scaled or not _polygons_fit(segmentation, size)):
            return False
    return True


def _is_scaled(entry: Entry, size: tuple[int, int]) -> bool:
    """Whether the entry's size is that of the file in another scale, up to rounding."""
    if "height" in entry and "width" in entry:
        height, width = entry["height"], entry["width"]
        return abs(height * size[1] - width * size[0]) <= max(height, width, *size)
    return False


def _polygons_fit(parts: list[Any], size: tuple[int, int]) -> bool:
    for part in parts:
        if not isinstance(part, list) or not all(map(is_finite, part)):
            continue  # it will be left out
        corners = np.array(part[: len(part) // 2 * 2], np.float64).reshape(-1, 2)
        if len(corners) and position_fault(corners, size) is not None:
            return False
    return True
