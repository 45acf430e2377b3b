"""Annotations of the VGG Image Annotator, 1.x and 2.x (https://www.robots.ox.ac.uk/~vgg/software/via).

An annotation file maps "filename + size" to an image's entry, a project file has the same under
`_via_img_metadata`. An entry's `regions` are a dict (1.x) or a list (2.x) of

    {"shape_attributes": {"name": "polygon", "all_points_x": [...], "all_points_y": [...]},
     "region_attributes": {...}}

Coordinates are pixels of the image as a browser shows it, turned by its EXIF data: x to the right,
y down. Pass `upright=True` to `add_image`, and the size of `width_and_height(path, upright=True)`.

Shape letters: H, W height and width of an image.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.datasets.polygon_filling import inside_polygon
from mrcnn.files.untrusted import is_finite, load_json

# The fields of each shape that has an area. Polylines and points have none.
AREA_SHAPES = {
    "polygon": ("all_points_x", "all_points_y"),
    "rect": ("x", "y", "width", "height"),
    "circle": ("cx", "cy", "r"),
    "ellipse": ("cx", "cy", "rx", "ry"),
}
POLYGON_MIN_POINTS = 3
COORDINATE_LIMIT = 1e7  # pixels; what lies further out was not drawn, and its squares overflow
_BAND_PIXELS = 1 << 22  # of the rows of an ellipse that are computed at once, 8 bytes a number
PROJECT_KEY = "_via_img_metadata"


@dataclass(frozen=True)
class Region:
    """A region of an image.

    Attributes:
        shape: its `shape_attributes`: the `name` of the shape and its coordinates.
        attributes: its `region_attributes`, what the annotator said of it.
        has_area: whether `region_mask` can fill it.
    """

    shape: dict[str, Any]
    attributes: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.shape.get("name"))

    @property
    def has_area(self) -> bool:
        return self.name in AREA_SHAPES


@dataclass(frozen=True)
class AnnotatedImage:
    """An image of an annotation file: its file name and regions, and attributes of the whole."""

    filename: str
    regions: tuple[Region, ...]
    attributes: dict[str, Any]


def read_via_json(file: str | os.PathLike[str]) -> list[AnnotatedImage]:
    """Read an annotation or project file.

    Returns:
        All images in the order of the file, those without regions included.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not such a file, or a region lacks a coordinate.
    """
    path = Path(file)
    try:
        content = load_json(path)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path}: expected a json file of the VGG Image Annotator; there is none."
        ) from None
    except ValueError as error:
        raise ValueError(f"{path}: expected a json file; {error}.") from error
    if isinstance(content, dict) and "project" in content and "metadata" in content:
        raise ValueError(
            f"{path}: a project of VIA 3 has another format. Expected one of VIA 1 or 2; annotate "
            f"with VIA 2, or export from it as json."
        )
    entries = content.get(PROJECT_KEY, content) if isinstance(content, dict) else None
    if not isinstance(entries, dict):
        raise ValueError(
            f"{path}: expected a json object with an entry for each image, or a project with "
            f"{PROJECT_KEY!r}; received {repr(content)[:60]}."
        )
    return [_read_image(entry, f"{path}, image {key!r}") for key, entry in entries.items()]


def region_mask(region: Region, height: int, width: int) -> np.ndarray:
    """Fill a region: the pixels whose centers lie in it, as bool [H, W].

    What lies outside the image is cut off. Time and memory are bounded by the image's pixels and
    the region's numbers.

    Args:
        region: one that has an area.
        height, width: of the image.

    Raises:
        ValueError: it has no area, or the outline of a polygon is too long
            (`mrcnn.datasets.polygon_filling.outlines_problem`).
    """
    shape = region.shape
    if region.name == "polygon":
        try:
            return inside_polygon(shape["all_points_y"], shape["all_points_x"], height, width)
        except ValueError as error:
            raise ValueError(f"region: {error}. Draw it with fewer points in VIA.") from None
    if region.name == "rect":
        y, x = np.ogrid[:height, :width]
        rows = (shape["y"] <= y) & (y < shape["y"] + shape["height"])
        return rows & (shape["x"] <= x) & (x < shape["x"] + shape["width"])
    if region.name == "circle":
        return _ellipse((shape["cx"], shape["cy"]), (shape["r"], shape["r"]), 0, height, width)
    if region.name == "ellipse":
        angle = shape.get("theta", 0)  # since VIA 2.0.9
        radii = (shape["rx"], shape["ry"])
        return _ellipse((shape["cx"], shape["cy"]), radii, angle, height, width)
    raise ValueError(
        f"region: expected a shape that has an area, one of {', '.join(AREA_SHAPES)}; received "
        f"{region.name!r}."
    )


def _ellipse(
    center: tuple[float, float], radii: tuple[float, float], angle: float, height: int, width: int
) -> np.ndarray:
    """The inside of an ellipse, turned clockwise (y points down) by radians: bool [H, W]."""
    rx, ry = radii
    mask = np.empty((height, width), bool)
    x = np.arange(width) - center[0]
    step = max(1, _BAND_PIXELS // width)
    for start in range(0, height, step):
        y = np.arange(start, min(start + step, height))[:, np.newaxis] - center[1]
        along = x * math.cos(angle) + y * math.sin(angle)
        across = y * math.cos(angle) - x * math.sin(angle)
        inside = (along * ry) ** 2 + (across * rx) ** 2 <= (rx * ry) ** 2
        mask[start : start + step] = inside
    return mask


def _read_image(entry: Any, where: str) -> AnnotatedImage:
    if not isinstance(entry, dict) or "filename" not in entry or "regions" not in entry:
        raise ValueError(
            f"{where}: expected an object with 'filename' and 'regions'; received "
            f"{repr(entry)[:60]}. Export the annotations from VIA as json, not as COCO or CSV."
        )
    regions = entry["regions"]
    if isinstance(regions, dict):  # 1.x numbers them: "0", "1", …
        regions = list(regions.values())
    if not isinstance(regions, list):
        raise ValueError(
            f"{where}: expected 'regions' as an object or a list; received {repr(regions)[:60]}."
        )
    return AnnotatedImage(
        str(entry["filename"]),
        tuple(_read_region(r, f"{where}, region {i}") for i, r in enumerate(regions)),
        entry.get("file_attributes") or {},
    )


def _read_region(content: Any, where: str) -> Region:
    shape = content.get("shape_attributes") if isinstance(content, dict) else None
    if not isinstance(shape, dict):
        raise ValueError(
            f"{where}: expected an object with 'shape_attributes'; received {repr(content)[:60]}."
        )
    region = Region(shape, content.get("region_attributes") or {})
    if not is_finite(shape.get("theta", 0)):  # of ellipses, and only since VIA 2.0.9
        raise ValueError(
            f"{where}: expected 'theta' in radians; received {repr(shape['theta'])[:60]}."
        )
    for field in AREA_SHAPES.get(region.name, ()):
        values = shape.get(field) if region.name == "polygon" else [shape.get(field)]
        if not isinstance(values, list) or not all(map(_is_number, values)):
            raise ValueError(
                f"{where}: a {region.name} needs {' and '.join(AREA_SHAPES[region.name])}, in "
                f"pixels; received {repr(shape.get(field))[:60]} as {field!r}. Correct it in VIA."
            )
    if region.name == "polygon":
        counts = [len(shape[field]) for field in AREA_SHAPES["polygon"]]
        if counts[0] != counts[1] or counts[0] < POLYGON_MIN_POINTS:
            raise ValueError(
                f"{where}: a polygon needs as many x as y, {POLYGON_MIN_POINTS} or more; received "
                f"{counts[0]} x and {counts[1]} y. Correct it in VIA."
            )
    return region


def _is_number(value: Any) -> bool:
    return is_finite(value) and abs(value) <= COORDINATE_LIMIT
