"""Exports of Roboflow. Its exporter is not public: the form is that of published data sets."""

from __future__ import annotations

import json
from pathlib import Path

from tests.datasets.exports.fruit import HEIGHT, WIDTH, area, box, corners, dump, objects, pictures


def roboflow(root: Path) -> None:
    """A folder a subset with its json among the images; a placeholder as the first category."""
    for subset, shown in (
        ("train", pictures(3)),
        ("valid", pictures(2, 3)),
        ("test", pictures(1, 5)),
    ):
        date = "2025-11-14T10:00:45+00:00"
        images = []
        for position, picture in enumerate(shown):
            name = f"IMG_{picture.index}_jpg.rf.f420d64134e57e535d022ab39e16b0d{picture.index}.jpg"
            picture.save(root / subset / name)
            images.append(
                {
                    "id": position,
                    "license": 1,
                    "file_name": name,
                    "height": HEIGHT,
                    "width": WIDTH,
                    "date_captured": date,
                    "extra": {"name": f"IMG_{picture.index}.jpg"},
                }
            )
        content = {
            "info": {
                "year": "2025",
                "version": "1",
                "description": "Exported from roboflow.com",
                "contributor": "",
                "url": "https://public.roboflow.com/object-detection/undefined",
                "date_created": date,
            },
            "licenses": [{"id": 1, "url": "https://creativecommons.org", "name": "CC BY 4.0"}],
            "categories": [
                {"id": 0, "name": "fig", "supercategory": "none"},
                {"id": 1, "name": "fig", "supercategory": "fig"},
                {"id": 2, "name": "nut", "supercategory": "fig"},
            ],
            "images": images,
            "annotations": [
                {
                    "id": number,
                    "image_id": position,
                    "category_id": {"fig": 1, "nut": 2}[name],
                    "bbox": box(name, int),
                    "area": area(name),
                    "segmentation": [corners(name, int)],
                    "iscrowd": 0,
                }
                for number, position, _, name in objects(shown)
            ],
        }
        dump(root / subset / "_annotations.coco.json", content, separators=(",", ":"))
    for name in ("README.dataset.txt", "README.roboflow.txt"):
        (root / name).write_text("fruit > 2025-11-14 10:00am\nhttps://universe.roboflow.com\n")


def roboflow_boxes(root: Path) -> None:
    """An export of boxes: empty segmentations."""
    roboflow(root)
    for file in root.glob("*/_annotations.coco.json"):
        content = json.loads(file.read_text())
        for annotation in content["annotations"]:
            annotation["segmentation"] = []
        dump(file, content, separators=(",", ":"))
