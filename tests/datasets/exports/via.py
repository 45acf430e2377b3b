"""COCO exports of the VGG Image Annotator 2, read in its via.js and in a published one of 2.0.8."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tests.datasets.exports.fruit import (
    BOXES,
    HEIGHT,
    WIDTH,
    Json,
    area,
    box,
    corners,
    dump,
    objects,
    pictures,
)


def via(root: Path, image_ids: Sequence[int] = (1, 2, 3), nameless: bool = False) -> None:
    """Since 2.0.10: everything from 1, whole coordinates, and a point without area and box.

    Args:
        root: of the export.
        image_ids: of the three pictures.
        nameless: categories whose ids could not be made numbers of.
    """
    shown = pictures(3)
    for picture in shown:
        picture.save(root / picture.name)
    ids: dict[str, int | None] = {"nut": None, "fig": None} if nameless else {"nut": 1, "fig": 2}
    annotations: list[Json] = [
        {
            "segmentation": [corners(name, int)],
            "area": area(name),
            "bbox": box(name, int),
            "iscrowd": 0,
            "id": number + 1,
            "image_id": image_ids[position],
            "category_id": ids[name],
        }
        for number, position, _, name in objects(shown)
    ]
    dump(
        root / "via_project_29Nov2026_5h0m_coco.json",
        {
            "info": {
                "year": 2026,
                "version": "1.0",
                "description": "VIA project exported to COCO format using VGG Image Annotator",
                "contributor": "",
                "url": "http://www.robots.ox.ac.uk/~vgg/software/via/",
                "date_created": "Sun Nov 29 2026 05:00:00 GMT+0000 (Coordinated Universal Time)",
            },
            "images": [
                {
                    "id": id,
                    "width": WIDTH,
                    "height": HEIGHT,
                    "file_name": picture.name,
                    "license": 0,
                    "flickr_url": picture.name,
                    "coco_url": picture.name,
                    "date_captured": "",
                }
                for id, picture in zip(image_ids, shown, strict=True)
            ],
            "annotations": annotations,
            "licenses": [{"id": 0, "name": "Unknown License", "url": ""}],
            "categories": [
                {"supercategory": "fruit", "id": ids[name], "name": name} for name in BOXES
            ],
        },
        separators=(",", ":"),
    )


def via_points(root: Path) -> None:
    """Points beside polygons: an empty polygon, and lists for area and box."""
    via(root)
    (file,) = root.glob("via_*.json")
    content = json.loads(file.read_text())
    content["annotations"].append(
        {
            "segmentation": [[]],
            "area": [],
            "bbox": [],
            "iscrowd": 0,
            "keypoints": [10, 8, 2],
            "num_keypoints": 1,
            "id": 7,
            "image_id": 1,
            "category_id": 1,
        }
    )
    dump(file, content, separators=(",", ":"))


def via_same_ids(root: Path) -> None:
    """File names that begin with one number: `parseInt` gives their images one id."""
    via(root, image_ids=(10, 10, 11))


def via_null_categories(root: Path) -> None:
    """File names that begin with numbers, options that do not: `parseInt` gives NaN, json null."""
    via(root, image_ids=(0, 1, 2), nameless=True)


def via_208(root: Path) -> None:
    """Version 2.0.8: flat polygons, the image's id as text, the categories anew for each image."""
    shown = pictures(3)
    for picture in shown:
        picture.save(root / picture.name)
    dump(
        root / "via_export_coco.json",
        {
            "info": {
                "year": 2020,
                "version": "1",
                "description": "Exported using VGG Image Annotator",
                "contributor": "",
                "url": "http://www.robots.ox.ac.uk/~vgg/software/via/",
                "date_created": "Thu Apr 09 2020 10:55:40 GMT-0500 (Colombia Standard Time)",
            },
            "images": [
                {
                    "id": position,
                    "width": WIDTH,
                    "height": HEIGHT,
                    "file_name": picture.name,
                    "license": 1,
                    "date_captured": "",
                }
                for position, picture in enumerate(shown)
            ],
            "annotations": [
                {
                    "id": number,
                    "image_id": str(position),
                    "category_id": {"nut": 1, "fig": 2}[name],
                    "segmentation": corners(name, int),
                    "area": area(name),
                    "bbox": box(name, int),
                    "iscrowd": 0,
                }
                for number, position, _, name in objects(shown)
            ],
            "licenses": [{"id": 1, "name": "Unknown", "url": ""}],
            "categories": [
                {"id": id, "name": name, "supercategory": "fruit"}
                for id, name in ((1, "nut"), (2, "fig"))
            ]
            * len(shown),
        },
        separators=(",", ":"),
    )
