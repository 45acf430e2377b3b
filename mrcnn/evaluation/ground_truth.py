"""Ground truth for the COCO metrics: of a COCO json, or made from any data set.

Data sets in COCO's format bring it along as json, which `Truth` reads as training reads it. For
the others it is made here, of the masks that `load_mask` gives. An object whose mask has no pixel
is none: no evaluation counts it, as training takes nothing from it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from tqdm import tqdm

from mrcnn.data.coco_fields import read_id
from mrcnn.data.dataset import Dataset
from mrcnn.data.dataset_checks import load_mask
from mrcnn.datasets.coco_json import by_type, coco_api, is_box_only, normalized, read_coco_json
from mrcnn.datasets.segmentation import Annotation, annotation_to_image_rle, box_rle
from mrcnn.evaluation.engines import PYCOCOTOOLS, check_engine
from mrcnn.evaluation.results import Result
from mrcnn.logger import logger

GroundTruth: TypeAlias = "str | os.PathLike[str] | COCO | Truth"


@dataclass(frozen=True)
class Truth:
    """A ground truth as the evaluators of pycocotools need it.

    pycocotools takes fields as they are, and sorts ids: images and categories have numbers here,
    from 1 on in the order of their ids.

    Attributes:
        images: {image id: number}.
        sizes: {number: (height, width)} of the images.
        categories: {category id: number}.
        objects: the annotations, complete, with masks as run lengths of the image's size.
        boxes_only: the numbers of the annotations that have no mask of their own.
        engine: who computes the COCO metrics with it, one of `mrcnn.evaluation.engines.ENGINES`;
            whatever it is, Boundary AP and what matches come from pycocotools.
    """

    images: Mapping[Any, int]
    sizes: Mapping[int, tuple[int, int]]
    categories: Mapping[Any, int]
    objects: Sequence[dict[str, Any]]
    boxes_only: frozenset[int]
    engine: str = PYCOCOTOOLS

    @classmethod
    def of(cls, ground_truth: GroundTruth, engine: str | None = None) -> Truth:
        """Read a ground truth, which is left as it was.

        Args:
            ground_truth: a COCO json file, its `COCO` object, or what this has made of one.
            engine: None: pycocotools, or the one that is named already.

        Raises:
            ValueError: a file is not a COCO json, an entry is one that training refuses, or the
                engine is not installed.
        """
        if engine is not None:
            check_engine(engine)
        if isinstance(ground_truth, Truth):
            return ground_truth if engine is None else replace(ground_truth, engine=engine)
        if isinstance(ground_truth, COCO):
            content, file = normalized(ground_truth.dataset, "ground truth"), "ground truth"
        else:
            file = os.fspath(ground_truth)
            content = normalized(read_coco_json(file), file)
        images, categories = (
            {id: number for number, id in enumerate(sorted(ids, key=by_type), start=1)}
            for ids in (
                {entry["id"] for entry in content[field]} for field in ("images", "categories")
            )
        )
        sizes = {images[e["id"]]: (e["height"], e["width"]) for e in content["images"]}
        objects, boxes_only = [], set()
        # Numbered from 1: the evaluator takes a match with the id 0 for no match.
        for number, annotation in enumerate(content["annotations"], start=1):
            image = images[annotation["image_id"]]
            complete = _complete(annotation, sizes[image], file)
            if complete is None:
                continue
            if is_box_only(annotation):
                boxes_only.add(number)
            complete["id"] = number
            complete["image_id"] = image
            complete["category_id"] = categories[annotation["category_id"]]
            objects.append(complete)
        left_out = len(content["annotations"]) - len(objects)
        if left_out:
            logger.info(
                "Objects left out of the evaluation, because their masks have no pixel: "
                f"{left_out}; training leaves them out too."
            )
        known = (images, sizes, categories, objects, frozenset(boxes_only))
        return cls(*known, engine or PYCOCOTOOLS)

    def with_masks(self) -> COCO:
        """The objects, to compare by their masks.

        Where an object has a box alone, detections count neither for nor against.
        """
        annotations = [
            {**entry, "iscrowd": 1} if entry["id"] in self.boxes_only else entry
            for entry in self.objects
        ]
        return self._api(annotations)

    def with_boxes(self) -> COCO:
        """The objects, to compare by their boxes."""
        return self._api(self.objects)

    def detections(self, annotations: Iterable[dict[str, Any]]) -> COCO:
        """Detections by the numbers of their images and categories; those of others are ignored."""
        return self._api(
            [
                {
                    **annotation,
                    "image_id": self.images[read_id(annotation["image_id"])],
                    "category_id": self.categories.get(read_id(annotation["category_id"]), 0),
                }
                for annotation in annotations
            ]
        )

    def image_numbers(
        self, results: Sequence[Result], image_ids: Iterable[Any] | None
    ) -> list[int]:
        """The numbers of the images to evaluate on, ascending.

        Args:
            results: in COCO's format.
            image_ids: None: all of the ground truth's images.

        Raises:
            ValueError: an image id, or one of a result, is not in the ground truth.
        """
        chosen = set(self.images) if image_ids is None else set(map(read_id, image_ids))
        of_results = {read_id(result["image_id"]) for result in results}
        unknown = sorted((chosen | of_results) - set(self.images), key=str)
        if unknown:
            raise ValueError(
                f"image_ids, results: expected ids of the ground truth's {len(self.images)} "
                f"images; received {len(unknown)} others, such as {unknown[0]!r}. Are they of "
                f"another subset?"
            )
        return sorted(self.images[id] for id in chosen)

    def _api(self, annotations: Sequence[dict[str, Any]]) -> COCO:
        return coco_api(
            {
                "images": [
                    {"id": number, "height": height, "width": width}
                    for number, (height, width) in self.sizes.items()
                ],
                # hotcoco reports categories without a name.
                "categories": [
                    {"id": number, "name": str(number)} for number in self.categories.values()
                ],
                # Copies, because the evaluator writes into them.
                "annotations": [dict(annotation) for annotation in annotations],
            }
        )


def _complete(annotation: Annotation, size: tuple[int, int], file: str) -> dict[str, Any] | None:
    """A copy with all the fields that the evaluators read; None: no pixel belongs to the object."""
    if is_box_only(annotation):
        rle = box_rle(annotation["bbox"], *size)
    else:
        rle = annotation_to_image_rle(annotation, *size, file)
    area = float(mask_api.area(rle))
    if area < 1:
        return None
    complete = {"iscrowd": 0, "area": area, **annotation, "segmentation": rle}
    complete.setdefault("bbox", mask_api.toBbox(rle).tolist())
    return complete


def coco_ground_truth(
    dataset: Dataset, image_ids: Iterable[int] | None = None, progress: bool = True
) -> COCO:
    """Describe the instances of a data set as `mrcnn.evaluation.coco.evaluate_model` wants them.

    Images and categories have the ids of their source. Instances of a negative class id are
    crowds: detections on them count neither for nor against. Masks without a pixel are left out.
    Objects that are boxes alone have no segmentation.

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
    for image_id in tqdm(chosen, desc="Ground truth", unit="image", disable=not progress or None):
        info = dataset.image_info[image_id]
        masks, class_ids = load_mask(dataset, image_id)
        alone = dataset.load_box_only(image_id)
        height, width = masks.shape[:2]
        if not len(class_ids):  # masks may then have any size
            height, width = dataset.load_image(image_id).shape[:2]
        images.append({"id": info["id"], "height": height, "width": width})
        for index, class_id in enumerate(class_ids.tolist()):
            if masks[..., index].any():
                category = dataset.class_info[abs(class_id)]["id"]
                entry = _annotation(masks[..., index], info["id"], category, crowd=class_id < 0)
                if alone is not None and alone[index]:
                    del entry["segmentation"]
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
