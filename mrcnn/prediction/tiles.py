"""Large pictures in tiles that overlap, and their detections merged across the borders.

An object that a border cuts is seen whole by the neighbouring tile where the overlap is at least as
large as the object. Of two detections of one class from different tiles, of which one covers at
least half of the other's mask, one is kept: a whole one rather than one that a border cuts, and
otherwise the surer. (SAHI compares in the same way: Akyon et al. 2022, arXiv 2202.06934.)

Shape letters: N detections; H, W height and width of the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as mask_api

from mrcnn.config import Config
from mrcnn.data.rle import encode_in_boxes
from mrcnn.inference.detector import CompactResult, Detector
from mrcnn.logger import logger

# The share of the smaller mask from which two detections are of one object.
COVERED = 0.5
# A detection that comes so near to a border within the picture, in pixels, is cut by it.
_AT_BORDER = 1.5
_IN_PIXELS = ("rois", "boxes", "mask_areas", "mask_corners")
_PER_DETECTION = ("class_ids", "scores", "box_masks", *_IN_PIXELS)


class Tiling(NamedTuple):
    """How pictures are cut, in pixels of the picture."""

    side: int
    overlap: int

    def check(self) -> None:
        """Raises ValueError where tiles would not advance."""
        if self.side < 1 or not 0 <= self.overlap < self.side:
            raise ValueError(
                f"tile and overlap: expected a tile of at least 1 pixel and an overlap from 0 to "
                f"less than it; received {self.side} and {self.overlap}."
            )

    def corners(self, height: int, width: int) -> list[tuple[int, int]]:
        """(y, x) of the tiles of a picture, row by row; together they cover it."""
        return [(y, x) for y in self._starts(height) for x in self._starts(width)]

    def _starts(self, length: int) -> list[int]:
        step = self.side - self.overlap
        last = max(0, length - self.side)
        # The last tile ends where the picture does.
        return [*range(0, last, step), last]


class Whole(NamedTuple):
    """A picture that is yet to be cut."""

    image: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """Pictures of one shape have equal tiles."""
        return self.image.shape


class Tiled:
    """A detector that looks at each tile of a picture on its own.

    It has the steps of a `mrcnn.inference.detector.Detector`, so that `mrcnn.evaluation` and
    `mrcnn.prediction` take it in its place. Beside the picture, only a batch of tiles is in memory.

    Args:
        detector: for the tiles.
        tiling: how pictures are cut.
    """

    def __init__(self, detector: Detector, tiling: Tiling) -> None:
        tiling.check()
        self.config: Config = detector.config
        self.tiling = tiling
        self._detector = detector
        self._said = False

    @property
    def batch_size(self) -> int:
        """Pictures at a time; the network's batches are of tiles."""
        return 1

    def prepare(self, image: np.ndarray) -> Whole:
        """Nothing: tiles are resized when their turn comes."""
        return Whole(image)

    def detect_batch(self, batch: Sequence[Whole]) -> list[CompactResult]:
        """As `mrcnn.inference.detector.Detector.detect_batch`."""
        return [self._detect(whole.image) for whole in batch]

    def _detect(self, image: np.ndarray) -> CompactResult:
        side, size = self.tiling.side, self._detector.batch_size
        corners = self.tiling.corners(*image.shape[:2])
        found: list[CompactResult] = []
        for first in range(0, len(corners), size):
            # The tiles of a picture have one shape.
            tiles = [image[y : y + side, x : x + side] for y, x in corners[first : first + size]]
            found += self._detector.detect_batch(list(map(self._detector.prepare, tiles)))
        shapes = [result["image_shape"] for result in found]
        cut = np.concatenate(
            [
                cut_by_border(result["boxes"], corner, shape, image.shape)
                for result, corner, shape in zip(found, corners, shapes, strict=True)
            ]
        )
        tile_of = np.repeat(np.arange(len(found)), [len(result["scores"]) for result in found])
        together = _moved(found, corners)
        together["image_shape"] = image.shape
        kept = merge(together, tile_of, cut)
        self._say_if_cut(int(cut[kept].sum()))
        return {
            name: value[kept] if name in _PER_DETECTION and value is not None else value
            for name, value in together.items()
        }

    def _say_if_cut(self, count: int) -> None:
        if count and not self._said:
            self._said = True
            logger.warning(
                f"{count} detections of a picture end at the border of a tile, and no neighbouring "
                f"tile found them whole: objects larger than the overlap of {self.tiling.overlap} "
                "pixels come in parts. A larger --overlap (or --tile) shows them whole. (Further "
                "pictures may have some too; this is said once.)"
            )


def cut_by_border(
    boxes: np.ndarray,
    corner: tuple[int, int],
    tile_shape: Sequence[int],
    image_shape: Sequence[int],
) -> np.ndarray:
    """Which boxes of a tile touch a border that lies within the picture: bool [N].

    Args:
        boxes: [N, 4], in pixels of the tile.
        corner: (y, x) of the tile in the picture.
        tile_shape, image_shape: (height, width, …).
    """
    boxes = np.asarray(boxes).reshape(-1, 4)
    cut = np.zeros(len(boxes), bool)
    for axis in (0, 1):
        if corner[axis] > 0:
            cut |= boxes[:, axis] < _AT_BORDER
        if corner[axis] + tile_shape[axis] < image_shape[axis]:
            cut |= boxes[:, axis + 2] > tile_shape[axis] - _AT_BORDER
    return cut


def merge(found: CompactResult, tile_of: np.ndarray, cut: np.ndarray) -> np.ndarray:
    """The detections that stay, the surest first: int [K].

    Detections of the same tile do not compete: the network has suppressed its own.

    Args:
        found: of all tiles, in pixels of the picture.
        tile_of: int [N], the tile of each detection.
        cut: bool [N], of `cut_by_border`.
    """
    scores, boxes = np.asarray(found["scores"]), np.asarray(found["boxes"], np.float32)
    rles = encode_in_boxes(
        found["box_masks"], found["mask_areas"], found["image_shape"], found["mask_corners"]
    )
    tile_of, class_ids = np.asarray(tile_of), np.asarray(found["class_ids"])
    kept = np.zeros(len(scores), bool)
    for index in np.lexsort((-scores, cut)).tolist():  # the whole ones first
        rivals = kept & (tile_of != tile_of[index]) & (class_ids == class_ids[index])
        rivals &= (boxes[:, :2] < boxes[index, 2:]).all(axis=1)
        rivals &= (boxes[:, 2:] > boxes[index, :2]).all(axis=1)
        others = np.flatnonzero(rivals)
        kept[index] = all(_covered(rles[index], rles[other]) < COVERED for other in others)
    order = np.flatnonzero(kept)
    return order[np.argsort(-scores[order], kind="stable")]


def _covered(one: Any, other: Any) -> float:
    """The shared pixels of two masks, as a share of the smaller one."""
    # With `iscrowd` the API divides by the first one's area.
    first = mask_api.iou([one], [other], [1])[0, 0]
    second = mask_api.iou([other], [one], [1])[0, 0]
    return float(max(first, second))


def _moved(found: Sequence[CompactResult], corners: Sequence[tuple[int, int]]) -> CompactResult:
    """The detections of tiles together, in pixels of the picture."""
    moved: dict[str, Any] = {}
    for name in _PER_DETECTION:
        values = []
        for result, (y, x) in zip(found, corners, strict=True):
            value = result[name]
            if value is not None and name in _IN_PIXELS:
                value = value + np.asarray([y, x, y, x], value.dtype)
            values.append(value)
        moved[name] = None if any(value is None for value in values) else np.concatenate(values)
    return moved
