"""Exports of FiftyOne, read in its utils/coco.py, old and new."""

from __future__ import annotations

import json
from pathlib import Path

from tests.datasets.exports.fruit import BOXES, HEIGHT, WIDTH, area, box, dump, objects, pictures


def fiftyone(root: Path) -> None:
    """labels.json and data/: classes from 0, images from 1, polygons along the pixels' middles."""
    for picture in pictures(3):
        picture.save(root / "data" / picture.name)
    annotations = []
    for number, position, _, name in objects(pictures(3)):
        x, y, width, height = map(float, BOXES[name])
        right, bottom = x + width - 0.5, y + height - 0.5
        outline = [right, bottom, right, y, x, y - 0.5, x - 0.5, bottom, right, bottom]
        annotations.append(
            {
                "id": number + 1,
                "image_id": position + 1,
                "category_id": {"fig": 0, "nut": 1}[name],
                "bbox": box(name),
                "segmentation": [outline],
                "area": float(area(name)),
                "tags": [],
            }
        )
    dump(
        root / "labels.json",
        {
            "info": {
                "year": "",
                "version": "",
                "description": "Exported from FiftyOne",
                "contributor": "",
                "url": "https://voxel51.com/fiftyone",
                "date_created": "2022-03-16T17:05:23",
            },
            "licenses": [],
            "categories": [
                {"id": 0, "name": "fig", "supercategory": None},
                {"id": 1, "name": "nut", "supercategory": None},
            ],
            "images": [
                {
                    "id": position + 1,
                    "file_name": picture.name,
                    "height": HEIGHT,
                    "width": WIDTH,
                    "license": None,
                    "coco_url": None,
                }
                for position, picture in enumerate(pictures(3))
            ],
            "annotations": annotations,
        },
    )


def fiftyone_boxes(root: Path) -> None:
    """Detections of an older version: `segmentation` is null, `iscrowd` there."""
    fiftyone(root)
    content = json.loads((root / "labels.json").read_text())
    for annotation in content["annotations"]:
        annotation |= {"segmentation": None, "iscrowd": 0}
    dump(root / "labels.json", content)


def fiftyone_links(root: Path) -> None:
    """`export_media="symlink"`: the pictures are links out of the export."""
    fiftyone(root)
    for picture in pictures(3):
        moved = picture.save(root.parent / "photographs" / picture.name)
        (root / "data" / picture.name).unlink()
        (root / "data" / picture.name).symlink_to(moved)
