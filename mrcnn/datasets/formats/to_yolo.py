"""Writing a data set as YOLO's text files, with a data.yaml."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from scipy.spatial.distance import cdist

from mrcnn.datasets.coco_json import is_box_only
from mrcnn.datasets.formats.outlines_of import polygons_of
from mrcnn.datasets.formats.parts import Part, Picture, class_names
from mrcnn.datasets.formats.place_images import place_image

JOINED = "objects of several parts joined by lines, because a line of text is one polygon"
BOXES = "boxes without masks written as boxes"
_MOST_COMPARED = 500  # corners of a part, when two parts are joined


def write_yolo(parts: Sequence[Part], out: Path) -> None:
    """Write `images/SUBSET/a.jpg`, `labels/SUBSET/a.txt` and `data.yaml`.

    Raises:
        ValueError: two images of a folder differ in their suffix alone.
    """
    names = class_names(parts)
    for part in parts:
        for picture in part.pictures:
            images = out / "images" / part.name
            name = place_image(picture, images, turns=True, counts=part.counts)
            file = out / "labels" / part.name / PurePosixPath(name).with_suffix(".txt")
            if file.exists():
                raise ValueError(
                    f"{file}: expected one image of that name; {picture.path} and another one "
                    f"differ in their suffix alone. Rename one of them."
                )
            file.parent.mkdir(parents=True, exist_ok=True)
            lines = [f"{line}\n" for line in _lines(part, picture, names)]
            file.write_text("".join(lines), encoding="utf-8")
    # A text of JSON is one of YAML, with any letters in a name.
    table = [
        f"  {number}: {json.dumps(name, ensure_ascii=False)}" for number, name in enumerate(names)
    ]
    places = [f"{part.name}: images/{part.name}" for part in parts]
    lines = [*places, "names:", *table]
    (out / "data.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _lines(part: Part, picture: Picture, names: list[str]) -> Iterator[str]:
    height, width = picture.size
    sides = np.array([width, height], float)
    for annotation in part.objects(picture):
        number = names.index(part.categories[annotation["category_id"]])
        if is_box_only(annotation):
            corner, box = np.array(annotation["bbox"], float).reshape(2, 2) / sides
            part.counts[BOXES] += 1
            values = [*(corner + box / 2), *box]
        else:
            polygons = polygons_of(annotation, picture.size, str(part.file), part.counts)
            if not polygons:
                continue
            part.counts[JOINED] += len(polygons) > 1
            values = np.clip(joined(polygons) / sides, 0, 1).ravel().tolist()
        yield " ".join([str(number), *(f"{value:.6g}" for value in values)])


def joined(polygons: Sequence[np.ndarray]) -> np.ndarray:
    """One polygon of several: a line to the nearest corner of the next one, and back.

    Args:
        polygons: float [P, 2] each.
    """
    ring = polygons[0]
    rest = list(polygons[1:])
    while rest:
        some = _some(len(ring))
        found = []
        for polygon in rest:
            others = _some(len(polygon))
            distances = cdist(ring[some], polygon[others])
            i, j = np.unravel_index(distances.argmin(), distances.shape)
            found.append((float(distances[i, j]), int(some[i]), int(others[j])))
        nearest = min(range(len(rest)), key=lambda k: found[k][0])
        _, i, j = found[nearest]
        polygon = rest.pop(nearest)
        turned = np.roll(polygon, -j, axis=0)
        ring = np.concatenate([ring[: i + 1], turned, turned[:1], ring[i:]])
    return ring


def _some(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, _MOST_COMPARED)).astype(int))
