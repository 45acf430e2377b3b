"""COCO's result format: detections as dicts, by the ids of the ground truth.

A result has image_id, category_id, score, bbox [x, y, width, height] in pixels, and segmentation as
compressed run lengths (https://cocodataset.org/#format-results).

Shape letters: N detections; H, W height and width of an image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from mrcnn.data.dataset import Dataset
from mrcnn.data.rle import Rle, encode_in_boxes

Result = dict[str, Any]


def coco_results(
    image_id: Any,
    rois: np.ndarray,
    class_ids: np.ndarray,
    scores: np.ndarray,
    masks: np.ndarray | None = None,
    category_ids: Mapping[int, int] | None = None,
    rles: Sequence[Rle] | None = None,
) -> list[Result]:
    """Convert an image's detections to COCO's result format.

    >>> boxes = np.array([[10, 20, 40, 60]])
    >>> (result,) = coco_results(7, boxes, np.array([2]), np.array([0.5]), category_ids={2: 18})
    >>> result["category_id"], result["bbox"]
    (18, [20.0, 10.0, 40.0, 30.0])

    Args:
        image_id: the image's id in the ground truth.
        rois: [N, 4] pixel boxes (y1, x1, y2, x2).
        class_ids: [N].
        scores: [N].
        masks: [H, W, N], nonzero is inside; None gives results without segmentation, unless
            there are `rles`.
        category_ids: category id in the ground truth of each class id; detections of classes
            it does not name are left out. None: the class ids are category ids.
        rles: N masks as compressed run lengths, instead of `masks`.

    Raises:
        ValueError: the arrays are not of the same N.
    """
    lengths = {"rois": len(rois), "class_ids": len(class_ids), "scores": len(scores)}
    if masks is not None:
        lengths["masks"] = masks.shape[-1]
    if rles is not None:
        lengths["rles"] = len(rles)
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f"Image {image_id}: expected as many rois, class_ids, scores and masks; received "
            f"{lengths}. Masks are [height, width, N]."
        )
    results = []
    for index, class_id in enumerate(int(c) for c in class_ids):
        if category_ids is not None and class_id not in category_ids:
            continue
        y1, x1, y2, x2 = (float(edge) for edge in rois[index])
        result = {
            "image_id": image_id,
            "category_id": class_id if category_ids is None else category_ids[class_id],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": float(scores[index]),
        }
        rle = None if rles is None else rles[index]
        if masks is not None:
            # One at a time: all of a large image's masks in another layout may not fit.
            rle = mask_api.encode(np.asfortranarray(masks[..., index] != 0, np.uint8))
        if rle is not None:
            result["segmentation"] = {"size": rle["size"], "counts": rle["counts"].decode()}
        results.append(result)
    return results


def image_results(dataset: Dataset, image_id: int, detections: Mapping[str, Any]) -> list[Result]:
    """Convert what was detected in an image of a data set.

    Args:
        dataset: prepared. Detections of classes from another source than the image's are left out.
        image_id: internal id of the image.
        detections: rois, class_ids, scores, and either `masks` [H, W, N], or the probabilities
            within the boxes, `box_masks` [N, h, w], with `image_shape`. Then `boxes`, `mask_areas`
            and `mask_corners` may say more exactly where they lie (`mrcnn.data.unmolding.Located`).
    """
    info = dataset.image_info[image_id]
    category_ids = _category_ids(dataset, info["source"])
    rois, class_ids, scores = (detections[name] for name in ("rois", "class_ids", "scores"))
    if "box_masks" in detections:
        boxes, corners = detections.get("boxes", rois), detections.get("mask_corners")
        areas = detections.get("mask_areas", boxes)
        rles = encode_in_boxes(detections["box_masks"], areas, detections["image_shape"], corners)
        return coco_results(info["id"], boxes, class_ids, scores, None, category_ids, rles)
    return coco_results(info["id"], rois, class_ids, scores, detections["masks"], category_ids)


def segm_annotation(result: Result, number: int) -> dict[str, Any]:
    """A result as an annotation that pycocotools compares by its mask.

    Args:
        result: in COCO's format, with a segmentation.
        number: the id of the annotation.

    Raises:
        ValueError: the result lacks a field.
    """
    _require(result, "segmentation", number)
    # Not together with the box: its area would be taken for the mask's.
    return {
        **_common_fields(result, number),
        "segmentation": result["segmentation"],
        "area": float(mask_api.area(result["segmentation"])),
    }


def bbox_annotation(result: Result, number: int) -> dict[str, Any]:
    """A result as an annotation that pycocotools compares by its box.

    Args:
        result: in COCO's format; without a box, it gets that of its mask.
        number: the id of the annotation.

    Raises:
        ValueError: the result lacks a field.
    """
    bbox = result.get("bbox")
    if not bbox:
        _require(result, "segmentation", number)
        bbox = mask_api.toBbox(result["segmentation"]).tolist()
    return {**_common_fields(result, number), "bbox": bbox, "area": bbox[2] * bbox[3]}


def _common_fields(result: Result, number: int) -> dict[str, Any]:
    for field in ("category_id", "score"):
        _require(result, field, number)
    common = {field: result[field] for field in ("image_id", "category_id", "score")}
    return {**common, "id": number, "iscrowd": 0}


def _require(result: Result, field: str, number: int) -> None:
    if field not in result:
        raise ValueError(
            f"Result {number} (image {result['image_id']}): expected the field {field!r}; received "
            f"{sorted(result)}."
        )


def _category_ids(dataset: Dataset, source: str) -> dict[int, int]:
    """The category id of each class of a source, the background aside."""
    return {
        class_id: dataset.get_source_class_id(class_id, source)
        for class_id, info in enumerate(dataset.class_info)
        if info["source"] == source
    }
