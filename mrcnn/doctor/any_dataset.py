"""A data set of any format, as the entries that the checks read: its images and objects.

Objects are known by their masks only. What files say beyond them (outlines, boxes, sizes)
is checked where the format is COCO's.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pycocotools import mask as mask_api
from tqdm import tqdm

from mrcnn.config import Config
from mrcnn.data.coco_fields import Entry
from mrcnn.data.dataset import Dataset
from mrcnn.data.dataset_checks import Objects, describe_image, read_objects
from mrcnn.data.orientation import exif_orientation, is_upright
from mrcnn.data.rle import run_lengths
from mrcnn.doctor.findings import Finding, Kind, report, stops_at_step
from mrcnn.doctor.subset import Subset
from mrcnn.files.image_file import SIDEWAYS, open_image, orientation_of

OBJECTS_REFUSED = stops_at_step(
    *("objects-refused", "image", "", "objects that the data set can read", "{problem}")
)
IMAGE_REFUSED = stops_at_step(
    *("image-refused", "image", "", "a picture that the data set can read", "{problem}")
)
KINDS: tuple[Kind, ...] = (OBJECTS_REFUSED, IMAGE_REFUSED)


def read_dataset(
    dataset: Dataset, name: str, config: Config, progress: bool = True
) -> tuple[Subset, list[Finding]]:
    """Read all objects of a data set.

    Args:
        dataset: prepared.
        name: of the subset, such as "train".
        config: settings of the training; NUM_CLASSES is the data set's.
        progress: show a progress bar.

    Returns:
        The entries of its images and objects, and what was found while they were read. An object is
        named by its image's id and its number in it. There is no json to repair.
    """
    subset = Subset(name, Path(type(dataset).__name__), Path(os.devnull))
    subset.exif_orientation = config.EXIF_ORIENTATION
    subset.categories = {
        class_id: info["name"] for class_id, info in enumerate(dataset.class_info) if class_id
    }
    findings: list[Finding] = []
    ids = Counter(str(info["id"]) for info in dataset.image_info)
    for image_id in tqdm(
        dataset.image_ids, desc=f"Read {name}", unit="image", disable=not progress or None
    ):
        info = dataset.image_info[image_id]
        id = info["id"] if ids[str(info["id"])] == 1 else f"{info['source']}.{info['id']}"
        path = info.get("path")
        is_file = isinstance(path, (str, os.PathLike)) and os.path.isfile(path)
        image: Entry = {"id": id, "file_name": os.path.abspath(path) if is_file else None}
        try:
            if is_file:
                size = _seen_size(path, info, config)
            else:
                size = dataset.load_image(image_id).shape[:2]
        except Exception as error:  # readers of users, and Pillow's on broken files, raise anything
            if is_file:  # the check of the file says why
                subset.images.append({**image, "height": 1, "width": 1})
            else:
                findings.append(_refusal(IMAGE_REFUSED, subset, id, error))
            continue
        image |= {"height": size[0], "width": size[1]}
        try:
            objects = read_objects(
                *(dataset, image_id, (*size, 3), config, describe_image(dataset, image_id))
            )
        except Exception as error:
            findings.append(_refusal(OBJECTS_REFUSED, subset, id, error))
            continue
        if info.get("upright"):
            subset.upright |= {id}
        subset.images.append(image)
        annotations = list(_entries(objects, size, id))
        if annotations:
            subset.annotations[id] = annotations
    # As a json would say it; makes the subset a readable one.
    subset.content = {"images": subset.images, "annotations": [], "categories": []}
    return subset, findings


def _seen_size(path: str, info: dict[str, Any], config: Config) -> tuple[int, int]:
    """(height, width) of a picture as training sees it: turned by its EXIF data or not."""
    with open_image(path) as file, exif_orientation(config.EXIF_ORIENTATION):
        turned = is_upright(info, file) and orientation_of(file) in SIDEWAYS
        return (file.width, file.height) if turned else (file.height, file.width)


def _entries(objects: Objects, size: tuple[int, int], image_id: Any) -> Iterator[Entry]:
    instances = objects.instances
    columns = (instances.class_ids.tolist(), instances.boxes.tolist(), instances.crops)
    for number, (class_id, box, crop) in enumerate(zip(*columns, strict=True)):
        counts = run_lengths(crop, (box[0], box[1]), size)
        rle = mask_api.frPyObjects({"size": list(size), "counts": counts}, *size)
        entry: Entry = {
            "id": f"{image_id}/{number}",
            "image_id": image_id,
            "category_id": abs(class_id),
            "iscrowd": int(class_id < 0),
        }
        if objects.box_only[number]:
            entry["bbox"] = mask_api.toBbox(rle).tolist()
        else:
            entry["segmentation"] = {"size": list(size), "counts": rle["counts"].decode()}
        yield entry


def _refusal(kind: Kind, subset: Subset, id: Any, error: Exception) -> Finding:
    problem = f"{type(error).__name__}: {error}".rstrip(".")
    return report(kind, subset.name, subset.file, id, problem=problem)
