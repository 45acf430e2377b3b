"""The box format of the network, and everything that is computed from boxes alone.

A box is (y1, x1, y2, x2) in the last axis, normalized: (0, 0) is the centre of the
image's first pixel and (1, 1) that of its last. On the host, boxes are in pixels with
y2 and x2 outside the box; `normalize` and `denormalize` convert.
Functions broadcast over leading axes and are unit-agnostic unless they say otherwise.
"""

from __future__ import annotations

from keras import ops

from mrcnn.ops.tensor import Tensor

# Side given to boxes without area before a division by their size; see `encode`.
_SAFE_SIDE = 1.0

# Largest log of a side's growth: e^60 is beyond every use, and float32 ends at e^88.
# An infinite side is NaN in the corners, and TensorFlow's crop kernel refuses that.
_MAX_LOG_GROWTH = 60.0


def normalize(boxes: Tensor, image_shape: Tensor) -> Tensor:
    """Pixel boxes to normalized float32 boxes.

    Args:
        boxes: [..., 4] in pixels.
        image_shape: (height, width), of the image the boxes lie in.

    >>> ops.convert_to_numpy(normalize(ops.array([[0, 0, 5, 9]]), (5, 9))).tolist()
    [[0.0, 0.0, 1.0, 1.0]]
    """
    scale, shift = _pixel_frame(image_shape)
    return (ops.cast(boxes, "float32") - shift) / scale


def to_edges(boxes: Tensor, image_shape: Tensor) -> Tensor:
    """Normalized boxes to float32 pixel boxes, not rounded: the inverse of `normalize`.

    >>> ops.convert_to_numpy(to_edges(ops.array([[0.0, 0.0, 1.0, 0.5]]), (5, 9))).tolist()
    [[0.0, 0.0, 5.0, 5.0]]
    """
    scale, shift = _pixel_frame(image_shape)
    return ops.convert_to_tensor(boxes) * scale + shift


def denormalize(boxes: Tensor, image_shape: Tensor) -> Tensor:
    """Normalized boxes to int32 pixel boxes, rounded half to even."""
    return ops.cast(ops.round(to_edges(boxes, image_shape)), "int32")


def _pixel_frame(image_shape: Tensor) -> tuple[Tensor, Tensor]:
    height = ops.cast(image_shape[0], "float32")
    width = ops.cast(image_shape[1], "float32")
    scale = ops.stack([height, width, height, width]) - 1.0
    return scale, ops.convert_to_tensor([0.0, 0.0, 1.0, 1.0], dtype="float32")


def area(boxes: Tensor) -> Tensor:
    """Area of each box: [...]; 0 where a side is negative."""
    y1, x1, y2, x2 = split(boxes)
    return ops.maximum(y2 - y1, 0.0) * ops.maximum(x2 - x1, 0.0)


def iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Intersection over union of all pairs; 0 for a box without area.

    >>> whole, half = ops.array([[0.0, 0.0, 2.0, 2.0]]), ops.array([[0.0, 0.0, 2.0, 1.0]])
    >>> ops.convert_to_numpy(iou(whole, half))
    array([[0.5]], dtype=float32)

    Args:
        boxes1: [..., N, 4].
        boxes2: [..., M, 4].

    Returns:
        [..., N, M] in [0, 1].
    """
    a = [ops.expand_dims(side, -1) for side in split(boxes1)]
    b = [ops.expand_dims(side, -2) for side in split(boxes2)]
    height = ops.maximum(ops.minimum(a[2], b[2]) - ops.maximum(a[0], b[0]), 0.0)
    width = ops.maximum(ops.minimum(a[3], b[3]) - ops.maximum(a[1], b[1]), 0.0)
    intersection = height * width
    union = ops.expand_dims(area(boxes1), -1) + ops.expand_dims(area(boxes2), -2) - intersection
    return ops.where(intersection > 0, intersection / ops.where(union > 0, union, 1.0), 0.0)


def encode(boxes: Tensor, targets: Tensor) -> Tensor:
    """Deltas (dy, dx, log dh, log dw) that move `boxes` onto `targets`.

    Pairs in which either box has no area get zero deltas: padding must not make
    infinities, because inf * 0 is NaN in the gradient.

    Args:
        boxes, targets: [..., 4], paired.

    >>> box, target = ops.array([0.0, 0.0, 4.0, 2.0]), ops.array([1.0, 0.0, 5.0, 2.0])
    >>> ops.convert_to_numpy(encode(box, target)).tolist()
    [0.25, 0.0, 0.0, 0.0]
    """
    y, x, height, width = _center_size(boxes)
    target_y, target_x, target_height, target_width = _center_size(targets)
    valid = (height > 0) & (width > 0) & (target_height > 0) & (target_width > 0)
    height, width, target_height, target_width = (
        ops.where(valid, side, _SAFE_SIDE) for side in (height, width, target_height, target_width)
    )
    deltas = ops.stack(
        [
            (target_y - y) / height,
            (target_x - x) / width,
            ops.log(target_height / height),
            ops.log(target_width / width),
        ],
        axis=-1,
    )
    return ops.where(ops.expand_dims(valid, -1), deltas, 0.0)


def decode(boxes: Tensor, deltas: Tensor, largest_log_growth: float = _MAX_LOG_GROWTH) -> Tensor:
    """Apply deltas (dy, dx, log dh, log dw) to boxes: the inverse of `encode`.

    Finite deltas give finite boxes: the log of a side's growth ends at `largest_log_growth`.

    >>> box, deltas = ops.array([0.0, 0.0, 4.0, 2.0]), ops.array([0.25, 0.0, 0.0, 0.0])
    >>> ops.convert_to_numpy(decode(box, deltas)).tolist()
    [1.0, 0.0, 5.0, 2.0]
    """
    y, x, height, width = _center_size(boxes)
    dy, dx, dh, dw = split(deltas)
    limit = float(largest_log_growth)
    dh, dw = ops.minimum(dh, limit), ops.minimum(dw, limit)
    y, x = y + dy * height, x + dx * width
    height, width = height * ops.exp(dh), width * ops.exp(dw)
    y1, x1 = y - 0.5 * height, x - 0.5 * width
    return ops.stack([y1, x1, y1 + height, x1 + width], axis=-1)


def clip(boxes: Tensor, window: Tensor) -> Tensor:
    """Clip boxes [..., 4] to a window (y1, x1, y2, x2), [4] or [..., 1, 4].

    >>> box, window = ops.array([-1.0, 2.0, 3.0, 9.0]), ops.array([0.0, 0.0, 5.0, 5.0])
    >>> ops.convert_to_numpy(clip(box, window)).tolist()
    [0.0, 2.0, 3.0, 5.0]
    """
    top, left, bottom, right = split(window)
    y1, x1, y2, x2 = split(boxes)
    return ops.stack(
        [
            ops.maximum(ops.minimum(y1, bottom), top),
            ops.maximum(ops.minimum(x1, right), left),
            ops.maximum(ops.minimum(y2, bottom), top),
            ops.maximum(ops.minimum(x2, right), left),
        ],
        axis=-1,
    )


def split(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The columns (y1, x1, y2, x2) of boxes [..., 4]: four of [...]."""
    y1, x1, y2, x2 = ops.unstack(ops.convert_to_tensor(boxes), 4, axis=-1)
    return y1, x1, y2, x2


def _center_size(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    y1, x1, y2, x2 = split(boxes)
    height, width = y2 - y1, x2 - x1
    return y1 + 0.5 * height, x1 + 0.5 * width, height, width
