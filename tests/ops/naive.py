"""Twins of the box and crop operations: plain loops over single boxes, float64.

Only the sample positions of a crop are float32, because one rounding decides whether a
sample on the border is inside.
"""

from __future__ import annotations

import math

import numpy as np


def area(box) -> float:
    y1, x1, y2, x2 = (float(side) for side in box)
    return max(y2 - y1, 0.0) * max(x2 - x1, 0.0)


def iou(a, b) -> float:
    height = min(float(a[2]), float(b[2])) - max(float(a[0]), float(b[0]))
    width = min(float(a[3]), float(b[3])) - max(float(a[1]), float(b[1]))
    if height <= 0 or width <= 0:
        return 0.0
    return height * width / (area(a) + area(b) - height * width)


def overlaps(boxes1, boxes2) -> np.ndarray:
    return np.array([[iou(a, b) for b in boxes2] for a in boxes1]).reshape(len(boxes1), len(boxes2))


def encode(box, target) -> list[float]:
    y1, x1, y2, x2 = (float(side) for side in box)
    t1, l1, t2, l2 = (float(side) for side in target)
    if y2 <= y1 or x2 <= x1 or t2 <= t1 or l2 <= l1:
        return [0.0] * 4
    return [
        ((t1 + t2) / 2 - (y1 + y2) / 2) / (y2 - y1),
        ((l1 + l2) / 2 - (x1 + x2) / 2) / (x2 - x1),
        math.log((t2 - t1) / (y2 - y1)),
        math.log((l2 - l1) / (x2 - x1)),
    ]


def decode(box, deltas) -> list[float]:
    y1, x1, y2, x2 = (float(side) for side in box)
    dy, dx, dh, dw = (float(delta) for delta in deltas)
    y, x = (y1 + y2) / 2 + dy * (y2 - y1), (x1 + x2) / 2 + dx * (x2 - x1)
    height, width = (y2 - y1) * math.exp(dh), (x2 - x1) * math.exp(dw)
    return [y - height / 2, x - width / 2, y + height / 2, x + width / 2]


def positions(start, end, side: int, samples: int) -> np.ndarray:
    """Where a box's samples lie along an axis of `side` cells; one rounding a step."""
    start, end, last = np.float32(start), np.float32(end), np.float32(side - 1)
    if samples == 1:
        return np.array([np.float32(0.5) * (start + end) * last])
    step = (end - start) * last / np.float32(samples - 1)
    first = start * last
    return np.array([first + np.float32(i) * step for i in range(samples)])


def crop(image: np.ndarray, box, size: tuple[int, int]) -> np.ndarray:
    """Bilinear samples [h, w, C] of an image [H, W, C]; 0 outside."""
    height, width, channels = image.shape
    result = np.zeros((*size, channels))
    for i, y in enumerate(positions(box[0], box[2], height, size[0])):
        for j, x in enumerate(positions(box[1], box[3], width, size[1])):
            if not (0 <= y <= height - 1 and 0 <= x <= width - 1):
                continue
            top, left = math.floor(y), math.floor(x)
            for v, along_y in ((top, 1 - (y - top)), (top + 1, y - top)):
                for u, along_x in ((left, 1 - (x - left)), (left + 1, x - left)):
                    if along_y and along_x:
                        result[i, j] += float(along_y) * float(along_x) * image[v, u]
    return result


def pooled_cells(start, end, side: int, stride: int) -> tuple[int, int]:
    """The first and the last cell of a RoI along an axis, as C's `round` finds them."""
    pixels = np.float32(side * stride) - np.float32(1)
    places = [np.float32(place) * pixels / np.float32(stride) for place in (start, end)]
    first, last = (int(math.copysign(math.floor(abs(float(p)) + 0.5), p)) for p in places)
    return first, last


def pool(
    image: np.ndarray, box, size: tuple[int, int], stride: int
) -> tuple[np.ndarray, dict[tuple[int, int, int], tuple[int, int]]]:
    """RoIPool of one box: values [h, w, C], and the cell (y, x) of each (row, column, channel)."""
    height, width, channels = image.shape
    top, bottom = pooled_cells(box[0], box[2], height, stride)
    left, right = pooled_cells(box[1], box[3], width, stride)
    rows, columns = max(bottom - top + 1, 1), max(right - left + 1, 1)
    values, cells = np.zeros((*size, channels)), {}
    for i, j, c in np.ndindex(*size, channels):
        first_row, last_row = top + i * rows // size[0], top + -(-(i + 1) * rows // size[0])
        first_column = left + j * columns // size[1]
        last_column = left + -(-(j + 1) * columns // size[1])
        for y in range(max(first_row, 0), min(last_row, height)):
            for x in range(max(first_column, 0), min(last_column, width)):
                if (i, j, c) not in cells or image[y, x, c] > values[i, j, c]:
                    values[i, j, c], cells[i, j, c] = image[y, x, c], (y, x)
    return values, cells


def sampled_roi_align(feature_map, box, size, samples, stride, aligned=False) -> np.ndarray:
    """RoIAlign of one box in pixels from one map [H, W, C], sample by sample.

    With -1 samples, as many on each axis as a bin has cells.
    """
    features = np.asarray(feature_map, np.float64)
    height, width = features.shape[:2]
    start = [float(edge) / stride - (0.5 if aligned else 0.0) for edge in box[:2]]
    length = [(float(box[axis + 2]) - float(box[axis])) / stride for axis in (0, 1)]
    length = [side if aligned else max(side, 1.0) for side in length]

    def read(y: float, x: float) -> np.ndarray:
        if not (-1 <= y <= height and -1 <= x <= width):
            return np.zeros(features.shape[2])
        y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
        top, left = math.floor(y), math.floor(x)
        bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
        down, along = y - top, x - left
        above = features[top, left] * (1 - along) + features[top, right] * along
        below = features[bottom, left] * (1 - along) + features[bottom, right] * along
        return above * (1 - down) + below * down

    down, along = samples, samples
    if samples == -1:
        # In float32, as those that are compared: a rounding decides where a bin has whole cells.
        bins = np.float32(length) / np.float32(size)
        down, along = (math.ceil(side) for side in bins)
    result = np.zeros((*size, features.shape[2]))
    for row in range(size[0]):
        for column in range(size[1]):
            for i in range(down):
                for k in range(along):
                    y = start[0] + (row + (i + 0.5) / down) * length[0] / size[0]
                    x = start[1] + (column + (k + 0.5) / along) * length[1] / size[1]
                    result[row, column] += read(y, x) / (down * along)
    return result


def averaged_mask(mask, roi, corner, side, shape, window=None, aligned=False) -> np.ndarray:
    """The share of each of `shape`'s cells of a RoI that a mask covers, sample by sample.

    `corner` and `side` say where the mask lies in pixels of the image; beyond a `window` of it
    the outermost pixels go on for one, and without one there is nothing outside.
    """
    mask = np.asarray(mask, np.float64)
    places = []
    for axis in (0, 1):
        grow = mask.shape[axis] / side[axis]
        edges = [
            (roi[end] + (0 if aligned else 0.5) - corner[axis]) * grow - 0.5
            for end in (axis, axis + 2)
        ]
        length = edges[1] - edges[0] if aligned else max(edges[1] - edges[0], 1.0)
        samples = max(1, math.ceil(length / shape[axis]))
        places.append(
            [
                [
                    edges[0] + (k + (i + 0.5) / samples) * length / shape[axis]
                    for i in range(samples)
                ]
                for k in range(shape[axis])
            ]
        )

    def read(y: float, x: float) -> float:
        if window is not None:
            if not (window[0] - 1 <= y <= window[2] and window[1] - 1 <= x <= window[3]):
                return 0.0
            y = min(max(y, window[0]), window[2] - 1)
            x = min(max(x, window[1]), window[3] - 1)
        value = 0.0
        for v in (math.floor(y), math.floor(y) + 1):
            for u in (math.floor(x), math.floor(x) + 1):
                if 0 <= v < mask.shape[0] and 0 <= u < mask.shape[1]:
                    value += (1 - abs(y - v)) * (1 - abs(x - u)) * mask[v, u]
        return value

    result = np.zeros(shape)
    for i, rows in enumerate(places[0]):
        for j, columns in enumerate(places[1]):
            result[i, j] = np.mean([read(y, x) for y in rows for x in columns])
    return result
