"""Annotations as polygons, for formats that have nothing else."""

from __future__ import annotations

from collections import Counter

import numpy as np
from pycocotools import mask as mask_api

from mrcnn.data.outlines import outline
from mrcnn.datasets.segmentation import Annotation, annotation_to_image_rle, rle_crop

HOLES = "holes in masks filled, because polygons have none"
SPECKS = "specks of masks left out, too small for a polygon"
NOTHING = "objects without a pixel left out"
MASKS = "masks traced by polygons"
# As near as this, in pixels, a polygon is filled to the mask it was drawn around.
TOLERANCE = 0.25


def polygons_of(
    annotation: Annotation, size: tuple[int, int], file: str, counts: Counter[str]
) -> list[np.ndarray]:
    """The outlines of an object: those of its annotation, or drawn around its mask.

    Args:
        annotation: in COCO's own form, with a segmentation.
        size: (height, width) of the image.
        file: named in errors.
        counts: what polygons cannot hold is counted here.

    Returns:
        float [P, 2] of (x, y) each; none where the object has no pixel.

    Raises:
        ValueError: the segmentation is malformed.
    """
    rle = annotation_to_image_rle(annotation, *size, file)  # which checks it
    segmentation = annotation["segmentation"]
    if mask_api.area(rle) < 1:
        counts[NOTHING] += 1
        return []
    if isinstance(segmentation, list):
        return [np.array(polygon, float).reshape(-1, 2) for polygon in segmentation]
    (y, x, _, _), part = rle_crop(rle)
    found = outline(part, (y, x), TOLERANCE)
    counts[MASKS] += 1
    counts[HOLES] += found.holes
    counts[SPECKS] += found.specks
    if not found.polygons:  # a single pixel or a line of them
        counts[SPECKS] -= found.specks
        height, width = part.shape
        return [np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]], float)]
    return found.polygons
