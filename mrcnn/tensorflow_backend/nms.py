"""Non-maximum suppression by TensorFlow's kernels; twins of `mrcnn.ops.nms`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf


def nms_sorted(
    boxes: tf.Tensor, valid: tf.Tensor, threshold: float, count: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Twin of `mrcnn.ops.nms.nms_sorted`.

    TensorFlow's kernel for several classes, with one class: it takes the images of a batch
    side by side, and a third of the time that its kernel for one image takes.
    """
    import tensorflow as tf

    batch = boxes.shape[0]
    rows = tf.shape(boxes)[1] if boxes.shape[1] is None else boxes.shape[1]
    # The kernel orders by score and returns scores: give it the order that the rows already
    # have, from which their numbers follow.
    order = tf.cast(tf.range(rows, 0, -1), tf.float32)
    selected = tf.raw_ops.CombinedNonMaxSuppression(
        boxes=boxes[:, :, None],
        scores=tf.where(valid, order, -1.0)[..., None],
        max_output_size_per_class=count,
        max_total_size=count,
        iou_threshold=threshold,
        score_threshold=0.0,
        clip_boxes=False,
    )
    found = tf.range(count) < selected.valid_detections[:, None]
    index = tf.where(found, rows - tf.cast(selected.nmsed_scores, tf.int32), 0)
    return tf.ensure_shape(index, (batch, count)), tf.ensure_shape(found, (batch, count))


def nms_overlaps(
    overlaps: tf.Tensor, valid: tf.Tensor, threshold: float, count: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Greedy suppression by a given matrix of overlaps [B, N, N]; rows sorted by score."""
    import tensorflow as tf

    rows = overlaps.shape[1]
    order = tf.range(rows, 0, -1, dtype=tf.float32)
    index, found = [], []
    for image_overlaps, image_valid in zip(tf.unstack(overlaps), tf.unstack(valid), strict=True):
        selected = tf.raw_ops.NonMaxSuppressionWithOverlaps(
            overlaps=image_overlaps,
            scores=tf.where(image_valid, order, -1.0),
            max_output_size=count,
            overlap_threshold=threshold,
            score_threshold=0.0,
        )
        number = tf.shape(selected)[0]
        index.append(tf.pad(selected, [[0, count - number]]))
        found.append(tf.range(count) < number)
    return (
        tf.ensure_shape(tf.stack(index), (overlaps.shape[0], count)),
        tf.ensure_shape(tf.stack(found), (overlaps.shape[0], count)),
    )
