"""Exports of Label Studio.

Read in label-studio-converter and label-studio-sdk (converter.py, brush_to_coco.py, keypoints.py),
in Label Studio's issue 7294 and the converter's issues 139 and 188.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.datasets.exports.fruit import (
    BOXES,
    HEIGHT,
    WIDTH,
    Picture,
    area,
    box,
    corners,
    dump,
    objects,
    pictures,
)


def label_studio(root: Path, name: str = "images/{}", boxes: bool = False) -> None:
    """result.json and images/: all ids from 0, the names with the folder; `ignore` beside iscrowd.

    Args:
        root: of the export.
        name: of a file, as versions on several systems write it.
        boxes: rectangles in place of polygons.
    """
    images, annotations = [], []
    for position, picture in enumerate(pictures(3)):
        file = f"72688b1a-{picture.name}"
        picture.save(root / "images" / file)
        images.append(
            {"width": WIDTH, "height": HEIGHT, "id": position, "file_name": name.format(file)}
        )
    for number, position, _, label in objects(pictures(3)):
        annotations.append(
            {
                "id": number,
                "image_id": position,
                "category_id": {"fig": 0, "nut": 1}[label],
                "segmentation": [] if boxes else [corners(label)],
                "bbox": box(label),
                "ignore": 0,
                "iscrowd": 0,
                "area": float(area(label)),
            }
        )
    dump(
        root / "result.json",
        {
            "images": images,
            "categories": [{"id": 0, "name": "fig"}, {"id": 1, "name": "nut"}],
            "annotations": annotations,
            "info": {
                "year": 2026,
                "version": "1.0",
                "description": "",
                "contributor": "Label Studio",
                "url": "",
                "date_created": "2026-11-29 05:00:00.123456",
            },
        },
        indent=2,
    )


def label_studio_boxes(root: Path) -> None:
    label_studio(root, boxes=True)


def label_studio_windows(root: Path) -> None:
    label_studio(root, "images\\{}")


def label_studio_project_folder(root: Path) -> None:
    """The converter's issue 139: the project's number, which no folder has."""
    label_studio(root, "images\\1/{}")


def label_studio_outside(root: Path) -> None:
    """Label Studio's issue 7294, of version 1.16: where the server keeps its uploads."""
    label_studio(root, "..\\..\\label-studio\\label-studio\\media\\upload\\4\\{}")


def label_studio_no_size(root: Path) -> None:
    """A task without a label whose image could not be opened: it has no size."""
    label_studio(root)
    content = json.loads((root / "result.json").read_text())
    extra = Picture(3)
    extra.save(root / "images" / extra.name)
    content["images"].append(
        {"width": None, "height": None, "id": 3, "file_name": f"images/{extra.name}"}
    )
    dump(root / "result.json", content, indent=2)


def label_studio_two_annotators(root: Path) -> None:
    """Each annotation of a task is an image of its own, of the same file."""
    label_studio(root)
    content = json.loads((root / "result.json").read_text())
    first = content["images"][0]
    content["images"].append({**first, "id": 3})
    content["annotations"] += [
        {**annotation, "id": 6 + number, "image_id": 3}
        for number, annotation in enumerate(content["annotations"][:2])
    ]
    dump(root / "result.json", content, indent=2)


def label_studio_keypoints(root: Path) -> None:
    """Key points beside polygons: a category "default", and neither a mask nor an area."""
    label_studio(root)
    content = json.loads((root / "result.json").read_text())
    content["categories"].append(
        {
            "id": 2,
            "name": "default",
            "supercategory": "default",
            "keypoints": ["stem"],
            "skeleton": [],
        }
    )
    content["annotations"].append(
        {
            "id": 6,
            "image_id": 0,
            "category_id": 2,
            "keypoints": [10, 8, 2],
            "num_keypoints": 1,
            "bbox": [10, 8, 0, 0],
            "iscrowd": 0,
        }
    )
    dump(root / "result.json", content, indent=2)


def label_studio_category(root: Path) -> None:
    """Ids of categories from the labels' configuration, an XML attribute: text."""
    label_studio(root)
    content = json.loads((root / "result.json").read_text())
    for category in content["categories"]:
        category["id"] = str(category["id"] + 7)
    for annotation in content["annotations"]:
        annotation["category_id"] = str(annotation["category_id"] + 7)
    dump(root / "result.json", content, indent=2)


def label_studio_brush(root: Path) -> None:
    """The SDK's brush export: result_coco.json, contours through the outermost pixels."""
    images, annotations = [], []
    for position, picture in enumerate(pictures(3)):
        file = f"72688b1a-{picture.name}"
        picture.save(root / "images" / file)
        images.append(
            {
                "id": position,
                "file_name": file,
                "path": f"/data/upload/1/{file}",
                "width": WIDTH,
                "height": HEIGHT,
            }
        )
    for number, position, _, name in objects(pictures(3)):
        x, y, width, height = BOXES[name]
        right, bottom = x + width - 1, y + height - 1
        annotations.append(
            {
                "id": number,
                "image_id": position,
                "category_id": {"nut": 1, "fig": 2}[name],
                "segmentation": [[x, y, x, bottom, right, bottom, right, y]],
                "area": (width - 1) * (height - 1),
                "bbox": [x, y, width, height],
                "iscrowd": 0,
                "annotator": "unknown",
            }
        )
    dump(
        root / "result_coco.json",
        {
            "images": images,
            "annotations": annotations,
            "categories": [
                {"id": i, "name": name, "supercategory": "", "color": "#3ab7dd", "metadata": {}}
                for i, name in enumerate(BOXES, start=1)
            ],
            "info": {
                "year": 2026,
                "version": "1.0",
                "description": "Converted from Label Studio",
                "contributor": "Label Studio Converter",
                "date_created": "2026-11-29 05:00:00.123456",
            },
        },
        indent=2,
        ensure_ascii=False,
    )
