"""Ground truth for the COCO metrics, made from any data set.

Data sets in COCO's format bring it along as json. For the others it is made here, of the masks
that `load_mask` gives.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from tqdm import tqdm

from mrcnn.data.dataset import Dataset
from mrcnn.datasets.coco_json import coco_api


def coco_ground_truth(
    dataset: Dataset, image_ids: Iterable[int] | None = None, progress: bool = True
) -> COCO:
    """Describe the instances of a data set as `mrcnn.evaluation.coco.evaluate_model` wants them.

    Images and categories have the ids of their source. Instances of a negative class id are
    crowds: detections on them count neither for nor against. Masks without a pixel are left out.

    Args:
        dataset: prepared, of one source.
        image_ids: internal ids of the images; None: all.
        progress: show a progress bar.

    Raises:
        ValueError: the data set has classes of several sources, so that ids are ambiguous.
    """
    classes = dataset.class_info[1:]
    sources = sorted({info["source"] for info in classes})
    if len(sources) > 1:
        raise ValueError(
            f"dataset: expected classes of one source; received those of {sources}. Evaluate "
            f"each source on its own."
        )
    chosen = list(dataset.image_ids if image_ids is None else image_ids)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id in tqdm(chosen, desc="Ground truth", unit="image", disable=not progress):
        info = dataset.image_info[image_id]
        masks, class_ids = dataset.load_mask(image_id)
        height, width = masks.shape[:2]
        if not len(class_ids):  # masks may then have any size
            height, width = dataset.load_image(image_id).shape[:2]
        images.append({"id": info["id"], "height": height, "width": width})
        for index, class_id in enumerate(class_ids.tolist()):
            if masks[..., index].any():
                category = dataset.class_info[abs(class_id)]["id"]
                entry = _annotation(masks[..., index], info["id"], category, crowd=class_id < 0)
                annotations.append({**entry, "id": len(annotations) + 1})
    categories = [{"id": info["id"], "name": info["name"]} for info in classes]
    return coco_api({"images": images, "annotations": annotations, "categories": categories})


def _annotation(mask: np.ndarray, image_id: Any, category: Any, crowd: bool) -> dict[str, Any]:
    rle = mask_api.encode(np.asfortranarray(mask, np.uint8))
    return {
        "image_id": image_id,
        "category_id": category,
        "iscrowd": int(crowd),
        "area": float(mask_api.area(rle)),
        "bbox": mask_api.toBbox(rle).tolist(),
        "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
    }
