"""Region proposal network (Ren et al. 2015): objectness and deltas of every anchor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
from keras import layers, ops

from mrcnn.ops.tensor import Tensor

RPN_OUTPUTS = ("rpn_class_logits", "rpn_class", "rpn_bbox")


def rpn_graph(
    feature_map: Tensor,
    anchors_per_location: int,
    anchor_stride: int,
    filters: int = 512,
    depth: int = 1,
    logits: int = 2,
) -> list[Tensor]:
    """Apply the RPN's convolutions to one feature map.

    Args:
        feature_map: [B, H, W, depth].
        anchors_per_location: number of anchor shapes of a cell.
        anchor_stride: 1 puts anchors on every cell, 2 on every other one.
        filters: of the shared convolutions.
        depth: number of these; those after the first are `rpn_conv_shared2`, ….
        logits: 2, background and object, or 1, the object's alone.

    Returns:
        [logits [B, A, 2] or [B, A, 1], probabilities [B, A, 2] (background, object), deltas
        [B, A, 4]].
    """
    shared = layers.Conv2D(
        filters,
        3,
        padding="same",
        activation="relu",
        strides=anchor_stride,
        name="rpn_conv_shared",
    )(feature_map)
    for number in range(2, depth + 1):
        name = f"rpn_conv_shared{number}"
        shared = layers.Conv2D(filters, 3, padding="same", activation="relu", name=name)(shared)
    x = layers.Conv2D(logits * anchors_per_location, 1, name="rpn_class_raw")(shared)
    raw = layers.Reshape((-1, logits), dtype="float32")(x)
    if logits == 1:
        probabilities = ObjectProbabilities(name="rpn_class_xxx")(raw)
    else:
        probabilities = layers.Activation("softmax", name="rpn_class_xxx", dtype="float32")(raw)
    x = layers.Conv2D(4 * anchors_per_location, 1, name="rpn_bbox_pred")(shared)
    deltas = layers.Reshape((-1, 4), dtype="float32")(x)
    return [raw, probabilities, deltas]


@keras.saving.register_keras_serializable(package="mrcnn")
class ObjectProbabilities(keras.layers.Layer):
    """Logits of objects [B, A, 1] to probabilities [B, A, 2] of background and object."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})

    def call(self, logits: Tensor) -> Tensor:
        return ops.concatenate([ops.sigmoid(-logits), ops.sigmoid(logits)], axis=-1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], 2)


def build_rpn_model(
    anchor_stride: int,
    anchors_per_location: int,
    depth: int,
    filters: int = 512,
    convolutions: int = 1,
    logits: int = 2,
) -> keras.Model:
    """Wrap the RPN in a model, so that all pyramid levels share its weights."""
    feature_map = keras.Input((None, None, depth), name="input_rpn_feature_map")
    outputs = rpn_graph(
        feature_map, anchors_per_location, anchor_stride, filters, convolutions, logits
    )
    return keras.Model([feature_map], outputs, name="rpn_model")


class RpnAnswers(NamedTuple):
    """The RPN's outputs for all levels of the pyramid."""

    joined: list[Tensor]  # RPN_OUTPUTS, each [B, A, ·]
    logits: list[Tensor]  # of each level, [B, A_l, ·]
    deltas: list[Tensor]  # of each level, [B, A_l, 4]


def rpn_over_pyramid(rpn_model: keras.Model, levels: Sequence[Tensor]) -> RpnAnswers:
    """Run the RPN on every level, and join the anchors."""
    per_level = [rpn_model([features]) for features in levels]
    joined = [
        layers.Concatenate(axis=1, name=name, dtype="float32")(list(outputs))
        for name, outputs in zip(RPN_OUTPUTS, zip(*per_level, strict=True), strict=True)
    ]
    return RpnAnswers(
        joined, [outputs[0] for outputs in per_level], [outputs[2] for outputs in per_level]
    )
