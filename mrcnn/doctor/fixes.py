"""What is safe to repair, repaired in a copy: new json files beside links to the images.

Nothing is invented. What can be computed from the masks or read from the image files is
corrected; what would stop training, or trains nothing, is left out; both are counted. What may
be meant as it is (a polygon that crosses itself, a picture in both subsets) is left alone.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from mrcnn.data import coco_fields
from mrcnn.data.coco_fields import Entry
from mrcnn.doctor.examine import Examination, ExaminedSubset
from mrcnn.doctor.fix_annotations import Options, repair_annotations
from mrcnn.doctor.fix_images import repair_images
from mrcnn.doctor.subset import Subset


def fix(
    examination: Examination,
    out: str | os.PathLike[str],
    box_only: bool = False,
    crowds_as_objects: bool = False,
) -> dict[str, Counter[str]]:
    """Write a repaired copy of a data set, with its images as links; elsewhere they stay there.

    Args:
        examination: of the data set, not a quick one.
        out: a new or empty folder.
        box_only: as `mrcnn train --box-only`.
        crowds_as_objects: make ordinary objects of crowds, for tools that mark objects as crowds.

    Returns:
        What was done, and how often, by the name of the subset.

    Raises:
        ValueError: `out` is in use, or a subset cannot be repaired, or would have no object left.
    """
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(
            f"{folder}: expected a new or an empty folder for the repaired data set; it is in use. "
            f"Name another one."
        )
    repaired, done = {}, {}
    for examined in examination.subsets:
        name = examined.subset.name
        repaired[name], done[name] = repair(examined, box_only, crowds_as_objects)
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    for examined in examination.subsets:
        _write(folder, examined.subset, repaired[examined.subset.name])
    return done


def repair(
    examined: ExaminedSubset, box_only: bool = False, crowds_as_objects: bool = False
) -> tuple[dict[str, Any], Counter[str]]:
    """The repaired content of a subset's json, and what was done to it, counted.

    Args:
        examined: the subset.
        box_only, crowds_as_objects: as in `fix`.

    Raises:
        ValueError: the subset cannot be read, or no image or none of its objects can be kept.
    """
    subset = examined.subset
    if not subset.is_readable or not _has_store(subset):
        raise ValueError(
            f"{subset.file}: expected a readable json and the image folder {subset.folder}; "
            f"one is missing, so that there is nothing to repair it from."
        )
    done: Counter[str] = Counter()
    categories = _repair_categories(subset.content["categories"], done)
    images = repair_images(subset, examined.image_files, done)
    if not images:
        raise ValueError(
            f"{subset.file}: expected an image that can be kept; all would be left out, so that "
            f"there is nothing to repair."
        )
    options = Options(box_only, crowds_as_objects)
    annotations = repair_annotations(subset, images, options, done)
    _check_objects(subset, annotations, done)
    lists = {"images": images, "annotations": annotations, "categories": categories}
    return {**subset.content, **lists}, done


def _check_objects(subset: Subset, repaired: list[Entry], done: Counter[str]) -> None:
    """Refuse a copy in which nothing is left to learn from, where there was something."""
    entries = subset.content["annotations"]
    if not entries or not all(entry.get("iscrowd") for entry in repaired):
        return
    ways = ["correct the json, or the program that wrote it"]
    if any(isinstance(entry, dict) and entry.get("bbox") for entry in entries):
        ways.append("--box-only keeps boxes without masks")
    if repaired:
        ways.append("--crowds-as-objects makes objects of crowds")
    what = ", ".join(f"{count} {text}" for text, count in done.most_common())
    raise ValueError(
        f"{subset.file}: expected an ordinary object that can be kept; of {len(entries)} "
        f"annotations, {len(repaired)} crowds and no object would be left "
        f"({what or 'as they are'}). "
        f"No copy was written. Ways on: {'; '.join(ways)}."
    )


def describe(done: dict[str, Counter[str]]) -> str:
    """A line for each thing that was done."""
    lines = [
        f"{number:6}  {name}: {what}"
        for name, of_subset in done.items()
        for what, number in of_subset.most_common()
    ]
    return "\n".join(lines) or "nothing to repair"


def _has_store(subset: Subset) -> bool:
    try:
        return bool(subset.store)
    except FileNotFoundError:
        return False


def _write(folder: Path, subset: Subset, content: dict[str, Any]) -> None:
    """Write a subset in COCO's layout, whatever its own was."""
    file = folder / "annotations" / f"instances_{subset.name}.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    if isinstance(subset.folder, str):
        return  # no link leads to an address
    link = folder / (subset.folder.name if subset.is_standard else subset.name)
    if not link.is_symlink():  # two subsets may share their images
        link.symlink_to(subset.folder.resolve(), target_is_directory=True)


def _repair_categories(entries: list[Any], done: Counter[str]) -> list[Entry]:
    kept: dict[Any, Entry] = {}
    for raw in entries:
        reading = coco_fields.read_category(raw)
        if reading.problems:
            done["categories without a usable id and a name left out"] += 1
            continue
        for field, form in reading.forms:
            done[f"categories, field {field!r}: {form}, written as COCO does"] += 1
        entry = reading.entry
        if entry["id"] in kept:
            done["categories left out, of an id that comes again"] += 1
        kept[entry["id"]] = entry
    return list(kept.values())
