"""Entries of annotations repaired: polygons clipped, boxes and areas computed, ids made unique."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from mrcnn.data import coco_fields
from mrcnn.data.coco_fields import POLYGON_MIN_POINTS, Entry, Reading
from mrcnn.data.rle import Rle
from mrcnn.doctor import polygons, segmentations
from mrcnn.doctor.boxes import AREA_DISAGREES, BOX_KINDS
from mrcnn.doctor.findings import ERROR, Kind
from mrcnn.doctor.segmentations import check_annotation, position_fault
from mrcnn.doctor.subset import Subset, is_finite, same_object_key

_PLURALS = {"bbox": "boxes", "area": "areas"}


@dataclass(frozen=True)
class Options:
    """How annotations are repaired.

    Attributes:
        box_only: as `mrcnn train --box-only`: annotations with a box and no mask are kept.
        crowds_as_objects: make ordinary objects of crowds.
    """

    box_only: bool = False
    crowds_as_objects: bool = False


def repair_annotations(
    subset: Subset, images: list[Entry], options: Options, done: Counter[str]
) -> list[Entry]:
    """The entries of annotations that training can use.

    Args:
        subset: readable.
        images: the repaired entries.
        options: of repairing.
        done: what is done is counted here.
    """
    sizes = {image["id"]: (image["height"], image["width"]) for image in images}
    kept: list[Entry] = []
    seen: set[int | None] = set()
    for raw in subset.content["annotations"]:
        reading = coco_fields.read_annotation(raw)
        entry = reading.entry
        if reading.problem("", "image_id"):
            done["annotations without an image left out"] += 1
        elif entry["image_id"] not in sizes:
            done["annotations left out of images that are unknown or left out"] += 1
        elif reading.problem("category_id") or entry["category_id"] not in subset.categories:
            done["annotations of no known category left out"] += 1
        elif (key := same_object_key(entry)) is not None and key in seen:
            done["annotations left out that say the same as another"] += 1
        else:
            seen.add(key)
            repaired = _repair(reading, raw, sizes[entry["image_id"]], options, done)
            if repaired is not None:
                kept.append(repaired)
    return _make_ids_unique(kept, done)


def _repair(
    reading: Reading, raw: Entry, size: tuple[int, int], options: Options, done: Counter[str]
) -> Entry | None:
    """A repaired annotation; None: it is left out."""
    if reading.problem("iscrowd"):
        done["annotations left out: crowd-flag"] += 1
        return None
    for field, form in reading.forms:
        done[f"annotations, field {field!r}: {form}, written as COCO does"] += 1
    entry = reading.entry
    if entry.get("iscrowd") and options.crowds_as_objects:
        entry = {**entry, "iscrowd": 0}
        done["crowds made objects"] += 1
    fault = segmentations.MALFORMED if reading.problem("segmentation") else None
    rle = None
    if fault is None:
        entry, fault, rle = _repair_mask(entry, size, options.box_only, done)
    if fault is not None:
        return _keep_box(entry, fault, size, options.box_only, done)
    for field, computed in (("bbox", _box_of), ("area", _area_of)):
        if rle is not None and field in raw and field not in entry:  # null, or not one
            entry = {**entry, field: computed(rle)}
            done[f"{_PLURALS[field]} computed from the mask"] += 1
    return entry


def _repair_mask(
    entry: Entry, size: tuple[int, int], box_only: bool, done: Counter[str]
) -> tuple[Entry, Kind | None, Rle | None]:
    """The annotation with a repaired mask, box and area; why it cannot be used; and its mask."""
    with_polygons = _repair_polygons(entry, size, done)
    if with_polygons is None:
        faults, _ = check_annotation(entry, size, box_only, masks=False)
        errors = [kind for kind, _ in faults if kind.severity == ERROR]
        return entry, errors[0] if errors else segmentations.EMPTY, None
    entry = with_polygons
    faults, rle = check_annotation(entry, size, box_only)
    kinds = [kind for kind, _ in faults]
    for kind in kinds:
        if kind.severity == ERROR or kind is segmentations.EMPTY:
            return entry, kind, None
    if rle is None:  # nothing is amiss, and nothing was rasterized
        return entry, None, None
    if any(kind in BOX_KINDS for kind in kinds):
        entry = {**entry, "bbox": _box_of(rle)}
        done["boxes computed from the mask"] += 1
    if AREA_DISAGREES in kinds:
        entry = {**entry, "area": _area_of(rle)}
        done["areas computed from the mask"] += 1
    return entry, None, rle


def _keep_box(
    entry: Entry, fault: Kind, size: tuple[int, int], box_only: bool, done: Counter[str]
) -> Entry | None:
    """An annotation whose mask cannot be used as a box alone; None: it is left out.

    A mask without a pixel can be used: training leaves the object out.
    """
    alone = {field: value for field, value in entry.items() if field != "segmentation"}
    faults, rle = check_annotation(alone, size, box_only)
    is_box = rle is not None and not any(kind.severity == ERROR for kind, _ in faults)
    if box_only and is_box and fault.severity == ERROR:
        done[f"masks left out, and the boxes kept: {fault.name}"] += 1
        return alone
    done[f"annotations left out: {fault.name}"] += 1
    return None


def _box_of(rle: Rle) -> list[float]:
    return mask_api.toBbox(rle).tolist()


def _area_of(rle: Rle) -> int:
    return int(mask_api.area(rle))


def _repair_polygons(entry: Entry, size: tuple[int, int], done: Counter[str]) -> Entry | None:
    """The annotation with its polygons clipped and without those of no area; None: none is left."""
    parts = entry.get("segmentation")
    if not isinstance(parts, list):
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
        return None
    return {**entry, "segmentation": kept}


def _make_ids_unique(annotations: list[Entry], done: Counter[str]) -> list[Entry]:
    """Give ids to those without one, and new ones to those whose id was there before."""
    taken = {entry["id"] for entry in annotations if "id" in entry}
    highest = max((id for id in taken if isinstance(id, int)), default=0)
    free = (id for id in count(highest + 1) if id not in taken)
    used: set[Any] = set()
    numbered = []
    for entry in annotations:
        if entry.get("id") is None or entry["id"] in used:
            entry = {**entry, "id": next(free)}
            done["annotations given a new id"] += 1
        used.add(entry["id"])
        numbered.append(entry)
    return numbered
