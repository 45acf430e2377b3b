"""Region proposal network (Ren et al. 2015): objectness and deltas of every anchor."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from mrcnn.ops.tensor import Tensor

RPN_OUTPUTS = ("rpn_class_logits", "rpn_class", "rpn_bbox")


def rpn_graph(
    feature_map: Tensor, anchors_per_location: int, anchor_stride: int, filters: int = 512
) -> list[Tensor]:
    """Apply the RPN's convolutions to one feature map.

    Args:
        feature_map: [B, H, W, depth].
        anchors_per_location: number of anchor shapes of a cell.
        anchor_stride: 1 puts anchors on every cell, 2 on every other one.
        filters: of the shared convolution.

    Returns:
        [logits [B, A, 2], probabilities [B, A, 2] (background, object), deltas [B, A, 4]].
    """
    shared = layers.Conv2D(
        filters,
        3,
        padding="same",
        activation="relu",
        strides=anchor_stride,
        name="rpn_conv_shared",
    )(feature_map)
    x = layers.Conv2D(2 * anchors_per_location, 1, name="rpn_class_raw")(shared)
    logits = layers.Reshape((-1, 2), dtype="float32")(x)
    probabilities = layers.Activation("softmax", name="rpn_class_xxx", dtype="float32")(logits)
    x = layers.Conv2D(4 * anchors_per_location, 1, name="rpn_bbox_pred")(shared)
    deltas = layers.Reshape((-1, 4), dtype="float32")(x)
    return [logits, probabilities, deltas]


def build_rpn_model(
    anchor_stride: int, anchors_per_location: int, depth: int, filters: int = 512
) -> keras.Model:
    """Wrap the RPN in a model, so that all pyramid levels share its weights."""
    feature_map = keras.Input((None, None, depth), name="input_rpn_feature_map")
    outputs = rpn_graph(feature_map, anchors_per_location, anchor_stride, filters)
    return keras.Model([feature_map], outputs, name="rpn_model")


def rpn_over_pyramid(rpn_model: keras.Model, levels: Sequence[Tensor]) -> list[Tensor]:
    """Run the RPN on every level and join the anchors: RPN_OUTPUTS, each [B, A, ·]."""
    per_level = [rpn_model([features]) for features in levels]
    return [
        layers.Concatenate(axis=1, name=name, dtype="float32")(list(outputs))
        for name, outputs in zip(RPN_OUTPUTS, zip(*per_level, strict=True), strict=True)
    ]
