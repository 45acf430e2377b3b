"""The images of a json that are loaded, with the annotations of the classes that are selected."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mrcnn.data.annotation_table import AnnotationTable, by_image
from mrcnn.data.coco_fields import Entry
from mrcnn.data.image_table import ImageTable, Info
from mrcnn.datasets.image_entries import ImageEntries
from mrcnn.datasets.image_files import image_paths
from mrcnn.datasets.image_stores import ImageStore
from mrcnn.datasets.layouts import SplitFiles
from mrcnn.datasets.segmentation import Annotation


def of_classes(
    annotations: Sequence[Annotation], selected: set[Any], class_map: Mapping[int, int]
) -> Sequence[Annotation]:
    """The annotations of selected categories, with the category they are taken for."""
    if isinstance(annotations, AnnotationTable):
        return annotations.of(selected).mapped(class_map)
    chosen = []
    for annotation in annotations:
        category = annotation["category_id"]
        if category not in selected:
            continue
        target = class_map.get(category, category)
        chosen.append(annotation if target == category else {**annotation, "category_id": target})
    return chosen


def as_infos(
    images: Mapping[Any, Entry],
    annotations: Sequence[Annotation],
    select: bool,
    files: SplitFiles,
    store: ImageStore,
) -> list[Info]:
    """What `add_image` is given for each image.

    Args:
        images: by id.
        annotations: of the classes that are selected.
        select: leave out images without any.
        files: of the data set.
        store: the files of the images.
    """
    of_image = by_image(annotations)
    wanted = [image for image in images.values() if image["id"] in of_image or not select]
    ids, names = ([image[field] for image in wanted] for field in ("id", "file_name"))
    return [
        {
            "image_id": image["id"],
            "path": path,
            "width": image["width"],
            "height": image["height"],
            "annotations": of_image.get(image["id"], []),
            "annotation_file": str(files.annotations),
            **({"upright": True} if image.get("upright") is True else {}),
        }
        for image, path in zip(
            wanted, image_paths(ids, names, store, files.annotations), strict=True
        )
    ]


def as_table(
    images: ImageEntries,
    annotations: AnnotationTable,
    select: bool,
    source: str,
    files: SplitFiles,
    store: ImageStore,
) -> ImageTable:
    """The same in columns."""
    in_order, ends = annotations.sorted_by_image()
    if select:
        rows = np.flatnonzero(np.diff(ends))
        images, ends = images.take(rows.tolist()), array("q", [0, *np.array(ends)[rows + 1]])
    return ImageTable(
        source,
        str(files.annotations),
        images.ids,
        image_paths(images.ids, images.names, store, files.annotations),
        *(images.heights, images.widths, images.upright),
        *(in_order, ends),
    )
