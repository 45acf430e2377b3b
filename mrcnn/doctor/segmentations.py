"""Segmentations of an image's annotations: polygons, run lengths, or a box only.

The json's order: x before y; a box is [x, y, width, height]; sizes are [height, width].
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from mrcnn.data.coco_fields import Entry, shorten
from mrcnn.data.rle import Rle
from mrcnn.datasets.segmentation import (
    POLYGON_MARGIN,
    POLYGON_MIN_POINTS,
    annotation_to_image_rle,
    box_rle,
    check_box,
    check_structure,
    unpack_run_lengths,
)
from mrcnn.doctor import polygons
from mrcnn.doctor.boxes import check_agreement
from mrcnn.doctor.findings import (
    ERROR,
    Fault,
    Finding,
    Kind,
    fault,
    note,
    report,
    stops_at_start,
    stops_at_step,
    warning,
)
from mrcnn.doctor.subset import Subset, is_finite, is_refused

_LEAVE_OUT = "leaves the annotation out; with `--box-only`, keeps it as a box if it has one"

MISSING = stops_at_start(
    *("segmentation-missing", "annotation", "segmentation", "polygons or run lengths", "none"),
    "with `--box-only` it continues, and trains boxes and classes",
    fix=_LEAVE_OUT,
)
BOX_ONLY = note(
    *("box-only", "annotation", "segmentation", "polygons or run lengths", "a box only"),
    "trains boxes and classes on it, no mask",
)
BOX_ONLY_BAD = stops_at_start(
    *("box-only-malformed", "annotation", "bbox"),
    "[x, y, width, height] with a width and height above 0, because there is no segmentation",
    "{box}",
    fix="leaves the annotation out",
)
MALFORMED = stops_at_start(
    *("segmentation-malformed", "annotation", "segmentation", "polygons or run lengths"),
    "{received}",
    fix=_LEAVE_OUT,
)
POINTS = stops_at_start(
    *("polygon-points", "annotation", "segmentation"),
    f"at least {POLYGON_MIN_POINTS} points a polygon, an x and a y each",
    "a polygon of {count} numbers",
    fix="leaves the polygon out, and the annotation when it has no other",
)
COORDINATES = stops_at_step(
    *("polygon-coordinates", "annotation", "segmentation"),
    "finite coordinates, at most an image's side away from the image of {size}",
    "{value}",
    fix=_LEAVE_OUT,
)
OUTSIDE = warning(
    *("polygon-outside", "annotation", "segmentation"),
    "points inside the image of {size}",
    "points up to {distance:.1f} pixels outside",
    "cuts the mask off at the border",
    fix="clips the polygon",
)
CROSSING = warning(
    *("polygon-crossing", "annotation", "segmentation", "edges that do not cross"),
    "a crossing near x {x:.1f}, y {y:.1f}",
    "fills by the even-odd rule: where the polygon covers a place twice, there is a hole",
)
NO_AREA = warning(
    *("polygon-no-area", "annotation", "segmentation", "polygons with an area"),
    "corners that all lie on one line",
    "sees no pixel of it, or a thin line",
    fix="leaves the polygon out, and the annotation when it has no other",
)
RLE_SIZE = stops_at_step(
    *("rle-size", "annotation", "segmentation", "the size {expected_size}", "{size}"),
    fix=_LEAVE_OUT,
)
CROWD_RLE_SIZE = warning(
    *("crowd-rle-size", "annotation", "segmentation", "the size {expected_size}", "{size}"),
    "lets the crowd cover the whole image: none of it is background",
)
RLE_COUNTS = stops_at_step(
    *("rle-counts", "annotation", "segmentation"),
    "run lengths of 0 or more that sum up to {pixels} pixels",
    "{counts}",
    fix=_LEAVE_OUT,
)
REFUSED = stops_at_step(
    *("segmentation-refused", "annotation", "segmentation", "what the reader accepts", "{problem}"),
    fix=_LEAVE_OUT,
)
EMPTY = warning(
    *("mask-empty", "annotation", "segmentation", "a mask of at least one pixel", "none"),
    "leaves it out, and counts it, as every evaluation does",
    fix="leaves the annotation out",
)
KINDS: tuple[Kind, ...] = (
    *(MISSING, BOX_ONLY, BOX_ONLY_BAD, MALFORMED, POINTS, COORDINATES, OUTSIDE, CROSSING, NO_AREA),
    *(RLE_SIZE, CROWD_RLE_SIZE, RLE_COUNTS, REFUSED, EMPTY),
)

# Annotators' points are off by so much, in pixels.
POINT_TOLERANCE = 1.0


@dataclass
class CheckedSegmentations:
    """The annotations of an image as training sees them. Shape letter: N visible annotations.

    Attributes:
        findings: of the annotations.
        usable: those that training can use, as far as was checked.
        visible: indices of those that have a pixel in the image.
        boxes: float [N, 4] x, y, width, height of their masks; empty when not rasterized.
        rles: their masks, compressed.
    """

    findings: list[Finding] = field(default_factory=list)
    usable: list[Entry] = field(default_factory=list)
    visible: list[int] = field(default_factory=list)
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))
    rles: list[Rle] = field(default_factory=list)


def check_annotations(
    subset: Subset, image: Entry, box_only: bool = False, masks: bool = True
) -> CheckedSegmentations:
    """Check the segmentations of an image's annotations.

    Args:
        subset, image: an entry of `subset.images`.
        box_only: as `mrcnn train --box-only`: a box without segmentation is accepted.
        masks: rasterize them, and compare; False: the numbers only.
    """
    checked = CheckedSegmentations()
    size = image["height"], image["width"]
    for index, annotation in enumerate(subset.annotations.get(image["id"], ())):
        faults, rle = check_annotation(annotation, size, box_only, masks)
        id = annotation.get("id")
        for kind, values in faults:
            checked.findings.append(report(kind, subset.name, subset.file, id, **values))
        kinds = [kind for kind, _ in faults]
        if not any(kind.severity == ERROR or kind is EMPTY for kind in kinds):
            checked.usable.append(annotation)
        if rle is not None:
            checked.visible.append(index)
            checked.rles.append(rle)
    if checked.rles:
        checked.boxes = mask_api.toBbox(checked.rles)
    return checked


def check_annotation(
    annotation: Entry, size: tuple[int, int], box_only: bool = False, masks: bool = True
) -> tuple[list[Fault], Rle | None]:
    """Check the segmentation of one annotation.

    Args:
        annotation: an entry of the json in COCO's own form.
        size: (height, width) of its image.
        box_only, masks: as in `check_annotations`.

    Returns:
        The faults; and the mask, compressed, if training sees a pixel of it and `masks` is on.
    """
    faults = list(_check_numbers(annotation, size, box_only, crossings=masks))
    if not masks or any(kind.severity == ERROR for kind, _ in faults):
        return faults, None
    try:
        rle = _rasterize(annotation, size)
    except ValueError as error:  # what training refuses for a reason that is not checked here
        problem = str(error).removeprefix("annotations: ").rstrip(".")
        return [*faults, fault(REFUSED, problem=problem)], None
    if mask_api.area(rle) < 1:
        return [*faults, fault(EMPTY)], None
    segmentation = annotation.get("segmentation")
    # A crowd of another size covers the image; its box and area tell nothing of that.
    if isinstance(segmentation, list) or (segmentation and segmentation["size"] == list(size)):
        faults += check_agreement(annotation, rle)
    return faults, rle


def _check_numbers(
    annotation: Entry, size: tuple[int, int], box_only: bool, crossings: bool
) -> Iterator[Fault]:
    """What can be told without rasterizing; without an error, training can use the annotation."""
    segmentation = annotation.get("segmentation")
    if not segmentation:
        yield _check_box_only(annotation, box_only)
    elif isinstance(segmentation, list) and all(isinstance(part, list) for part in segmentation):
        yield from _check_polygons(segmentation, size, crossings)
    elif is_refused(lambda: check_structure(annotation)):
        yield fault(MALFORMED, received=shorten(segmentation))
    else:
        yield from _check_rle(annotation, size)


def _check_box_only(annotation: Entry, box_only: bool) -> Fault:
    if not box_only:
        return fault(MISSING)
    if is_refused(lambda: check_box({"bbox": None, **annotation})):
        return fault(BOX_ONLY_BAD, box=shorten(annotation.get("bbox")))
    return fault(BOX_ONLY)


def _check_polygons(
    parts: list[list[Any]], size: tuple[int, int], crossings: bool
) -> Iterator[Fault]:
    bad = [part for part in parts if len(part) < 2 * POLYGON_MIN_POINTS or len(part) % 2]
    if bad:
        yield fault(POINTS, count=len(bad[0]))
        return
    values = [value for part in parts for value in part]
    # Most are floats alone, which are checked without a step of the interpreter for each.
    are_floats = set(map(type, values)) == {float} and all(map(math.isfinite, values))
    wrong = [] if are_floats else [value for value in values if not is_finite(value)]
    if wrong:
        yield fault(COORDINATES, size=_format_size(size), value=shorten(wrong[0]))
        return
    corners = np.array(values, np.float64).reshape(-1, 2)
    distance = _distance_outside(corners, size)
    kind = _position_fault(distance, size)
    if kind is COORDINATES:
        value = f"a point {distance:g} pixels outside"
        yield fault(COORDINATES, size=_format_size(size), value=value)
        return
    if kind is OUTSIDE:
        yield fault(OUTSIDE, size=_format_size(size), distance=distance)
    ends = np.cumsum([len(part) // 2 for part in parts[:-1]], dtype=int)
    outlines = [corners] if len(parts) == 1 else np.split(corners, ends)
    if not all(map(polygons.has_area, outlines)):
        yield fault(NO_AREA)
    if crossings:
        point = next(filter(None, map(polygons.crossing, outlines)), None)
        if point:
            yield fault(CROSSING, x=point[0], y=point[1])


def position_fault(corners: np.ndarray, size: tuple[int, int]) -> Kind | None:
    """None where corners [P, 2] lie in the image, else which fault it is that they do not."""
    return _position_fault(_distance_outside(corners, size), size)


def _position_fault(distance: float, size: tuple[int, int]) -> Kind | None:
    if distance > POLYGON_MARGIN * max(size):
        return COORDINATES
    return OUTSIDE if distance > POINT_TOLERANCE else None


def _distance_outside(corners: np.ndarray, size: tuple[int, int]) -> float:
    """How far the farthest corner lies outside the image; below 0 when none does."""
    left, top = corners.min(axis=0).tolist()
    right, bottom = corners.max(axis=0).tolist()
    return max(-left, -top, right - size[1], bottom - size[0])


def _check_rle(annotation: Entry, size: tuple[int, int]) -> Iterator[Fault]:
    own, counts = annotation["segmentation"]["size"], annotation["segmentation"]["counts"]
    if own != list(size):
        kind = CROWD_RLE_SIZE if annotation.get("iscrowd") else RLE_SIZE
        yield fault(kind, expected_size=list(size), size=own)
        return
    pixels = size[0] * size[1]
    problem = run_lengths_problem(counts, pixels)
    if problem:
        yield fault(RLE_COUNTS, pixels=pixels, counts=problem)


def run_lengths_problem(counts: Any, pixels: int) -> str | None:
    """What is wrong with run lengths that must sum up to a number of pixels, or None."""
    if isinstance(counts, list):
        if not all(type(run) is int for run in counts):
            return f"numbers that are not whole: {shorten(counts)}"
        runs = np.array(counts, object)
    else:
        try:
            runs = unpack_run_lengths(counts.encode() if isinstance(counts, str) else counts)
        except ValueError:
            return f"a broken text, {shorten(counts[-60:])}"
    total, shortest = int(runs.sum()), int(runs.min(initial=0))
    if shortest < 0:
        return f"a run of {shortest}"
    return None if total == pixels else f"the sum {total}"


def _rasterize(annotation: Entry, size: tuple[int, int]) -> Rle:
    """The mask as training makes it."""
    if not annotation.get("segmentation"):
        return box_rle(annotation["bbox"], *size)
    return annotation_to_image_rle(annotation, *size)


def _format_size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
