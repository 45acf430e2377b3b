"""Predictions as annotations that a person corrects: labelme's files, and a COCO data set.

Both hold polygons. What a polygon cannot hold (holes, specks) is counted in `Losses`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from mrcnn.data.outlines import Outline, area, outline
from mrcnn.files.atomic import atomic_path, write_json
from mrcnn.prediction.prediction import Prediction

# The version of labelme whose files these are like; every later one reads them.
LABELME_VERSION = "5.0.0"
_DECIMALS = 2  # of a pixel
SCORE = "score "  # with which the description of a predicted shape begins


@dataclass
class Losses:
    """What polygons could not hold, counted.

    Attributes:
        holes: in masks, which were filled.
        specks: parts of masks too small for a polygon, which were left out.
        objects: of which nothing was left.
    """

    holes: int = 0
    specks: int = 0
    objects: int = 0

    def add(self, found: Outline) -> None:
        """Count what an outline lost."""
        self.holes += found.holes
        self.specks += found.specks
        self.objects += not found.polygons

    def __str__(self) -> str:
        """A sentence, or "" where nothing was lost."""
        counts = [
            f"{count} {words}"
            for count, words in (
                (self.holes, "holes in masks were filled"),
                (self.specks, "specks of masks were left out"),
                (self.objects, "objects had no pixel and were left out"),
            )
            if count
        ]
        return f"Polygons cannot hold everything: {', '.join(counts)}." if counts else ""


def write_labelme(path: Path, prediction: Prediction, picture: Path, losses: Losses) -> None:
    """Write labelme's file of a picture, and a copy of the picture beside it.

    labelme and every reader of its files look for the picture there. Parts of one object share a
    group.

    Args:
        path: the file to write.
        prediction: what was found in the picture.
        picture: its file.
        losses: counts what polygons cannot hold.

    Raises:
        FileExistsError: the file is there already, and is of another picture, or corrected.
    """
    _expect_replaceable(path, picture.name)
    shapes = []
    for number, ((corner, part), name) in enumerate(
        zip(prediction.parts(), prediction.names, strict=True), start=1
    ):
        found = outline(part, corner)
        losses.add(found)
        shapes += [
            {
                "label": name,
                "points": np.round(polygon, _DECIMALS).tolist(),
                "group_id": number if len(found.polygons) > 1 else None,
                "description": f"{SCORE}{prediction.scores[number - 1]:.3f}",
                "shape_type": "polygon",
                "flags": {},
            }
            for polygon in found.polygons
        ]
    height, width = prediction.size
    beside = path.parent / picture.name
    if not (beside.exists() and beside.samefile(picture)):
        with atomic_path(beside) as temporary:
            shutil.copyfile(picture, temporary)
    write_json(
        path,
        {
            "version": LABELME_VERSION,
            "flags": {},
            "shapes": shapes,
            "imagePath": picture.name,
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        },
    )


def _expect_replaceable(path: Path, picture: str) -> None:
    """Check that a labelme file is not there, or is one of a picture that nobody has changed."""
    if not path.is_file():
        return
    there = json.loads(path.read_text(encoding="utf-8"))
    other = there.get("imagePath")
    if other != picture:
        raise FileExistsError(
            f"{path}: is of the picture {other} already; labelme has one file for it and "
            f"{picture}. Rename one of the two."
        )
    # labelme writes its own version when it saves, and what people draw has no score.
    predicted = there.get("version") == LABELME_VERSION and all(
        str(shape.get("description")).startswith(SCORE) for shape in there.get("shapes", ())
    )
    if not predicted:
        raise FileExistsError(
            f"{path}: has been corrected since it was predicted, and stays as it is. To predict on "
            f"{picture} anew, move it away, or give another --output."
        )


def coco_dataset(
    predictions: Iterable[tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]],
    categories: Mapping[str, Any],
    losses: Losses,
) -> dict[str, Any]:
    """A data set in COCO's form, from which `mrcnn train` and annotation tools read.

    Args:
        predictions: the entry and the results of each picture, as
            `mrcnn.prediction.records.Records.predictions` gives them.
        categories: ids by name.
        losses: counts what polygons cannot hold.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for entry, results in predictions:
        images.append(dict(entry))
        for result in results:
            found = _outline_of(result["segmentation"])
            losses.add(found)
            if not found.polygons:
                continue
            points = np.concatenate(found.polygons)
            (x1, y1), (x2, y2) = points.min(axis=0), points.max(axis=0)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": entry["id"],
                    "category_id": result["category_id"],
                    "segmentation": [
                        np.round(polygon, _DECIMALS).ravel().tolist() for polygon in found.polygons
                    ],
                    "bbox": [round(float(v), _DECIMALS) for v in (x1, y1, x2 - x1, y2 - y1)],
                    "area": round(sum(map(area, found.polygons)), _DECIMALS),
                    "iscrowd": 0,
                    "score": result["score"],
                }
            )
    listed = [{"id": category, "name": name} for name, category in categories.items()]
    return {"images": images, "annotations": annotations, "categories": listed}


def _outline_of(rle: Mapping[str, Any]) -> Outline:
    x, y, width, height = (int(value) for value in mask_api.toBbox(dict(rle)))
    if not width or not height:
        return Outline([])
    part = mask_api.decode(dict(rle))[y : y + height, x : x + width].astype(bool)
    return outline(part, (y, x))
