"""Writing a data set as labelme's files, a json beside each image."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from mrcnn.datasets.coco_json import is_box_only
from mrcnn.datasets.formats.outlines_of import polygons_of
from mrcnn.datasets.formats.parts import Part, Picture
from mrcnn.datasets.formats.place_images import place_image

# The version of labelme whose files these are like; every later one reads them.
VERSION = "5.0.0"
_DECIMALS = 3  # of a pixel
BOXES = "boxes without masks written as rectangles"


def write_labelme(parts: Sequence[Part], out: Path) -> None:
    """Write `SUBSET/a.jpg` and `SUBSET/a.json`; parts of an object share a group.

    Raises:
        ValueError: two images of a folder differ in their suffix alone.
    """
    for part in parts:
        folder = out / part.name
        for picture in part.pictures:
            name = place_image(picture, folder, turns=True, counts=part.counts)
            file = folder / PurePosixPath(name).with_suffix(".json")
            if file.exists():
                raise ValueError(
                    f"{file}: expected one image of that name; {picture.path} and another one "
                    f"differ in their suffix alone. Rename one of them."
                )
            height, width = picture.size
            content: dict[str, Any] = {
                "version": VERSION,
                "flags": {},
                "shapes": list(_shapes(part, picture)),
                "imagePath": PurePosixPath(name).name,
                "imageData": None,
                "imageHeight": height,
                "imageWidth": width,
            }
            file.write_text(json.dumps(content, indent=2), encoding="utf-8")


def _shapes(part: Part, picture: Picture) -> Iterator[dict[str, Any]]:
    for number, annotation in enumerate(part.objects(picture), start=1):
        name = part.categories[annotation["category_id"]]
        if is_box_only(annotation):
            x, y, width, height = annotation["bbox"]
            part.counts[BOXES] += 1
            yield _shape(name, [[x, y], [x + width, y + height]], None, "rectangle")
            continue
        polygons = polygons_of(annotation, picture.size, str(part.file), part.counts)
        group = number if len(polygons) > 1 else None
        for polygon in polygons:
            yield _shape(name, np.round(polygon, _DECIMALS).tolist(), group, "polygon")


def _shape(name: str, points: list[list[float]], group: int | None, kind: str) -> dict[str, Any]:
    return {
        "label": name,
        "points": points,
        "group_id": group,
        "description": "",
        "shape_type": kind,
        "flags": {},
    }
