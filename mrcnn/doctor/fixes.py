"""What is safe to mend, mended in a copy: new json files beside links to the images.

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

from mrcnn.doctor.examine import Examination, ExaminedSubset
from mrcnn.doctor.fix_annotations import mend_annotations
from mrcnn.doctor.fix_images import mend_images
from mrcnn.doctor.subset import Entry, Subset, split_categories


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
        name = examined.subset.name
        mended[name], done[name] = mend(examined, box_only)
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    for examined in examination.subsets:
        _write(folder, examined.subset, mended[examined.subset.name])
    return done


def mend(examined: ExaminedSubset, box_only: bool = False) -> tuple[dict[str, Any], Counter[str]]:
    """The mended content of a subset's json, and what was done to it, counted.

    Raises:
        ValueError: the subset cannot be read, or no image can be kept.
    """
    subset = examined.subset
    if not subset.is_readable or not subset.folder.is_dir():
        raise ValueError(
            f"{subset.file}: expected a readable json and the image folder {subset.folder}; "
            f"one is missing, so that there is nothing to mend it from."
        )
    done: Counter[str] = Counter()
    categories = _mend_categories(subset.content["categories"], done)
    images = mend_images(subset, examined.image_files, done)
    if not images:
        raise ValueError(
            f"{subset.file}: expected an image that can be kept; all would be left out, so that "
            f"there is nothing to mend."
        )
    annotations = mend_annotations(subset, images, box_only, done)
    lists = {"images": images, "annotations": annotations, "categories": categories}
    return {**subset.content, **lists}, done


def describe(done: dict[str, Counter[str]]) -> str:
    """A line for each thing that was done."""
    lines = [
        f"{number:6}  {name}: {what}"
        for name, of_subset in done.items()
        for what, number in of_subset.most_common()
    ]
    return "\n".join(lines) or "nothing to mend"


def _write(folder: Path, subset: Subset, content: dict[str, Any]) -> None:
    file = folder / "annotations" / subset.file.name
    file.write_text(json.dumps(content), encoding="utf-8")
    link = folder / subset.folder.name
    if not link.is_symlink():  # two subsets may share their images
        link.symlink_to(subset.folder.resolve(), target_is_directory=True)


def _mend_categories(entries: list[Any], done: Counter[str]) -> list[Entry]:
    usable, unusable = split_categories(entries)
    if unusable:
        done["categories without a usable id and a name left out"] += len(unusable)
    kept: dict[Any, Entry] = {}
    for entry in usable:
        if entry["id"] in kept:
            done["categories left out, of an id that comes again"] += 1
        kept[entry["id"]] = entry
    return list(kept.values())
