"""Writing a data set in COCO's layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pycocotools import mask as mask_api

from mrcnn.data.coco_fields import Entry
from mrcnn.datasets.coco_json import is_box_only
from mrcnn.datasets.formats.content import as_json
from mrcnn.datasets.formats.parts import Part
from mrcnn.datasets.formats.place_images import place_image
from mrcnn.datasets.segmentation import Annotation, annotation_to_image_rle
from mrcnn.files.atomic import write_json


def write_coco(parts: Sequence[Part], out: Path) -> None:
    """Write `annotations/instances_SUBSET.json`, with the images in `SUBSET/`.

    The ids of images and categories stay; annotations have numbers, and where they came from.
    """
    for part in parts:
        images: list[Entry] = []
        annotations: list[Annotation] = []
        for picture in part.pictures:
            name = place_image(picture, out / part.name, turns=False, counts=part.counts)
            images.append({**picture.entry, "file_name": name})
            for annotation in picture.annotations:
                number = len(annotations) + 1
                annotations.append(_complete(annotation, picture.size, number, str(part.file)))
        categories = [{"id": id, "name": name} for id, name in part.categories.items()]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (out / "annotations").mkdir(parents=True, exist_ok=True)
        write_json(out / "annotations" / f"instances_{part.name}.json", content)


def _complete(
    annotation: Annotation, size: tuple[int, int], number: int, file: str
) -> dict[str, Any]:
    """An annotation with the box and the area of its mask."""
    written = {"iscrowd": 0, **annotation, "id": number}
    if isinstance(annotation["id"], str):
        written["source"] = annotation["id"]
    if is_box_only(annotation):
        _, _, width, height = annotation["bbox"]
        return {"area": width * height, **written, "segmentation": []}
    rle = annotation_to_image_rle(annotation, *size, file)
    written["area"] = int(mask_api.area(rle))
    written["bbox"] = mask_api.toBbox(rle).tolist()
    if isinstance(written["segmentation"], dict):
        written["segmentation"] = as_json(written["segmentation"])
    return written
