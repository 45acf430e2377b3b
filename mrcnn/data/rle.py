"""COCO's run lengths of predicted masks, without image-sized masks.

A mask's pixels are counted down its columns: how many are outside, inside, outside, and so on.
A predicted mask is false outside its box, so that its box alone, and where it lies, give the
same run lengths as the pasted mask (`mrcnn.data.masks.paste_masks`).

Shape letters: N instances; H, W height and width of the image; h, w of a box or a small mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from mrcnn.data.masks import filled_part, mask_places

Rle = dict[str, Any]  # {"size": [H, W], "counts": compressed bytes}, as pycocotools has it


def encode_in_boxes(
    masks: np.ndarray,
    boxes: np.ndarray,
    image_shape: Sequence[int],
    corners: np.ndarray | None = None,
) -> list[Rle]:
    """Run lengths of predicted masks, byte for byte those of the pasted masks.

    At no time does more than one box's worth of pixels exist.

    Args:
        masks, boxes, image_shape, corners: as in `mrcnn.data.masks.paste_masks`.

    Returns:
        N encodings as `pycocotools.mask.encode` makes them.

    Raises:
        ValueError: as `paste_masks`.
    """
    height, width = (int(side) for side in image_shape[:2])
    encoded = []
    places = mask_places(boxes, corners, len(masks), image_shape)
    for mask, place in zip(masks, places, strict=True):
        corner = (place.pixels[0], place.pixels[1])
        counts = run_lengths(filled_part(mask, place), corner, (height, width))
        encoded.append(
            mask_api.frPyObjects({"size": [height, width], "counts": counts}, height, width)
        )
    return encoded


def run_lengths(part: np.ndarray, corner: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Count the runs of a mask that is false outside a part of it.

    Args:
        part: bool [h, w].
        corner: (y, x) of the part's first pixel in the mask.
        size: (H, W) of the mask.

    Returns:
        int [R], down the columns, the first counting pixels outside (0 where the first pixel is
        inside); their sum is H · W.

    >>> run_lengths(np.ones((2, 2), bool), corner=(1, 1), size=(4, 3)).tolist()
    [5, 2, 2, 2, 1]
    """
    (y, x), (height, width) = corner, size
    columns = np.zeros((part.shape[1], part.shape[0] + 2), bool)
    columns[:, 1:-1] = part.T
    changes = np.flatnonzero(columns[:, 1:] != columns[:, :-1])
    column, row = np.divmod(changes, part.shape[0] + 1)
    ends = (x + column) * height + y + row
    # Where the part is as high as the mask, a run continues from a column into the next one.
    joined = np.flatnonzero(ends[1:] == ends[:-1])
    ends = np.delete(ends, np.concatenate([joined, joined + 1]))
    pixels = height * width
    if len(ends) == 0 or ends[-1] != pixels:
        ends = np.append(ends, pixels)
    return np.diff(ends, prepend=0)
