"""Exports of Make Sense, read in its COCOExporter.ts."""

from __future__ import annotations

import json
from pathlib import Path

from tests.datasets.exports.fruit import HEIGHT, WIDTH, area, box, corners, dump, objects, pictures


def makesense(root: Path) -> None:
    """Annotations from 0, images and categories from 1, no licenses."""
    for picture in pictures(3):
        picture.save(root / picture.name)
    content = {
        "info": {"description": "my-project-name"},
        "images": [
            {"id": position + 1, "width": WIDTH, "height": HEIGHT, "file_name": picture.name}
            for position, picture in enumerate(pictures(3))
        ],
        "annotations": [
            {
                "id": number,
                "iscrowd": 0,
                "image_id": position + 1,
                "category_id": {"nut": 1, "fig": 2}[name],
                "segmentation": [corners(name)],
                "bbox": box(name),
                "area": area(name),
            }
            for number, position, _, name in objects(pictures(3))
        ],
        "categories": [{"id": 1, "name": "nut"}, {"id": 2, "name": "fig"}],
    }
    name = "labels_my-project-name_2026-11-29-05-00-00.json"
    dump(root / name, content, separators=(",", ":"))


def makesense_unlabelled(root: Path) -> None:
    """A polygon without a label has no category: the field is not there."""
    makesense(root)
    (file,) = root.glob("labels_*.json")
    content = json.loads(file.read_text())
    del content["annotations"][1]["category_id"]
    dump(file, content, separators=(",", ":"))
