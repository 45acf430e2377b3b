"""The row of numbers that travels with each image through the graph."""

from __future__ import annotations

from typing import Any

from keras import ops

from mrcnn.ops.boxes import normalize

Tensor = Any


def parse_image_meta(meta: Tensor) -> dict[str, Tensor]:
    """Name the parts of image_meta [B, 1 + 3 + 3 + 4 + 1 + C].

    Returns:
        image_id [B], original_image_shape [B, 3], image_shape [B, 3] (molded),
        window [B, 4] in pixels, scale [B], active_class_ids [B, C].
    """
    return {
        "image_id": meta[:, 0],
        "original_image_shape": meta[:, 1:4],
        "image_shape": meta[:, 4:7],
        "window": meta[:, 7:11],
        "scale": meta[:, 11],
        "active_class_ids": meta[:, 12:],
    }


def normalized_window(meta: Tensor) -> Tensor:
    """The part of each molded image that is not padding: [B, 4] normalized."""
    parts = parse_image_meta(meta)
    return normalize(parts["window"], ops.cast(parts["image_shape"][0], "float32"))
