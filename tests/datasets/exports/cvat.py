"""Exports of CVAT, read in its datumaro (coco_format/converter.py) and in published data sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.datasets.exports.fruit import (
    HEIGHT,
    WIDTH,
    Json,
    Picture,
    area,
    box,
    corners,
    dump,
    objects,
    pictures,
    run_lengths,
)


def cvat_json(shown: Sequence[Picture], folder: str = "", masks: bool = False) -> Json:
    annotations = []
    for number, position, _, name in objects(shown):
        mask: Any = run_lengths(name) if masks else [corners(name)]
        annotations.append(
            {
                "id": number + 1,
                "image_id": position + 1,
                "category_id": {"nut": 1, "fig": 2}[name],
                "segmentation": mask,
                "area": float(area(name)),
                "bbox": box(name),
                "iscrowd": int(masks),
                "attributes": {"occluded": False},
            }
        )
    return {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": {
            "contributor": "",
            "date_created": "",
            "description": "",
            "url": "",
            "version": "",
            "year": "",
        },
        "categories": [
            {"id": 1, "name": "nut", "supercategory": ""},
            {"id": 2, "name": "fig", "supercategory": ""},
        ],
        "images": [
            {
                "id": position + 1,
                "width": WIDTH,
                "height": HEIGHT,
                "file_name": f"{folder}{picture.name}",
                "license": 0,
                "flickr_url": "",
                "coco_url": "",
                "date_captured": 0,
            }
            for position, picture in enumerate(shown)
        ],
        "annotations": annotations,
    }


def cvat(root: Path) -> None:
    """A task: one subset, "default", its images in a folder of that name."""
    for picture in pictures(3):
        picture.save(root / "images" / "default" / picture.name)
    dump(root / "annotations" / "instances_default.json", cvat_json(pictures(3)))


def cvat_folders(root: Path) -> None:
    """A task whose images were uploaded in a folder, which may be called as a subset is."""
    for picture in pictures(3):
        picture.save(root / "images" / "default" / "train" / picture.name)
    dump(root / "annotations" / "instances_default.json", cvat_json(pictures(3), "train/"))


def cvat_merged(root: Path) -> None:
    """Older versions put all images in one folder."""
    for picture in pictures(3):
        picture.save(root / "images" / picture.name)
    dump(root / "annotations" / "instances_default.json", cvat_json(pictures(3)))


def cvat_project(root: Path) -> None:
    """A project whose tasks have subsets."""
    for subset, shown in (("Train", pictures(3)), ("Validation", pictures(2, 3))):
        for picture in shown:
            picture.save(root / "images" / subset / picture.name)
        dump(root / "annotations" / f"instances_{subset}.json", cvat_json(shown))


def cvat_brush(root: Path) -> None:
    """Masks of the brush: run lengths, and every one a crowd."""
    cvat(root)
    dump(root / "annotations" / "instances_default.json", cvat_json(pictures(3), masks=True))


def cvat_boxes(root: Path) -> None:
    """Rectangles: an empty segmentation, and a rotation among the attributes."""
    cvat(root)
    content = cvat_json(pictures(3))
    for annotation in content["annotations"]:
        annotation |= {"segmentation": [], "attributes": {"occluded": False, "rotation": 0.0}}
    dump(root / "annotations" / "instances_default.json", content)
