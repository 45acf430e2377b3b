"""Exports of labelme: by its script, examples/instance_segmentation/labelme2coco.py, and by the
package labelme2coco, with sahi's utils/coco.py.
"""

from __future__ import annotations

from pathlib import Path

from tests.datasets.exports.fruit import HEIGHT, WIDTH, area, box, corners, dump, objects, pictures


def labelme(root: Path) -> None:
    """labelme's script: JPEGImages/ in the names, the same names drawn in Visualization/, nulls."""
    shown = pictures(3)
    for picture in shown:
        picture.save(root / "JPEGImages" / picture.name)
        picture.save(root / "Visualization" / picture.name)
    dump(
        root / "annotations.json",
        {
            "info": {
                "description": None,
                "url": None,
                "version": None,
                "year": 2026,
                "contributor": None,
                "date_created": "2026-11-29 05:00:00.123456",
            },
            "licenses": [{"url": None, "id": 0, "name": None}],
            "type": "instances",
            "images": [
                {
                    "license": 0,
                    "url": None,
                    "file_name": f"JPEGImages/{picture.name}",
                    "height": HEIGHT,
                    "width": WIDTH,
                    "date_captured": None,
                    "id": position,
                }
                for position, picture in enumerate(shown)
            ],
            "categories": [
                {"supercategory": None, "id": 0, "name": "_background_"},
                {"supercategory": None, "id": 1, "name": "nut"},
                {"supercategory": None, "id": 2, "name": "fig"},
            ],
            "annotations": [
                {
                    "id": number,
                    "image_id": position,
                    "category_id": {"nut": 1, "fig": 2}[name],
                    "segmentation": [corners(name)],
                    "area": float(area(name)),
                    "bbox": box(name),
                    "iscrowd": 0,
                }
                for number, position, _, name in objects(shown)
            ],
        },
    )


def labelme2coco(root: Path, folder: str = "photos/") -> None:
    """fcakyon's package: dataset.json, names as the folder of labelme's files was given.

    Args:
        root: of the data set; labelme's files lie beside the pictures.
        folder: the part of a name before the file.
    """
    shown = pictures(3)
    for picture in shown:
        picture.save(root / "photos" / picture.name)
        content = {"version": "5.4.1", "shapes": [], "imagePath": picture.name, "imageData": None}
        dump(root / "photos" / f"{picture.index}.json", content)
    dump(
        root / "dataset.json",
        {
            "images": [
                {
                    "height": HEIGHT,
                    "width": WIDTH,
                    "id": position + 1,
                    "file_name": f"{folder}{picture.name}",
                }
                for position, picture in enumerate(shown)
            ],
            "annotations": [
                {
                    "iscrowd": 0,
                    "image_id": position + 1,
                    "bbox": box(name, int),
                    "segmentation": [corners(name)],
                    "category_id": {"nut": 0, "fig": 1}[name],
                    "id": number + 1,
                    "area": area(name),
                }
                for number, position, _, name in objects(shown)
            ],
            "categories": [
                {"id": 0, "name": "nut", "supercategory": "nut"},
                {"id": 1, "name": "fig", "supercategory": "fig"},
            ],
        },
        indent=4,
        separators=(",", ":"),
    )


def labelme2coco_absolute(root: Path) -> None:
    """The folder was given by its whole path, on another machine."""
    labelme2coco(root, "/home/someone/fruit/photos/")
