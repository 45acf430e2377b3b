"""From the network's detections to a picture's pixels, as part of a graph.

A twin of `mrcnn.data.unmolding`, which explains the two ways of DETECTION_BOXES, and of
`mrcnn.data.masks.paste_masks`. Shape letters: D slots; H, W sides of the picture; m sides of the
masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from keras import ops

from mrcnn.config import Config
from mrcnn.data.masks import MASK_THRESHOLD
from mrcnn.data.unmolding import ROUNDING
from mrcnn.ops.tensor import Tensor


class Placed(NamedTuple):
    """Detections in a picture."""

    boxes: Tensor  # float32 [1, D, 4] in pixels
    mask_corners: Tensor  # float32 [1, D, 4]: the points of the mask's first and last value
    mask_areas: Tensor  # float32 [1, D, 4]: within which masks have pixels; mostly the boxes
    kept: Tensor  # bool [1, D]: has a class and an area


def in_pixels(
    detections: Tensor,
    molded_size: Sequence[int],
    window: Tensor,
    picture: Tensor,
    config: Config,
) -> Placed:
    """Move detections to the picture.

    Args:
        detections: [1, D, 6] of the network, boxes normalized.
        molded_size: (height, width) of the network's input.
        window: [4], the picture's place in it, in pixels.
        picture: float32 [2], its height and width.
        config: for DETECTION_BOXES, for the form of the mask targets in training, and for the
            architecture's way to paste masks.
    """
    boxes = detections[..., :4]
    found = detections[..., 4] > 0
    scale = (window[2:] - window[:2]) / picture
    sides = ops.concatenate([picture, picture])
    if config.DETECTION_BOXES == "matterport":
        boxes = _matterport_boxes(boxes, molded_size, window, picture)
        length = boxes[..., 2:] - boxes[..., :2]
        inset = length * (0.5 / np.array(config.MASK_SHAPE, np.float32))
        corners = _inset(boxes, inset)
        found = found & ops.all(length > 0, axis=-1)
        return _with_areas(Placed(boxes, corners, boxes, found), boxes, picture, config)

    last = np.array([side - 1 for side in molded_size] * 2, np.float32)
    molded = boxes * last + np.array([0, 0, 1, 1], np.float32)
    edges = (molded - ops.tile(window[:2], 2)) / ops.tile(scale, 2)
    length = edges[..., 2:] - edges[..., :2]
    if config.USE_MINI_MASK:
        inset = length * (0.5 / np.array(config.MINI_MASK_SHAPE[:2], np.float32))
    else:
        inset = ops.minimum(0.5 / scale, 0.5 * length)
    boxes = ops.maximum(ops.minimum(edges, sides), 0.0)
    sides_in_network = (boxes[..., 2:] - boxes[..., :2]) * scale
    found = found & ops.all(sides_in_network > ROUNDING, axis=-1)
    exact, boxes = boxes, _at_least_a_pixel(boxes)
    return _with_areas(Placed(boxes, _inset(edges, inset), boxes, found), exact, picture, config)


def _with_areas(placed: Placed, exact: Tensor, picture: Tensor, config: Config) -> Placed:
    """The same, or for masks with a border the twin of `mrcnn.data.unmolding.with_border`.

    Args:
        placed: with masks that have none.
        exact: [1, D, 4] boxes before they get a pixel at least.
        picture: float32 [2], height and width.
        config: for the architecture and MASK_SHAPE.
    """
    pasting = config.architecture().mask_pasting
    if pasting == "box":
        return placed
    side = config.MASK_SHAPE[0]
    sides = ops.concatenate([picture, picture])
    if pasting == "samples":
        around = _inset(exact, (exact[..., 2:] - exact[..., :2]) * (-0.5 / side))
        areas = ops.maximum(ops.minimum(around, sides), 0.0)
        return Placed(exact, around, areas, placed.kept)
    half = (exact[..., 2:] - exact[..., :2]) * 0.5 * float(np.float32((side + 2) / side))
    center = (exact[..., 2:] + exact[..., :2]) * 0.5
    whole = ops.concatenate([center - half, center + half], axis=-1)
    whole = ops.where(whole < 0, ops.ceil(whole), ops.floor(whole))
    start = whole[..., :2]
    end = ops.maximum(whole[..., 2:], start) + 1.0
    inset = (end - start) * (0.5 / (side + 2))
    whole = ops.concatenate([start, end], axis=-1)
    areas = ops.maximum(ops.minimum(whole, sides), 0.0)
    return Placed(exact, _inset(whole, inset), areas, placed.kept)


def _matterport_boxes(
    boxes: Tensor, molded_size: Sequence[int], window: Tensor, picture: Tensor
) -> Tensor:
    """Whole pixels, as that package computes them."""
    last = np.array([side - 1 for side in molded_size] * 2, np.float32)
    ends = (window - np.array([0, 0, 1, 1], np.float32)) / last
    size = ends[2:] - ends[:2]
    size = ops.tile(ops.where(size == 0, 1.0, size), 2)
    relative = (boxes - ops.tile(ends[:2], 2)) / size
    sides = ops.tile(picture, 2) - 1.0
    return ops.round(relative * sides + np.array([0, 0, 1, 1], np.float32))


def _at_least_a_pixel(boxes: Tensor) -> Tensor:
    start, end = boxes[..., :2], boxes[..., 2:]
    missed = ops.ceil(end - 0.5) <= ops.ceil(start - 0.5)
    pixel = ops.floor((start + end) / 2)
    start, end = ops.where(missed, pixel, start), ops.where(missed, pixel + 1, end)
    return ops.concatenate([start, end], axis=-1)


def _inset(boxes: Tensor, inset: Tensor) -> Tensor:
    return ops.concatenate([boxes[..., :2] + inset, boxes[..., 2:] - inset], axis=-1)


def paste(outputs: dict[str, Tensor], size: Sequence[Tensor | int], config: Config) -> Tensor:
    """Masks of the picture's size: uint8 [1, D, H, W], 1 in the object.

    Args:
        outputs: masks, mask_corners, mask_areas and class_ids of `mrcnn.export.network`.
        size: (H, W).
        config: for DETECTION_BOXES: beyond the outermost points "matterport" fades to zero.
    """
    areas, corners, masks = (outputs[name][0] for name in ("mask_areas", "mask_corners", "masks"))
    rows, columns = (
        _reading(areas, corners, axis, size[axis], masks.shape[1 + axis], config) for axis in (0, 1)
    )
    values = ops.matmul(ops.matmul(rows, masks), ops.transpose(columns, (0, 2, 1)))
    inside = (values >= MASK_THRESHOLD) & (outputs["class_ids"][0] > 0)[:, None, None]
    return ops.cast(inside, "uint8")[None]


def _reading(
    areas: Tensor, corners: Tensor, axis: int, side: Tensor | int, points: int, config: Config
) -> Tensor:
    """The weight of each of the mask's points at each pixel of an axis: [D, side, points].

    Zero outside the mask's area.
    """
    center = ops.arange(side, dtype="float32")[None] + 0.5
    first, last = corners[:, axis, None], corners[:, axis + 2, None]
    length = last - first
    position = (center - first) * ((points - 1) / ops.where(length > 0, length, 1.0))
    position = ops.where(length > 0, position, 0.5 * (points - 1))
    if config.DETECTION_BOXES != "matterport":
        position = ops.clip(position, 0.0, float(points - 1))
    distance = ops.abs(position[..., None] - np.arange(points, dtype=np.float32))
    weight = ops.maximum(1.0 - distance, 0.0)
    inside = (center >= areas[:, axis, None]) & (center < areas[:, axis + 2, None])
    return ops.where(inside[..., None], weight, 0.0)
