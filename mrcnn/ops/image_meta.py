"""The row of numbers that travels with each image through the graph."""

from __future__ import annotations

from keras import ops

from mrcnn.batch import META_COLUMNS
from mrcnn.ops.boxes import normalize
from mrcnn.ops.tensor import Tensor


def parse_image_meta(meta: Tensor) -> dict[str, Tensor]:
    """Name the parts of image_meta [B, 12 + C].

    Returns:
        image_id [B], original_image_shape [B, 3], image_shape [B, 3] (molded),
        window [B, 4] in pixels, scale [B], active_class_ids [B, C].
    """
    return {name: meta[:, at] for name, at in META_COLUMNS.items()}


def image_area(meta: Tensor) -> Tensor:
    """Pixels of the network's input: a float32 scalar, because a batch has one image shape.

    >>> float(image_area(ops.array([[0, 90, 60, 3, 128, 64, 3, 0, 0, 128, 64, 1, 1, 1]])))
    8192.0
    """
    height, width, _ = ops.unstack(meta[0, META_COLUMNS["image_shape"]], 3)
    return ops.cast(height * width, "float32")


def normalized_window(meta: Tensor) -> Tensor:
    """The part of each molded image that is not padding: [B, 4] normalized."""
    parts = parse_image_meta(meta)
    return normalize(parts["window"], ops.cast(parts["image_shape"][0], "float32"))
