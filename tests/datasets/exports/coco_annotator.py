"""Exports of COCO Annotator, read in its workers/tasks/data.py and util/coco_util.py."""

from __future__ import annotations

from pathlib import Path

from tests.datasets.exports.fruit import (
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


def coco_annotator_json() -> Json:
    """Database entries as they are: `iscrowd` false, paths of the server, whole areas."""
    return {
        "images": [
            {
                "id": 11 + position,
                "dataset_id": 1,
                "category_ids": [],
                "path": f"/datasets/nuts/{picture.name}",
                "width": WIDTH,
                "height": HEIGHT,
                "file_name": picture.name,
                "annotated": False,
                "annotating": [],
                "num_annotations": 0,
                "metadata": {},
                "deleted": False,
                "milliseconds": 0,
                "events": [],
                "regenerate_thumbnail": False,
            }
            for position, picture in enumerate(pictures(3))
        ],
        "categories": [
            {
                "id": id,
                "name": name,
                "supercategory": "",
                "color": "#3ab7dd",
                "metadata": {},
                "keypoint_colors": [],
            }
            for id, name in ((4, "nut"), (7, "fig"))
        ],
        "annotations": [
            {
                "id": 101 + number,
                "image_id": 11 + position,
                "category_id": {"nut": 4, "fig": 7}[name],
                "segmentation": [corners(name)],
                "area": area(name),
                "bbox": box(name),
                "iscrowd": False,
                "isbbox": False,
                "color": "#b00cd4",
                "metadata": {},
            }
            for number, position, _, name in objects(pictures(3))
        ],
    }


def coco_annotator(root: Path) -> None:
    """A json that the browser saved, beside the folder of the data set."""
    for picture in pictures(3):
        picture.save(root / "nuts" / picture.name)
    dump(root / "nuts-1.json", coco_annotator_json())


def coco_annotator_server(root: Path) -> None:
    """The server's folder: the export in a hidden folder among the images."""
    for picture in pictures(3):
        picture.save(root / picture.name)
    dump(root / ".exports" / "coco-1732863600.1234567.json", coco_annotator_json())
