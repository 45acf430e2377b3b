"""The files that the entries of images name: whether they are there, inside the image folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from mrcnn.data.coco_fields import Entry, shorten
from mrcnn.datasets.image_stores import ImageStore
from mrcnn.doctor.findings import Fault, Finding, Kind, fault, note, report, stops_at_start
from mrcnn.doctor.image_files import SUFFIXES
from mrcnn.doctor.subset import Subset
from mrcnn.files.elsewhere import file_meant
from mrcnn.files.untrusted import is_outside

FOLDER_MISSING = stops_at_start(
    *("folder-missing", "subset", "", "the images in the folder {folder}", "no such folder")
)
PATH_OUTSIDE = stops_at_start(
    *("path-outside", "image", "file_name", "a path inside the image folder", "{name}"),
    fix="leaves the image and its annotations out",
)
PATH_LINK = stops_at_start(
    *("path-link", "image", "file_name", "a file inside the image folder"),
    "{name}, which leads by a link to {target}",
    "with the environment variable MRCNN_FOLLOW_LINKS=1 it follows such links",
)
IMAGE_MISSING = stops_at_start(
    *("image-missing", "image", "file_name", "the file {name} in {folder}", "no such file"),
    fix="leaves the image and its annotations out",
)
PATH_BACKSLASH = stops_at_start(
    *("path-backslash", "image", "file_name", "{slashed!r}, which exists", "{name}"),
    fix="writes the name with `/`",
)
PATH_ELSEWHERE = stops_at_start(
    *("path-elsewhere", "image", "file_name"),
    "a path inside the image folder, perhaps {end!r}, which exists",
    "{name}",
    fix="writes the name of that file, if it has the stated size and is no other entry's; "
    "otherwise leaves the image and its annotations out",
)
UNLISTED = note(
    *("images-unlisted", "subset", "images", "an entry for each file of {folder}"),
    "{count} files without one, such as {examples}",
    "does not see them",
)
KINDS: tuple[Kind, ...] = (
    *(FOLDER_MISSING, PATH_OUTSIDE, PATH_LINK, PATH_BACKSLASH, PATH_ELSEWHERE),
    *(IMAGE_MISSING, UNLISTED),
)

LONGEST_NAME = 200  # in a message
PICTURE_SUFFIXES = frozenset(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)


def check_files(subset: Subset) -> Iterator[Finding]:
    """Which files of the images there are; keeps those images whose file exists."""
    folder = subset.folder
    try:
        files = subset.store
    except FileNotFoundError:
        subset.images = []
        yield report(FOLDER_MISSING, subset.name, subset.file, folder=folder)
        return
    used = {
        os.path.normpath(str(entry.get("file_name")))
        for entry in subset.content["images"]
        if isinstance(entry, dict)
    }
    existing = []
    for image in subset.images:
        found = _fault(subset, files, image)
        if found is None:
            existing.append(image)
            continue
        if "end" in found.values:
            used.add(os.path.normpath(found.values["end"]))
        values = {**found.values, "name": shorten(found.values["name"], LONGEST_NAME)}
        yield report(found.kind, subset.name, subset.file, image["id"], **values)
    subset.images = existing
    pictures = {
        name for name in files.at_the_top() if Path(name).suffix.lower() in PICTURE_SUFFIXES
    }
    unlisted = sorted(pictures - used)
    if unlisted and not subset.is_part:
        values = {"count": len(unlisted), "examples": ", ".join(unlisted[:3])}
        yield report(UNLISTED, subset.name, subset.file, folder=folder, **values)


def _fault(subset: Subset, files: ImageStore, image: Entry) -> Fault | None:
    """What is wrong with the file name of an image, as its reader sees it."""
    name = image["file_name"]
    slashed = name.replace("\\", "/")
    if not is_outside(name):
        try:
            if files.find(name) is not None:
                return None
        except ValueError:
            if subset.finds(name):
                target = os.path.realpath(subset.path(image))
                return fault(PATH_LINK, name=name, target=target)
    leads_out = is_outside(name) or is_outside(slashed)
    if not leads_out and slashed != name and subset.finds(slashed):
        return fault(PATH_BACKSLASH, name=name, slashed=slashed)
    end = file_meant(name, subset.finds)
    if end is not None:
        return fault(PATH_ELSEWHERE, name=name, end=end)
    if leads_out:
        return fault(PATH_OUTSIDE, name=name)
    return fault(IMAGE_MISSING, name=name, folder=subset.folder)
