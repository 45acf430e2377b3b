"""Boxes and areas of annotations: whether they agree with the mask.

A box of the json is [x, y, width, height], in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from pycocotools import mask as mask_api

from mrcnn.data.coco_fields import MAX_AREA, Entry
from mrcnn.data.rle import Rle
from mrcnn.doctor.findings import Fault, Kind, fault, note, stops_at_start, warning

BOX_MALFORMED = stops_at_start(
    *("box-malformed", "annotation", "bbox"),
    "[x, y, width, height] in pixels, width and height not below 0",
    "{received}",
    "`mrcnn evaluate` could not compare it",
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
AREA_MALFORMED = stops_at_start(
    *("area-malformed", "annotation", "area"),
    f"a number of pixels from 0 to {MAX_AREA:.0e}",
    "{received}",
    "`mrcnn evaluate` could not compare it",
    fix="writes the mask's area",
)
AREA_DISAGREES = note(
    *("area-disagrees", "annotation", "area", "the mask's {mask_area} pixels", "{area}"),
    "does not read it; `mrcnn evaluate` sorts objects into small, medium and large by it",
    fix="writes the mask's area",
)

BOX_KINDS = (BOX_CORNERS, BOX_DISAGREES)
KINDS: tuple[Kind, ...] = (BOX_MALFORMED, *BOX_KINDS, AREA_MALFORMED, AREA_DISAGREES)

# Boxes of whole pixels are off by so much, in pixels.
BOX_TOLERANCE = 2.0
# The area of a polygon and of its pixels differ by about the border, some pixels wide.
AREA_TOLERANCE = 0.1


def check_agreement(annotation: Entry, rle: Rle) -> Iterator[Fault]:
    """Whether the box and the area of an annotation in COCO's own form are those of its mask."""
    if "bbox" in annotation:  # else `mrcnn evaluate` computes it
        yield from _check_box(annotation, mask_api.toBbox(rle))
    if "area" in annotation:
        yield from _check_area(annotation, int(mask_api.area(rle)))


def _check_box(annotation: Entry, mask_box: np.ndarray) -> Iterator[Fault]:
    x, y, width, height = mask_box
    corners = np.array([x, y, x + width, y + height])
    box = np.array(annotation["bbox"], np.float64)
    box_corners = np.concatenate([box[:2], box[:2] + box[2:]])
    if np.abs(box_corners - corners).max() <= BOX_TOLERANCE:
        return
    takes_corners = np.abs(box - corners).max() <= BOX_TOLERANCE
    kind = BOX_CORNERS if takes_corners else BOX_DISAGREES
    yield fault(kind, box=_format_box(box), mask_box=_format_box(mask_box))


def _check_area(annotation: Entry, mask_area: int) -> Iterator[Fault]:
    area = annotation["area"]
    # A border of a pixel's width around a square of that area.
    tolerance = max(AREA_TOLERANCE * mask_area, 4 * math.sqrt(mask_area))
    if abs(area - mask_area) > tolerance:
        yield fault(AREA_DISAGREES, area=area, mask_area=mask_area)


def _format_box(box: np.ndarray) -> str:
    return "[" + ", ".join(f"{value:g}" for value in np.round(box, 1)) + "]"
