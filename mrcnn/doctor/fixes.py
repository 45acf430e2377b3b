"""What is safe to mend, mended in a copy: new json files beside links to the images.

Nothing is invented. What can be computed from the masks or read from the image files is
corrected; what would stop training, or trains nothing, is left out; both are counted. What may
be meant as it stands (a polygon that crosses itself, a picture in both subsets) is left alone.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from mrcnn.datasets.segmentation import POLYGON_MIN_POINTS
from mrcnn.doctor import image_files, polygons, segmentations
from mrcnn.doctor.annotations import Subset, is_id, is_side, same_object, sort_categories
from mrcnn.doctor.examine import Examination, Examined
from mrcnn.doctor.findings import ERROR

BOX_FAULTS = (segmentations.BOX_MALFORMED, segmentations.BOX_CORNERS, segmentations.BOX_DISAGREES)

Entry = dict[str, Any]


def fix(
    examination: Examination, out: str | os.PathLike[str], box_only: bool = False
) -> dict[str, Counter[str]]:
    """Write a mended copy of a data set, with its images as links.

    Args:
        examination: of the data set, not a quick one.
        out: a new or empty folder.
        box_only: as `mrcnn train --box-only`.

    Returns:
        What was done, and how often, by the name of the subset.

    Raises:
        ValueError: `out` is in use, or a subset cannot be mended.
    """
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(
            f"{folder}: expected a new or an empty folder for the mended data set; it is in use. "
            f"Name another one."
        )
    mended, done = {}, {}
    for examined in examination.subsets:
        subset = examined.subset
        if subset.content is None or not subset.folder.is_dir():
            raise ValueError(
                f"{subset.file}: expected a readable json and the image folder {subset.folder}; "
                f"one is missing, so that there is nothing to mend it from."
            )
        mended[subset.name], done[subset.name] = mend(examined, box_only)
        if not mended[subset.name]["images"]:
            raise ValueError(
                f"{subset.file}: expected an image that can be kept; all are to be left out, so "
                f"that there is nothing to mend."
            )
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    for examined in examination.subsets:
        subset = examined.subset
        file = folder / "annotations" / subset.file.name
        file.write_text(json.dumps(mended[subset.name]), encoding="utf-8")
        link = folder / subset.folder.name
        if not link.is_symlink():  # two subsets may share their images
            link.symlink_to(subset.folder.resolve(), target_is_directory=True)
    return done


def mend(examined: Examined, box_only: bool = False) -> tuple[dict[str, Any], Counter[str]]:
    """The mended content of a subset's json, and what was done to it, counted."""
    subset, done = examined.subset, Counter()
    categories = _categories(subset.content["categories"], done)
    images = _images(examined, done)
    annotations = _annotations(
        subset, {image["id"]: image for image in images}, set(subset.categories), box_only, done
    )
    content = {
        **subset.content,
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }
    return content, done


def describe(done: dict[str, Counter[str]]) -> str:
    """A line for each thing that was done."""
    lines = [
        f"{number:6}  {name}: {what}"
        for name, of_subset in done.items()
        for what, number in of_subset.most_common()
    ]
    return "\n".join(lines) or "nothing to mend"


def _categories(entries: list[Any], done: Counter[str]) -> list[Entry]:
    usable, unusable = sort_categories(entries)
    if unusable:
        done["categories without a usable id and a name left out"] += len(unusable)
    kept: dict[Any, Entry] = {}
    for entry in usable:
        if entry["id"] in kept:
            done["categories left out, of an id that comes again"] += 1
        kept[entry["id"]] = entry
    return list(kept.values())


def _images(examined: Examined, done: Counter[str]) -> list[Entry]:
    subset = examined.subset
    looked_at = {id(image): picture for image, picture in examined.pictures}
    by_id: dict[Any, list[Entry]] = {}
    for entry in subset.content["images"]:
        named = isinstance(entry, dict) and isinstance(entry.get("file_name"), str)
        if named and is_id(entry.get("id")):
            by_id.setdefault(entry["id"], []).append(entry)
        else:
            done["images without id or file name left out"] += 1
    images = []
    for entries in by_id.values():
        if len({entry["file_name"] for entry in entries}) > 1:
            done["images left out, of an id that stands for several files"] += len(entries)
            continue
        if len(entries) > 1:
            done["images left out that are listed again"] += len(entries) - 1
        entry = entries[0]
        picture = looked_at.get(id(entry))
        if picture is None:  # its size is malformed, or its file is not there
            picture = _look_again(subset, entry)
        if picture is None or not picture.readable:
            done["images left out whose file is missing or cannot be read"] += 1
            continue
        if (entry.get("height"), entry.get("width")) != picture.size:
            if not _fits(subset, entry, picture):
                done["images left out whose annotations may be of another size"] += 1
                continue
            height, width = picture.size
            entry = {**entry, "height": height, "width": width}
            done["sizes of images taken from the file"] += 1
        images.append(entry)
    return images


def _look_again(subset: Subset, entry: Entry) -> image_files.Picture | None:
    if is_side(entry.get("height")) and is_side(entry.get("width")):
        return None
    path = os.path.normpath(entry["file_name"])
    if os.path.isabs(path) or path.split(os.sep)[0] == os.pardir:
        return None
    return image_files.look_at(subset, {**entry, "height": 1, "width": 1})


def _fits(subset: Subset, entry: Entry, picture: image_files.Picture) -> bool:
    """Whether the annotations of an image are of the size of its file, as far as one can tell."""
    if any(finding.kind == image_files.SIZE_ROTATED.name for finding in picture.findings):
        return False
    height, width = picture.size
    sides = entry.get("height"), entry.get("width")
    # Of a scaled picture the polygons fit, and lie in the wrong place.
    scaled = all(map(is_side, sides)) and abs(sides[0] * width - sides[1] * height) <= max(
        *sides, *picture.size
    )
    for annotation in subset.content["annotations"]:
        if not isinstance(annotation, dict) or annotation.get("image_id") != entry["id"]:
            continue
        segmentation = annotation.get("segmentation")
        if isinstance(segmentation, dict) and segmentation.get("size") != [height, width]:
            return False
        if isinstance(segmentation, list):
            if scaled:
                return False
            for part in segmentation:
                if not isinstance(part, list) or not all(map(segmentations.is_coordinate, part)):
                    continue  # it will be left out
                corners = np.array(part[: len(part) // 2 * 2], np.float64).reshape(-1, 2)
                if len(corners) and segmentations.position(corners, picture.size) is not None:
                    return False
    return True


def _annotations(
    subset: Subset,
    images: dict[Any, Entry],
    categories: set[Any],
    box_only: bool,
    done: Counter[str],
) -> list[Entry]:
    kept: list[Entry] = []
    seen: set[Any] = set()
    for entry in subset.content["annotations"]:
        if not isinstance(entry, dict) or not is_id(entry.get("image_id")):
            done["annotations without an image left out"] += 1
        elif entry["image_id"] not in images:
            done["annotations left out of images that are unknown or left out"] += 1
        elif not is_id(entry.get("category_id")) or entry["category_id"] not in categories:
            done["annotations of no known category left out"] += 1
        elif (key := same_object(entry)) is not None and key in seen:
            done["annotations left out that say the same as another"] += 1
        else:
            seen.add(key)
            image = images[entry["image_id"]]
            mended = _annotation(entry, (image["height"], image["width"]), box_only, done)
            if mended is not None:
                kept.append(mended)
    return _number(kept, done)


def _annotation(
    entry: Entry, size: tuple[int, int], box_only: bool, done: Counter[str]
) -> Entry | None:
    flag = entry.get("iscrowd", 0)
    if isinstance(flag, bool) or flag not in (0, 1):
        entry = {**entry, "iscrowd": int(bool(flag) and flag != "0")}
        done["crowd flags written as 0 or 1"] += 1
    entry = _polygons(entry, size, done)
    if entry is None:
        return None
    faults, rle = segmentations.judge(entry, size, box_only)
    kinds = [kind for kind, _ in faults]
    fatal = next(
        (kind for kind in kinds if kind.severity == ERROR or kind is segmentations.EMPTY), None
    )
    if fatal is not None:
        done[f"annotations left out: {fatal.name}"] += 1
        return None
    if any(kind in BOX_FAULTS for kind in kinds):
        entry = {**entry, "bbox": mask_api.toBbox(rle).tolist()}
        done["boxes computed from the mask"] += 1
    if segmentations.AREA_DISAGREES in kinds:
        entry = {**entry, "area": int(mask_api.area(rle))}
        done["areas computed from the mask"] += 1
    return entry


def _polygons(entry: Entry, size: tuple[int, int], done: Counter[str]) -> Entry | None:
    """The annotation with its polygons clipped, and without those of no area."""
    parts = entry.get("segmentation")
    if not parts or not isinstance(parts, list) or not all(isinstance(p, list) for p in parts):
        return entry
    kept, changed = [], False
    for part in parts:
        if len(part) < 2 * POLYGON_MIN_POINTS or len(part) % 2:
            done["polygons of too few numbers, or of an odd number, left out"] += 1
            changed = True
            continue
        if not all(map(segmentations.is_coordinate, part)):
            return entry  # `shapes.judge` names the fault
        corners = np.array(part, np.float64).reshape(-1, 2)
        kind = segmentations.position(corners, size)
        if kind is segmentations.COORDINATES:
            return entry
        if kind is segmentations.OUTSIDE:
            corners = polygons.clip(corners, size[1], size[0])
            done["polygons clipped to the image"] += 1
            changed = True
        if len(corners) < POLYGON_MIN_POINTS or not polygons.has_area(corners):
            done["polygons without an area left out"] += 1
            changed = True
            continue
        kept.append(part if kind is None else corners.ravel().round(2).tolist())
    if not changed:
        return entry
    if not kept:
        done["annotations left out that had no other polygon"] += 1
        return None
    return {**entry, "segmentation": kept}


def _number(annotations: list[Entry], done: Counter[str]) -> list[Entry]:
    """Give ids to those without one, and new ones to those whose id was there before."""
    taken = {entry["id"] for entry in annotations if is_id(entry.get("id"))}
    highest = max((id for id in taken if isinstance(id, int)), default=0)
    free = (id for id in count(highest + 1) if id not in taken)
    used: set[Any] = set()
    numbered = []
    for entry in annotations:
        if not is_id(entry.get("id")) or entry["id"] in used:
            entry = {**entry, "id": next(free)}
            done["annotations given a new id"] += 1
        used.add(entry["id"])
        numbered.append(entry)
    return numbered
