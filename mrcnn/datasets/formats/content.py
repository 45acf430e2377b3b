"""The content of a COCO json, made of what a reader found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from mrcnn.data.coco_fields import Entry
from mrcnn.data.rle import run_lengths
from mrcnn.datasets.formats.source import Bitmap, Item, LabelledObject, Source
from mrcnn.datasets.segmentation import annotation_to_rle
from mrcnn.files.image_file import width_and_height
from mrcnn.files.untrusted import is_finite

SEVERAL_PARTS = "objects of several parts"
HOLES = "objects with holes"
BOXES = "objects that are boxes alone"


def coco_content(
    source: Source, items: Sequence[Item], counts: Counter[str]
) -> dict[str, list[Entry]]:
    """The content of a COCO json for some images of a source.

    The id of an image is its place among all images of the source, counted from 1; that of an
    annotation says where it was found.

    Args:
        source: the reader.
        items: some of its images.
        counts: what was read in another form, or left out, is counted here.

    Raises:
        OSError, ValueError: a file cannot be read; the message names it.
    """
    categories = [{"id": i, "name": name} for i, name in enumerate(source.categories, start=1)]
    ids = {name: i for i, name in enumerate(source.categories, start=1)}
    numbers = {item.file_name: i for i, item in enumerate(source.items, start=1)}
    images, annotations = [], []
    for item in items:
        height, width = item.size or _size(source, item)
        image = {
            **item.fields,
            "id": numbers[item.file_name],
            "file_name": item.file_name,
            "height": height,
            "width": width,
        }
        if item.upright:
            image["upright"] = True
        images.append(image)
        for found in source.objects(item, counts):
            annotation = {
                "id": found.where,
                "image_id": image["id"],
                "category_id": ids[found.name],
                "iscrowd": 0,
                **_shape(found, (height, width), source.place, counts),
            }
            annotations.append(annotation)
    return {"images": images, "annotations": annotations, "categories": categories}


def rle_of(pixels: np.ndarray, corner: tuple[int, int], size: tuple[int, int]) -> dict[str, Any]:
    """Compressed run lengths of a mask that lies in an image; what is outside is cut off.

    Args:
        pixels: bool [h, w].
        corner: (y, x) of the first pixel.
        size: (height, width) of the image.
    """
    (y, x), (height, width) = corner, size
    part = pixels[max(0, -y) : max(0, height - y), max(0, -x) : max(0, width - x)]
    if not part.size:
        part, y, x = np.zeros((1, 1), bool), 0, 0
    counts = run_lengths(part.astype(bool), (max(0, y), max(0, x)), size)
    return mask_api.frPyObjects({"size": [height, width], "counts": counts}, height, width)


def as_json(rle: dict[str, Any]) -> dict[str, Any]:
    """Run lengths with counts as a text."""
    counts = rle["counts"]
    return {**rle, "counts": counts.decode() if isinstance(counts, bytes) else counts}


def flat(polygon: Any) -> Any:
    """A polygon as x and y in turn, where it is one of points; anything else as it is."""
    if isinstance(polygon, list) and all(isinstance(p, list) and len(p) == 2 for p in polygon):
        return [number for point in polygon for number in point]
    return polygon


def _size(source: Source, item: Item) -> tuple[int, int]:
    path = source.listing.path(item.file_name)
    width, height = width_and_height(path, upright=item.upright)
    return height, width


def _shape(
    found: LabelledObject, size: tuple[int, int], place: str, counts: Counter[str]
) -> dict[str, Any]:
    if found.malformed:
        return {"segmentation": found.malformed}  # refused, and counted, like any malformed one
    if found.box is not None:
        counts[BOXES] += 1
        return {"bbox": found.box}
    polygons = [flat(polygon) for polygon in found.polygons]
    counts[SEVERAL_PARTS] += len(polygons) + len(found.bitmaps) > 1
    counts[HOLES] += bool(found.holes)
    if not found.bitmaps and not found.holes:
        return {"segmentation": polygons, **_box(polygons, size)}
    try:
        rle = _rasterized(polygons, found, size, place)
    except ValueError as error:
        text = str(error).split("expected ", 1)[-1]
        return {"segmentation": f"a shape, where {text}"}
    return {
        "segmentation": as_json(rle),
        "bbox": mask_api.toBbox(rle).tolist(),
        "area": int(mask_api.area(rle)),
    }


def _rasterized(
    polygons: list[Any], found: LabelledObject, size: tuple[int, int], place: str
) -> dict[str, Any]:
    parts = [rle_of(bitmap.pixels, bitmap.corner, size) for bitmap in found.bitmaps]
    if polygons:
        parts.append(_rle_of_polygons(polygons, found.where, size, place))
    rle = mask_api.merge(parts)
    if not found.holes:
        return rle
    holes = _rle_of_polygons([flat(hole) for hole in found.holes], found.where, size, place)
    mask = mask_api.decode(rle).astype(bool) & ~mask_api.decode(holes).astype(bool)
    return rle_of(mask, (0, 0), size)


def _rle_of_polygons(
    polygons: list[Any], where: str, size: tuple[int, int], place: str
) -> dict[str, Any]:
    """Raises `ValueError` where they cannot be rasterized."""
    return annotation_to_rle({"id": where, "segmentation": polygons}, *size, place)


def _box(polygons: list[Any], size: tuple[int, int]) -> dict[str, Any]:
    """The box of polygons within the image; none where they are malformed."""
    values = [value for polygon in polygons if isinstance(polygon, list) for value in polygon]
    if not values or not all(map(is_finite, values)) or any(len(p) % 2 for p in polygons):
        return {}
    height, width = size
    x = [min(max(value, 0), width) for polygon in polygons for value in polygon[0::2]]
    y = [min(max(value, 0), height) for polygon in polygons for value in polygon[1::2]]
    return {"bbox": [min(x), min(y), max(x) - min(x), max(y) - min(y)]}


__all__ = ["BOXES", "HOLES", "SEVERAL_PARTS", "Bitmap", "as_json", "coco_content", "flat", "rle_of"]
