"""Weights that a random network of Keras is given, ours or a fork's; needs neither."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.peers.rows import class_biases


def make_alike(model: Any) -> None:
    """Give a network the weights that all peers have; see `benchmarks.peers.rows`.

    Args:
        model: of Keras, with Matterport's names of layers.
    """
    logits = model.get_layer("mrcnn_class_logits")
    layers = [
        model.get_layer("rpn_model").get_layer("rpn_bbox_pred"),
        model.get_layer("mrcnn_bbox_fc"),
        logits,
    ]
    for layer in layers:
        layer.set_weights([np.zeros_like(weights) for weights in layer.get_weights()])
    kernel, bias = logits.get_weights()
    logits.set_weights([kernel, np.array(class_biases(len(bias)), bias.dtype)])
