"""All exports, and what is right of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.datasets.exports import (
    coco,
    coco_annotator,
    cvat,
    fiftyone,
    label_studio,
    labelme,
    makesense,
    roboflow,
    via,
)


@dataclass(frozen=True)
class Export:
    """An export, and what is right of it.

    Attributes:
        write: writes it.
        json: of the training, below its folder.
        images: the folder of those images, below its folder.
        findings: what the doctor says of it, but for what it says of any so small data set.
        validates: it has a subset "val", of two pictures.
        objects: in the training, by the name of their class.
        stops: the message of the reader where it refuses the export as it is.
        repaired: what `--fix` keeps: objects, or None where no copy can be written.
        options: "box_only", "crowds_as_objects", "follow_links": with them it is read or repaired.
    """

    write: Callable[[Path], None]
    json: str
    images: str
    findings: frozenset[str] = frozenset()
    validates: bool = False
    objects: int = 6
    stops: str = ""
    repaired: int | None = 6
    options: frozenset[str] = frozenset()


def export(
    write: Callable[[Path], None], json: str, images: str, *findings: str, **rest: Any
) -> Export:
    return Export(write, json, images, frozenset(findings), **rest)


BOX_ONLY = frozenset(["box_only"])
DEFAULT = "annotations/instances_default.json"
VIA = "via_project_29Nov2026_5h0m_coco.json"
MAKESENSE = "labels_my-project-name_2026-11-29-05-00-00.json"

EXPORTS = (
    export(
        *(coco.coco_2017, "annotations/instances_train2017.json", "train2017", "crowd"),
        validates=True,
        objects=7,
        repaired=7,
    ),
    export(
        roboflow.roboflow,
        *("train/_annotations.coco.json", "train", "category-placeholder", "class-empty"),
        validates=True,
    ),
    export(
        roboflow.roboflow_boxes,
        *("train/_annotations.coco.json", "train"),
        *("category-placeholder", "class-empty", "box-only"),
        validates=True,
        stops="There is a 'bbox': --box-only",
        options=BOX_ONLY,
    ),
    export(cvat.cvat, DEFAULT, "images/default"),
    export(cvat.cvat_folders, DEFAULT, "images/default"),
    export(cvat.cvat_merged, DEFAULT, "images"),
    export(cvat.cvat_project, "annotations/instances_Train.json", "images/Train", validates=True),
    export(
        *(cvat.cvat_brush, DEFAULT, "images/default", "only-crowds", "crowd"),
        options=frozenset(["crowds_as_objects"]),
    ),
    export(
        *(cvat.cvat_boxes, DEFAULT, "images/default", "box-only"),
        stops="There is a 'bbox': --box-only",
        options=BOX_ONLY,
    ),
    export(fiftyone.fiftyone, "labels.json", "data"),
    export(
        *(fiftyone.fiftyone_boxes, "labels.json", "data", "box-only"),
        stops="There is a 'bbox': --box-only",
        options=BOX_ONLY,
    ),
    export(
        *(fiftyone.fiftyone_links, "labels.json", "data", "path-link", "no-images"),
        stops="MRCNN_FOLLOW_LINKS=1",
        options=frozenset(["follow_links"]),
    ),
    export(label_studio.label_studio, "result.json", "."),
    export(
        *(label_studio.label_studio_boxes, "result.json", ".", "box-only"),
        stops="There is a 'bbox': --box-only",
        options=BOX_ONLY,
    ),
    export(
        *(label_studio.label_studio_windows, "result.json", ".", "path-backslash", "no-images"),
        stops=r"'images/72688b1a-0\.jpg', which exists",
    ),
    export(
        label_studio.label_studio_project_folder,
        *("result.json", "images", "path-elsewhere", "no-images"),
        stops=r"'72688b1a-0\.jpg' is a file there",
    ),
    export(
        *(
            label_studio.label_studio_outside,
            "result.json",
            "images",
            "path-elsewhere",
            "no-images",
        ),
        stops=r"'72688b1a-0\.jpg' is a file there",
    ),
    export(
        *(label_studio.label_studio_no_size, "result.json", ".", "image-entry"),
        stops="image 3, field 'height'",
    ),
    export(
        *(label_studio.label_studio_two_annotators, "result.json", ".", "image-file-twice"),
        objects=8,
        repaired=8,
    ),
    export(
        *(label_studio.label_studio_keypoints, "result.json", ".", "segmentation-missing"),
        stops="annotation 6: expected the field 'segmentation'",
    ),
    export(
        label_studio.label_studio_category,
        *("result.json", ".", "annotation-form", "category-form"),
    ),
    export(label_studio.label_studio_brush, "result_coco.json", "images"),
    export(coco_annotator.coco_annotator, "nuts-1.json", "nuts"),
    export(coco_annotator.coco_annotator_server, ".exports/coco-1732863600.1234567.json", "."),
    export(makesense.makesense, MAKESENSE, "."),
    export(
        *(makesense.makesense_unlabelled, MAKESENSE, ".", "annotation-entry"),
        stops="annotation 1: expected the field 'category_id'",
        repaired=5,
    ),
    export(via.via, VIA, "."),
    export(
        *(via.via_points, VIA, ".", "area-malformed", "annotation-form", "segmentation-missing"),
        stops="annotation 7, field 'area'",
    ),
    export(
        *(via.via_same_ids, VIA, ".", "image-id-twice", "annotation-twice"),
        stops="10 is the id of 0.jpg and of 1.jpg",
        repaired=2,
    ),
    export(
        *(
            via.via_null_categories,
            VIA,
            ".",
            "category-entry",
            "annotation-entry",
            "no-annotations",
        ),
        stops="category None, field 'id'",
        repaired=None,
    ),
    export(via.via_208, "via_export_coco.json", ".", "annotation-form", "category-repeated"),
    export(labelme.labelme, "annotations.json", ".", "class-empty"),
    export(labelme.labelme2coco, "dataset.json", "."),
    export(
        *(labelme.labelme2coco_absolute, "dataset.json", ".", "path-elsewhere", "no-images"),
        stops=r"'photos/0\.jpg' is a file there",
    ),
)
