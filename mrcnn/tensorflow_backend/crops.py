"""Bilinear crops by TensorFlow's kernel; twins of `mrcnn.ops.crops`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf


def crop_and_resize(
    maps: tf.Tensor, boxes: tf.Tensor, map_index: tf.Tensor, size: tuple[int, int]
) -> tf.Tensor:
    """Twin of `mrcnn.ops.crops.crop_and_resize`."""
    import tensorflow as tf

    return tf.image.crop_and_resize(maps, boxes, map_index, size)


def pyramid_crop(
    feature_maps: Sequence[tf.Tensor],
    boxes: tf.Tensor,
    image: tf.Tensor,
    level: tf.Tensor,
    size: tuple[int, int],
) -> tf.Tensor:
    """Crop each box [N, 4] from `feature_maps[level]`; see `mrcnn.ops.crops`."""
    import tensorflow as tf

    crops, rows = [], []
    for index, features in enumerate(feature_maps):
        here = tf.where(level == index)[:, 0]
        crops.append(
            tf.image.crop_and_resize(features, tf.gather(boxes, here), tf.gather(image, here), size)
        )
        rows.append(here)
    order = tf.argsort(tf.concat(rows, axis=0))
    result = tf.gather(tf.concat(crops, axis=0), order)
    return tf.ensure_shape(result, (boxes.shape[0], *size, feature_maps[0].shape[-1]))
