"""Entries of annotations mended: polygons clipped, boxes and areas computed, ids made unique."""

from __future__ import annotations

from collections import Counter
from itertools import count
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from mrcnn.datasets.segmentation import POLYGON_MIN_POINTS
from mrcnn.doctor import polygons, segmentations
from mrcnn.doctor.boxes import AREA_DISAGREES, BOX_KINDS
from mrcnn.doctor.findings import ERROR
from mrcnn.doctor.segmentations import check_annotation, position_fault
from mrcnn.doctor.subset import Entry, Subset, is_finite, is_id, same_object_key


def mend_annotations(
    subset: Subset, images: list[Entry], box_only: bool, done: Counter[str]
) -> list[Entry]:
    """The entries of annotations that training can use.

    Args:
        subset: readable.
        images: the mended entries.
        box_only: as `mrcnn train --box-only`.
        done: what is done is counted here.
    """
    sizes = {image["id"]: (image["height"], image["width"]) for image in images}
    kept: list[Entry] = []
    seen: set[int | None] = set()
    for entry in subset.content["annotations"]:
        if not isinstance(entry, dict) or not is_id(entry.get("image_id")):
            done["annotations without an image left out"] += 1
        elif entry["image_id"] not in sizes:
            done["annotations left out of images that are unknown or left out"] += 1
        elif not is_id(entry.get("category_id")) or entry["category_id"] not in subset.categories:
            done["annotations of no known category left out"] += 1
        elif (key := same_object_key(entry)) is not None and key in seen:
            done["annotations left out that say the same as another"] += 1
        else:
            seen.add(key)
            mended = _mend(entry, sizes[entry["image_id"]], box_only, done)
            if mended is not None:
                kept.append(mended)
    return _make_ids_unique(kept, done)


def _mend(entry: Entry, size: tuple[int, int], box_only: bool, done: Counter[str]) -> Entry | None:
    """A mended annotation; None: it is left out."""
    with_polygons = _mend_polygons(_mend_crowd_flag(entry, done), size, done)
    if with_polygons is None:
        return None
    faults, rle = check_annotation(with_polygons, size, box_only)
    kinds = [kind for kind, _ in faults]
    left_out = [kind for kind in kinds if kind.severity == ERROR or kind is segmentations.EMPTY]
    if left_out:
        done[f"annotations left out: {left_out[0].name}"] += 1
        return None
    entry = with_polygons
    if any(kind in BOX_KINDS for kind in kinds):
        entry = {**entry, "bbox": mask_api.toBbox(rle).tolist()}
        done["boxes computed from the mask"] += 1
    if AREA_DISAGREES in kinds:
        entry = {**entry, "area": int(mask_api.area(rle))}
        done["areas computed from the mask"] += 1
    return entry


def _mend_crowd_flag(entry: Entry, done: Counter[str]) -> Entry:
    flag = entry.get("iscrowd", 0)
    if not isinstance(flag, bool) and flag in (0, 1):
        return entry
    done["crowd flags written as 0 or 1"] += 1
    return {**entry, "iscrowd": int(bool(flag) and flag != "0")}


def _mend_polygons(entry: Entry, size: tuple[int, int], done: Counter[str]) -> Entry | None:
    """The annotation with its polygons clipped, and without those of no area."""
    parts = entry.get("segmentation")
    if not parts or not isinstance(parts, list) or not all(isinstance(p, list) for p in parts):
        return entry
    kept: list[list[Any]] = []
    changed = False
    for part in parts:
        if len(part) < 2 * POLYGON_MIN_POINTS or len(part) % 2:
            done["polygons of too few numbers, or of an odd number, left out"] += 1
            changed = True
            continue
        if not all(map(is_finite, part)):
            return entry  # `check_annotation` names the fault
        corners = np.array(part, np.float64).reshape(-1, 2)
        kind = position_fault(corners, size)
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


def _make_ids_unique(annotations: list[Entry], done: Counter[str]) -> list[Entry]:
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
