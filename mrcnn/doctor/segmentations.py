"""Segmentations and boxes of an image's annotations, and how they agree.

The json's order: x before y; a box is [x, y, width, height]; sizes are [height, width].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

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
from mrcnn.doctor.annotations import Subset, shorten
from mrcnn.doctor.findings import (
    Finding,
    Kind,
    note,
    report,
    stops_at_start,
    stops_at_step,
    warning,
)

_LEAVE_OUT = "leaves the annotation out"

MISSING = stops_at_start(
    *("segmentation-missing", "annotation", "segmentation", "polygons or run lengths", "none"),
    "with `--box-only` it goes on, and trains boxes and classes",
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
    fix=_LEAVE_OUT,
)
MALFORMED = stops_at_start(
    *("segmentation-malformed", "annotation", "segmentation", "polygons or run lengths"),
    "{segmentation}",
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
    *("segmentation-refused", "annotation", "segmentation", "what the reader takes", "{problem}"),
    fix=_LEAVE_OUT,
)
EMPTY = warning(
    *("mask-empty", "annotation", "segmentation", "a mask of at least one pixel", "none"),
    "leaves it out, and counts it",
    fix=_LEAVE_OUT,
)
BOX_MALFORMED = warning(
    *("box-malformed", "annotation", "bbox"),
    "[x, y, width, height] with a width and height above 0",
    "{box}",
    "takes the mask's box; `mrcnn evaluate` compares boxes with what is written",
    fix="writes the mask's box",
)
BOX_CORNERS = warning(
    *("box-corners", "annotation", "bbox", "[x, y, width, height], {mask_box}"),
    "{box}, which are two corners of the mask",
    "takes the mask's box; `mrcnn evaluate` compares boxes with what is written",
    fix="writes the mask's box",
)
BOX_DISAGREES = warning(
    *("box-disagrees", "annotation", "bbox", "the mask's box, {mask_box}", "{box}"),
    "takes the mask's box; `mrcnn evaluate` compares boxes with what is written",
    fix="writes the mask's box",
)
AREA_DISAGREES = note(
    *("area-disagrees", "annotation", "area", "the mask's {mask_area} pixels", "{area}"),
    "does not read it; `mrcnn evaluate` sorts objects into small, medium and large by it",
    fix="writes the mask's area",
)

KINDS: tuple[Kind, ...] = (
    *(MISSING, BOX_ONLY, BOX_ONLY_BAD, MALFORMED, POINTS, COORDINATES, OUTSIDE, CROSSING, NO_AREA),
    *(RLE_SIZE, CROWD_RLE_SIZE, RLE_COUNTS, REFUSED, EMPTY),
    *(BOX_MALFORMED, BOX_CORNERS, BOX_DISAGREES, AREA_DISAGREES),
)

# Annotators' points, and boxes of whole pixels, stray by so much, in pixels.
POINT_TOLERANCE = 1.0
BOX_TOLERANCE = 2.0
# The area of a polygon and of its pixels differ by about the border, some pixels wide.
AREA_TOLERANCE = 0.1


@dataclass
class Shapes:
    """The annotations of an image as training sees them.

    Attributes:
        findings: of the annotations.
        visible: indices of those that have a pixel in the image.
        boxes: float [N, 4] x, y, width, height of their masks; empty when not rasterized.
        rles: their masks, compressed.
    """

    findings: list[Finding] = field(default_factory=list)
    visible: list[int] = field(default_factory=list)
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))
    rles: list[dict[str, Any]] = field(default_factory=list)


def look_at(
    subset: Subset, image: dict[str, Any], box_only: bool = False, masks: bool = True
) -> Shapes:
    """Look at an image's annotations.

    Args:
        subset, image: an entry of `subset.images`.
        box_only: as `mrcnn train --box-only`: a box without segmentation is accepted.
        masks: rasterize them, and compare; False: the numbers only.
    """
    shapes = Shapes()
    size = image["height"], image["width"]
    for index, annotation in enumerate(subset.annotations.get(image["id"], ())):
        faults, rle = judge(annotation, size, box_only, masks)
        id = annotation.get("id")
        for kind, values in faults:
            shapes.findings.append(report(kind, subset.name, subset.file, id, **values))
        if rle is not None:
            shapes.visible.append(index)
            shapes.rles.append(rle)
    if shapes.rles:
        shapes.boxes = mask_api.toBbox(shapes.rles)
    return shapes


def judge(
    annotation: dict[str, Any], size: tuple[int, int], box_only: bool = False, masks: bool = True
) -> tuple[list[tuple[Kind, dict[str, Any]]], dict[str, Any] | None]:
    """Look at one annotation.

    Args:
        annotation: an entry of the json.
        size: (height, width) of its image.
        box_only, masks: as in `look_at`.

    Returns:
        The faults, with the values of their messages; and the mask, compressed, if training
        sees a pixel of it and `masks` is on.
    """
    faults: list[tuple[Kind, dict[str, Any]]] = []

    def found(kind: Kind, **values: Any) -> None:
        faults.append((kind, values))

    usable = _check_numbers(annotation, size, box_only, found, crossings=masks)
    rle = _rasterize(annotation, size, found) if usable and masks else None
    if rle is None:
        return faults, None
    if mask_api.area(rle) < 1:
        found(EMPTY)
        return faults, None
    segmentation = annotation.get("segmentation")
    # A crowd of another size covers the image; its box and area tell nothing of that.
    if isinstance(segmentation, list) or (segmentation and segmentation["size"] == list(size)):
        _check_box(annotation, mask_api.toBbox(rle), found)
        _check_area(annotation, int(mask_api.area(rle)), found)
    return faults, rle


def _check_numbers(
    annotation: dict[str, Any],
    size: tuple[int, int],
    box_only: bool,
    found: Callable[..., None],
    crossings: bool,
) -> bool:
    """What can be told without rasterizing; returns whether training can use the annotation."""
    segmentation = annotation.get("segmentation")
    if not segmentation:
        if not box_only:
            found(MISSING)
            return False
        if _refused(lambda: check_box({"bbox": None, **annotation})):
            found(BOX_ONLY_BAD, box=shorten(annotation.get("bbox")))
            return False
        found(BOX_ONLY)
        return True
    if isinstance(segmentation, list) and all(isinstance(part, list) for part in segmentation):
        return _check_polygons(segmentation, size, found, crossings)
    if _refused(lambda: check_structure(annotation)):
        found(MALFORMED, segmentation=shorten(segmentation))
        return False
    return _check_rle(annotation, size, found)


def _check_polygons(
    parts: list[list[Any]], size: tuple[int, int], found: Callable[..., None], crossings: bool
) -> bool:
    bad = [part for part in parts if len(part) < 2 * POLYGON_MIN_POINTS or len(part) % 2]
    if bad:
        found(POINTS, count=len(bad[0]))
        return False
    values = [value for part in parts for value in part]
    wrong = [value for value in values if not is_coordinate(value)]
    if wrong:
        found(COORDINATES, size=_of_size(size), value=shorten(wrong[0]))
        return False
    corners = np.array(values, np.float64).reshape(-1, 2)
    kind = position(corners, size)
    if kind is COORDINATES:
        value = f"a point {_farthest(corners, size):g} pixels outside"
        found(COORDINATES, size=_of_size(size), value=value)
        return False
    if kind is OUTSIDE:
        found(OUTSIDE, size=_of_size(size), distance=_farthest(corners, size))
    parts = [np.array(part, np.float64).reshape(-1, 2) for part in parts]
    if not all(map(polygons.has_area, parts)):
        found(NO_AREA)
    if crossings:
        place = next(filter(None, map(polygons.crossing, parts)), None)
        if place:
            found(CROSSING, x=place[0], y=place[1])
    return True


def position(corners: np.ndarray, size: tuple[int, int]) -> Kind | None:
    """None where corners [P, 2] lie in the image, or which fault it is that they do not."""
    distance = _farthest(corners, size)
    if distance > POLYGON_MARGIN * max(size):
        return COORDINATES
    return OUTSIDE if distance > POINT_TOLERANCE else None


def _farthest(corners: np.ndarray, size: tuple[int, int]) -> float:
    """How far the farthest corner lies outside the image; below 0 when none does."""
    return float(np.maximum(-corners, corners - np.array(size)[::-1]).max())


def _check_rle(
    annotation: dict[str, Any], size: tuple[int, int], found: Callable[..., None]
) -> bool:
    own, counts = annotation["segmentation"]["size"], annotation["segmentation"]["counts"]
    if own != list(size):
        if annotation.get("iscrowd"):
            found(CROWD_RLE_SIZE, expected_size=list(size), size=own)
            return True
        found(RLE_SIZE, expected_size=list(size), size=own)
        return False
    problem = run_lengths_problem(counts, size[0] * size[1])
    if problem:
        found(RLE_COUNTS, pixels=size[0] * size[1], counts=problem)
    return problem is None


def run_lengths_problem(counts: Any, pixels: int) -> str | None:
    """What is wrong with run lengths that must sum up to so many pixels, or None."""
    if isinstance(counts, list):
        if not all(isinstance(run, int) for run in counts):
            return f"numbers that are not whole: {shorten(counts)}"
        runs = np.array(counts, object)
    else:
        runs = unpack_run_lengths(counts.encode() if isinstance(counts, str) else counts)
        if runs is None:
            return f"a broken text, {shorten(counts[-60:])}"
    total, shortest = int(runs.sum()), int(runs.min(initial=0))
    if shortest < 0:
        return f"a run of {shortest}"
    return None if total == pixels else f"the sum {total}"


def _rasterize(
    annotation: dict[str, Any], size: tuple[int, int], found: Callable[..., None]
) -> dict[str, Any] | None:
    """The mask as training makes it; what training refuses for another reason is found here."""
    if not annotation.get("segmentation"):
        return box_rle(annotation["bbox"], *size)
    try:
        return annotation_to_image_rle(annotation, *size)
    except ValueError as error:
        found(REFUSED, problem=str(error).removeprefix("annotations: ").rstrip("."))
        return None


def _check_box(
    annotation: dict[str, Any], mask_box: np.ndarray, found: Callable[..., None]
) -> None:
    if "bbox" not in annotation:
        return  # `mrcnn evaluate` computes it
    box = annotation["bbox"]
    if _refused(lambda: check_box(annotation)):
        found(BOX_MALFORMED, box=shorten(box))
        return
    x, y, width, height = mask_box
    corners = np.array([x, y, x + width, y + height])
    written = np.array(box, np.float64)
    written_corners = np.array([*written[:2], *(written[:2] + written[2:])])
    if np.abs(written_corners - corners).max() <= BOX_TOLERANCE:
        return
    values = {"box": _of_box(written), "mask_box": _of_box(mask_box)}
    found(
        BOX_CORNERS if np.abs(written - corners).max() <= BOX_TOLERANCE else BOX_DISAGREES, **values
    )


def _check_area(annotation: dict[str, Any], mask_area: int, found: Callable[..., None]) -> None:
    if "area" not in annotation:
        return  # `mrcnn evaluate` computes it
    area = annotation["area"]
    # A border of a pixel's width around a square of so many pixels.
    tolerance = max(AREA_TOLERANCE * mask_area, 4 * math.sqrt(mask_area))
    if not is_coordinate(area) or abs(area - mask_area) > tolerance:
        found(AREA_DISAGREES, area=shorten(area), mask_area=mask_area)


def is_coordinate(value: Any) -> bool:
    """Whether a value of the json is a finite number."""
    if isinstance(value, int):
        return abs(value) < 2**53
    return isinstance(value, float) and math.isfinite(value)


def _refused(check: Callable[[], None]) -> bool:
    try:
        check()
    except (ValueError, TypeError):
        return True
    return False


def _of_size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _of_box(box: np.ndarray) -> str:
    return "[" + ", ".join(f"{value:g}" for value in np.round(box, 1)) + "]"
