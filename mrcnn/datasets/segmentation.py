"""COCO's "segmentation" of an annotation: polygons or run lengths, checked and rasterized.

Polygons are lists [x1, y1, x2, y2, ...] in pixels. Run lengths ("RLE") go down the columns,
background first, as a list of integers or in the compressed form of pycocotools.

Shape letters: H, W height and width of the image.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as mask_api

Annotation = dict[str, Any]  # an entry of "annotations" in a COCO json
Rle = dict[str, Any]  # {"size": [H, W], "counts": compressed bytes}

POLYGON_MIN_POINTS = 3
# Annotators' points stray a little over the border. Further out than this (in image sides) a
# coordinate is an error, and rasterizing it would take memory without bound.
POLYGON_MARGIN = 1.0
# A character of compressed run lengths: five bits of a number, and a flag that more follow.
_OFFSET, _BITS, _SIGN, _MORE = 48, 5, 16, 32
_MAX_CHARACTERS = 7  # of a number; more would exceed 32 bits


def annotation_to_mask(annotation: Annotation, height: int, width: int) -> np.ndarray:
    """Rasterize an annotation: uint8 {0, 1} [H, W]; see `annotation_to_rle`."""
    return mask_api.decode(annotation_to_rle(annotation, height, width))


def annotation_to_rle(
    annotation: Annotation, height: int, width: int, file: str = "annotations"
) -> Rle:
    """Bring polygons or run lengths to one compressed run-length encoding.

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
    if isinstance(segmentation, list):
        _refuse(_coordinates_problem(segmentation, height, width), annotation, file)
        return mask_api.merge(mask_api.frPyObjects(segmentation, height, width))
    size, counts = segmentation["size"], segmentation["counts"]
    if size != [height, width] and not annotation.get("iscrowd"):
        problem = f"run lengths of the image's size [{height}, {width}]; received the size {size}"
        _refuse(problem, annotation, file)
    _refuse(_run_lengths_problem(counts, size[0] * size[1]), annotation, file)
    if isinstance(counts, list):
        return mask_api.frPyObjects(segmentation, *size)
    return {"size": size, "counts": counts.encode() if isinstance(counts, str) else counts}


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


def check_structure(annotation: Annotation, file: str = "annotations") -> None:
    """Check what costs little: that it is a list of polygons, or run lengths with a size.

    Raises:
        ValueError: it is neither; names the file and the annotation's id.
    """
    _refuse(_structure_problem(annotation["segmentation"]), annotation, file)


def _refuse(problem: str | None, annotation: Annotation, file: str) -> None:
    if problem:
        raise ValueError(
            f"{file}: annotation {annotation.get('id')}, field 'segmentation': expected {problem}. "
            f"Correct the annotation or take it out of the file."
        )


def _structure_problem(segmentation: Any) -> str | None:
    if isinstance(segmentation, dict):
        size, counts = segmentation.get("size"), segmentation.get("counts")
        if not (isinstance(size, list) and len(size) == 2 and all(_is_length(n) for n in size)):
            return f"a size [height, width] of the run lengths; received {size!r}"
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


def _is_length(value: Any) -> bool:
    return isinstance(value, int) and value > 0


def _coordinates_problem(polygons: list[list[float]], height: int, width: int) -> str | None:
    margin = POLYGON_MARGIN * max(height, width)
    for polygon in polygons:
        for values, side in ((polygon[0::2], width), (polygon[1::2], height)):
            for value in values:
                # The comparison is false for NaN too.
                if not (isinstance(value, (int, float)) and -margin <= value <= side + margin):
                    return f"coordinates in the image of {height} x {width}; received {value!r}"
    return None


def _run_lengths_problem(counts: str | bytes | list[int], pixels: int) -> str | None:
    """Say what is wrong with runs that do not add up to the mask.

    pycocotools would leave the rest of the mask uninitialized, or read beyond the end.
    """
    if isinstance(counts, list):
        if not all(isinstance(run, int) for run in counts):
            return f"run lengths as integers; received {repr(counts)[:60]}"
        shortest, total = min(counts, default=0), sum(counts)
    else:
        runs = unpack_run_lengths(counts.encode() if isinstance(counts, str) else counts)
        if runs is None:
            return f"run lengths in COCO's compressed form; received {repr(counts)[-60:]}"
        shortest, total = runs.min(initial=0), runs.sum()
    if shortest < 0 or total != pixels:
        return (
            f"run lengths of 0 or more that sum up to the mask's {pixels} pixels; received the "
            f"sum {total} and the shortest {shortest}"
        )
    return None


def unpack_run_lengths(counts: bytes) -> np.ndarray | None:
    """Return the int64 run lengths of a compressed string, or None for a broken string.

    Each number is cut into groups of five bits, lowest first, a character each; the last
    group carries the sign. From the fourth number on, a number is the difference to the last
    but one, because neighboring columns of a mask resemble each other.
    """
    digits = np.frombuffer(counts, np.uint8).astype(np.int64) - _OFFSET
    if not digits.size:
        return digits
    ends = np.flatnonzero((digits & _MORE) == 0) + 1
    if digits.min() < 0 or digits.max() >= 2 * _MORE or not ends.size or ends[-1] != len(digits):
        return None
    starts = np.concatenate([[0], ends[:-1]])
    lengths = ends - starts
    if lengths.max() > _MAX_CHARACTERS:
        return None
    place = np.arange(len(digits)) - np.repeat(starts, lengths)
    runs = np.add.reduceat((digits & (_MORE - 1)) << (_BITS * place), starts)
    negative = (digits[ends - 1] & _SIGN) != 0
    runs -= negative.astype(np.int64) << (_BITS * lengths)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs
