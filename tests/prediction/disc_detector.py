"""A detector that is never wrong: it finds bright discs, whatever part of them it sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.ndimage import find_objects, label

from mrcnn.config import Config
from tests.tiny import tiny_config

MASK_SIDE = 56


class Seen(NamedTuple):
    image: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return self.image.shape


class DiscDetector:
    """Each connected bright part is an object; of class 2 where it is green. A part's share of the
    picture's brightness is its score."""

    def __init__(self, batch_size: int = 2) -> None:
        self.config: Config = tiny_config()
        self.batch_size = batch_size
        self.largest = 0
        self.batches: list[int] = []

    def prepare(self, image: np.ndarray) -> Seen:
        return Seen(image)

    def detect_batch(self, batch: Sequence[Seen]) -> list[dict[str, Any]]:
        assert 0 < len(batch) <= self.batch_size
        assert len({seen.shape for seen in batch}) == 1
        self.batches.append(len(batch))
        self.largest = max(self.largest, max(seen.image.size for seen in batch))
        return [self._find(seen.image) for seen in batch]

    def _find(self, image: np.ndarray) -> dict[str, Any]:
        numbered, _ = label(image.max(axis=2) > 128)
        boxes, masks, classes, scores = [], [], [], []
        for number, (rows, columns) in enumerate(find_objects(numbered), start=1):
            part = numbered[rows, columns] == number
            boxes.append([rows.start, columns.start, rows.stop, columns.stop])
            nearest = [
                np.minimum((np.arange(MASK_SIDE) + 0.5) * side / MASK_SIDE, side - 1).astype(int)
                for side in part.shape
            ]
            masks.append(part[np.ix_(*nearest)].astype(np.float32))
            color = image[rows, columns][part].mean(axis=0)
            classes.append(2 if color[1] > color[0] else 1)
            scores.append(min(1.0, 0.3 + part.sum() / 2000))
        boxes = np.asarray(boxes, np.int32).reshape(-1, 4)
        return {
            "rois": boxes,
            "boxes": boxes.astype(np.float64),
            "mask_areas": boxes.astype(np.float64),
            "class_ids": np.asarray(classes, np.int32),
            "scores": np.asarray(scores, np.float32),
            "box_masks": np.asarray(masks, np.float32).reshape(-1, MASK_SIDE, MASK_SIDE),
            "mask_corners": None,
            "image_shape": image.shape,
        }


def discs(
    height: int, width: int, centers: Sequence[tuple[int, int]], radius: int = 12, green: int = 0
) -> np.ndarray:
    """White discs on black; the first `green` of them are green."""
    image = np.zeros((height, width, 3), np.uint8)
    y, x = np.mgrid[:height, :width]
    for number, (row, column) in enumerate(centers):
        inside = (y - row) ** 2 + (x - column) ** 2 <= radius**2
        image[inside] = (0, 255, 0) if number < green else 255
    return image
