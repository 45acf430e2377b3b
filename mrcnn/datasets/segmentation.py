"""COCO's "segmentation" of an annotation: polygons or run lengths, checked and rasterized.

Polygons are lists [x1, y1, x2, y2, ...] in pixels. Run lengths ("RLE") go down the columns,
background first, as a list of integers or in the compressed form of pycocotools.

Shape letters: H, W height and width of the image.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from mrcnn.data.coco_fields import POLYGON_MIN_POINTS
from mrcnn.data.rle import run_lengths
from mrcnn.datasets.polygon_filling import POLYGON_MAX_LENGTH, outlines_problem
from mrcnn.files.untrusted import is_finite, is_size

Annotation = dict[str, Any]  # an entry of "annotations" in a COCO json
Rle = dict[str, Any]  # {"size": [H, W], "counts": compressed bytes}

# The ways on from an annotation that training cannot use.
REMEDY = (
    "`mrcnn check DATASET --fix OUT` writes a repaired copy; --skip-invalid (skip_invalid=True) "
    "leaves such annotations out and counts them."
)
# Annotators' points stray a little over the border. Further out than this (in image sides) a
# coordinate is an error, and rasterizing it would take memory without bound.
POLYGON_MARGIN = 1.0
_MERGED_AT_ONCE = 4
# A character of compressed run lengths: five bits of a number, and a flag that more follow.
_OFFSET, _BITS, _SIGN, _MORE = 48, 5, 16, 32
_MAX_CHARACTERS = 7  # of a number; more would exceed 32 bits


def annotation_to_mask(annotation: Annotation, height: int, width: int) -> np.ndarray:
    """Rasterize an annotation: uint8 {0, 1} [H, W]; see `annotation_to_rle`."""
    return mask_api.decode(annotation_to_rle(annotation, height, width))


def annotation_to_rle(
    annotation: Annotation, height: int, width: int, file: str = "annotations"
) -> Rle:
    """Convert polygons or run lengths to one compressed run-length encoding.

    Polygons are rasterized at the image's size and united. Run lengths keep their own size,
    which for anything but a crowd has to be the image's.

    Args:
        annotation: an entry of "annotations" in the json.
        height: of the image, in pixels.
        width: of the image, in pixels.
        file: named in errors.

    Raises:
        ValueError: the segmentation is malformed; names the file and the annotation's id.
    """
    check_structure(annotation, file)
    segmentation = annotation["segmentation"]
    if isinstance(segmentation, dict) and annotation.get("iscrowd"):
        height, width = segmentation["size"]
    check_values(annotation, height, width, file)
    if isinstance(segmentation, list):
        return _unite(mask_api.frPyObjects(segmentation, height, width))
    counts = segmentation["counts"]
    if isinstance(counts, list):
        return mask_api.frPyObjects(segmentation, height, width)
    return {
        "size": segmentation["size"],
        "counts": counts.encode() if isinstance(counts, str) else counts,
    }


def check_values(
    annotation: Annotation, height: int, width: int, file: str = "annotations"
) -> None:
    """Check the coordinates of polygons, or the run lengths, which takes longer than the structure.

    Args:
        annotation: an entry whose structure is right.
        height, width: of the image, in pixels.
        file: named in errors.

    Raises:
        ValueError: the segmentation cannot be rasterized; names the file and the annotation's id.
    """
    segmentation = annotation["segmentation"]
    if isinstance(segmentation, list):
        _refuse(_coordinates_problem(segmentation, height, width), annotation, file)
        return
    size, counts = segmentation["size"], segmentation["counts"]
    if size == [height, width]:
        _refuse(_run_lengths_problem(counts, height * width), annotation, file)
    elif not annotation.get("iscrowd"):  # a crowd of another size covers the image
        problem = f"run lengths of the image's size [{height}, {width}]; received the size {size}"
        _refuse(problem, annotation, file)


def annotation_to_image_rle(
    annotation: Annotation, height: int, width: int, file: str = "annotations"
) -> Rle:
    """`annotation_to_rle`, always of the image's size.

    A crowd whose run lengths have another size covers the whole image, as in Matterport's
    sample: which part of the image they mean is unknown.
    """
    check_structure(annotation, file)
    segmentation = annotation["segmentation"]
    if annotation.get("iscrowd") and isinstance(segmentation, dict):
        if segmentation["size"] != [height, width]:
            whole = {"size": [height, width], "counts": [0, height * width]}
            return mask_api.frPyObjects(whole, height, width)
    return annotation_to_rle(annotation, height, width, file)


def rle_crop(rle: Rle) -> tuple[tuple[int, int, int, int], np.ndarray]:
    """Decode run lengths within their box, which is all that is allocated.

    Args:
        rle: compressed, with at least one pixel inside.

    Returns:
        The tightest box (y1, x1, y2, x2), y2 and x2 exclusive, and bool [y2 - y1, x2 - x1].
    """
    height = rle["size"][0]
    edges = np.cumsum(unpack_run_lengths(rle["counts"]))
    starts, ends = edges[:-1:2], edges[1::2]  # of the runs inside
    columns, rows = np.divmod(starts[ends > starts], height)
    last_columns, last_rows = np.divmod(ends[ends > starts] - 1, height)
    x1, x2 = int(columns[0]), int(last_columns[-1]) + 1
    y1, y2 = 0, height  # where a run continues in the next column
    if np.array_equal(columns, last_columns):
        y1, y2 = int(rows.min()), int(last_rows.max()) + 1
    # The same runs in the box alone, outside and inside in turn.
    starts = (columns - x1) * (y2 - y1) + rows - y1
    ends = (last_columns - x1) * (y2 - y1) + last_rows - y1 + 1
    edges = np.concatenate([[0], np.stack([starts, ends], 1).ravel(), [(y2 - y1) * (x2 - x1)]])
    runs = np.diff(edges)
    inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return (y1, x1, y2, x2), inside.reshape(x2 - x1, y2 - y1).T


def check_structure(annotation: Annotation, file: str = "annotations") -> None:
    """Check what costs little: that it is a list of polygons, or run lengths with a size.

    Raises:
        ValueError: it is neither; names the file and the annotation's id.
    """
    _refuse(_structure_problem(annotation["segmentation"]), annotation, file)


def check_box(annotation: Annotation, file: str = "annotations") -> None:
    """Check that "bbox" is [x, y, width, height], finite, and of some area.

    Raises:
        ValueError: it is not; names the file and the annotation's id.
    """
    box = annotation["bbox"]
    is_box = isinstance(box, list) and len(box) == 4
    if not is_box or not all(is_finite(n) for n in box) or min(box[2:]) <= 0:
        problem = f"[x, y, width, height] with a width and height above 0; received {box!r}"
        _refuse(problem, annotation, file, "bbox")


def box_rle(box: list[float], height: int, width: int) -> Rle:
    """The pixels that an [x, y, width, height] box covers, inside the image."""
    x, y, box_width, box_height = box
    x1, x2 = np.clip(np.round([x, x + box_width]), 0, width).astype(int)
    y1, y2 = np.clip(np.round([y, y + box_height]), 0, height).astype(int)
    inside = np.ones((max(0, y2 - y1), max(0, x2 - x1)), bool)
    counts = run_lengths(inside, (y1, x1), (height, width))
    return mask_api.frPyObjects({"size": [height, width], "counts": counts}, height, width)


def _unite(rles: list[Rle]) -> Rle:
    """The union of masks: `pycocotools.mask.merge`, in time that grows as n log n, not as n².

    It merges one after the other, and goes through all of the union so far for each.
    """
    while len(rles) > 1:
        starts = range(0, len(rles), _MERGED_AT_ONCE)
        rles = [mask_api.merge(rles[start : start + _MERGED_AT_ONCE]) for start in starts]
    return rles[0]


def _refuse(
    problem: str | None, annotation: Annotation, file: str, field: str = "segmentation"
) -> None:
    if problem:
        hint = ""
        if field == "segmentation" and annotation.get("bbox"):
            hint = "--box-only (box_only=True) takes the boxes of annotations without a mask. "
        raise ValueError(
            f"{file}: annotation {annotation.get('id')}, field {field!r}: expected {problem}. "
            f"{hint}{REMEDY}"
        )


def _structure_problem(segmentation: Any) -> str | None:
    if isinstance(segmentation, dict):
        size, counts = segmentation.get("size"), segmentation.get("counts")
        if not (isinstance(size, list) and len(size) == 2 and is_size(*size)):
            return f"a size [height, width] of the run lengths; received {repr(size)[:60]}"
        if not isinstance(counts, (str, bytes, list)):
            return f"counts as a list or a string; received a {type(counts).__name__}"
        return None
    if not isinstance(segmentation, list) or not segmentation:
        return f"a list of polygons, or run lengths; received {repr(segmentation)[:60]}"
    for polygon in segmentation:
        if not isinstance(polygon, list):
            return f"polygons as lists [x1, y1, x2, y2, ...]; received {repr(polygon)[:60]}"
        if len(polygon) < 2 * POLYGON_MIN_POINTS or len(polygon) % 2:
            return (
                f"polygons of at least {POLYGON_MIN_POINTS} points, an x and a y each; received "
                f"one of {len(polygon)} numbers"
            )
    return None


def _coordinates_problem(polygons: list[list[float]], height: int, width: int) -> str | None:
    margin = POLYGON_MARGIN * max(height, width)
    for polygon in polygons:
        for values, side in ((polygon[0::2], width), (polygon[1::2], height)):
            for value in values:
                # The comparison is false for NaN too.
                if not (type(value) in (int, float) and -margin <= value <= side + margin):
                    return (
                        f"coordinates in the image of {height} x {width}; received "
                        f"{repr(value)[:60]}"
                    )
    numbers = sum(map(len, polygons))
    # Each edge is at most three sides long.
    if numbers / 2 * 3 * max(height, width) <= POLYGON_MAX_LENGTH:
        return None
    return outlines_problem([_outline_length(polygon) for polygon in polygons], numbers)


def _outline_length(polygon: list[float]) -> float:
    """In pixels, diagonal ones counted once."""
    points = np.array(polygon, float).reshape(-1, 2)
    return float(np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum())


def _run_lengths_problem(counts: str | bytes | list[int], pixels: int) -> str | None:
    """Say what is wrong with runs that do not add up to the mask.

    pycocotools would leave the rest of the mask uninitialized, or read beyond the end.
    """
    if isinstance(counts, list):
        if not all(type(run) is int for run in counts):
            return f"run lengths as integers; received {repr(counts)[:60]}"
        shortest, total = min(counts, default=0), sum(counts)
    else:
        if isinstance(counts, str) and not counts.isascii():
            return f"run lengths in COCO's compressed form; received {repr(counts)[-60:]}"
        try:
            runs = unpack_run_lengths(counts.encode() if isinstance(counts, str) else counts)
        except ValueError:
            return f"run lengths in COCO's compressed form; received {repr(counts)[-60:]}"
        shortest, total = runs.min(initial=0), runs.sum()
    if shortest < 0 or total != pixels:
        return (
            f"run lengths of 0 or more that sum up to the mask's {pixels} pixels; received the "
            f"sum {total} and the shortest {shortest}"
        )
    return None


def unpack_run_lengths(counts: bytes) -> np.ndarray:
    """Return the int64 run lengths of a compressed string.

    Each number is cut into groups of five bits, lowest first, a character each; the last
    group carries the sign. From the fourth number on, a number is the difference to the last
    but one, because neighboring columns of a mask resemble each other.

    Raises:
        ValueError: the string is broken.

    >>> unpack_run_lengths(b"241").tolist()
    [2, 4, 1]
    """
    digits = np.frombuffer(counts, np.uint8).astype(np.int64) - _OFFSET
    if not digits.size:
        return digits
    ends = np.flatnonzero((digits & _MORE) == 0) + 1
    if digits.min() < 0 or digits.max() >= 2 * _MORE or not ends.size or ends[-1] != len(digits):
        raise ValueError(f"These are not compressed run lengths: {counts[-60:]!r}.")
    starts = np.concatenate([[0], ends[:-1]])
    lengths = ends - starts
    if lengths.max() > _MAX_CHARACTERS:
        raise ValueError(f"Run lengths beyond 32 bits: {counts[-60:]!r}.")
    place = np.arange(len(digits)) - np.repeat(starts, lengths)
    runs = np.add.reduceat((digits & (_MORE - 1)) << (_BITS * place), starts)
    negative = (digits[ends - 1] & _SIGN) != 0
    runs -= negative.astype(np.int64) << (_BITS * lengths)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs
