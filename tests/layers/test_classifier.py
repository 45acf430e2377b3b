"""The head that a backbone is pretrained with."""

from __future__ import annotations

import keras
import numpy as np

from mrcnn.layers.classifier import Accuracy, classifier_graph
from mrcnn.weights.layers import weighted_layers


def test_its_logits_are_dense_layers_on_mean_features():
    features = keras.Input((3, 2, 5))
    model = keras.Model(features, classifier_graph(features, num_classes=4, fc_layers_size=6))
    values = np.random.default_rng(0).normal(size=(2, 3, 2, 5)).astype(np.float32)
    w1, b1, w2, b2 = model.get_weights()
    hidden = np.maximum(values.mean(axis=(1, 2)) @ w1 + b1, 0)
    logits = keras.ops.convert_to_numpy(model(values))
    assert logits.shape == (2, 1, 4)
    np.testing.assert_allclose(logits[:, 0], hidden @ w2 + b2, rtol=1e-4, atol=1e-5)
    # No detector has a layer of such a name: of a file, only the backbone is loaded there.
    names = [layer.name for layer, _ in weighted_layers(model)]
    assert names == ["pretrain_fc", "pretrain_logits"]


def test_the_accuracy_is_the_share_of_right_ones():
    logits = np.array([[[0.0, 2, 1]], [[3, 2, 1]], [[0, 0, 1]], [[5, 6, 7]]], np.float32)
    class_ids = np.array([[1], [0], [1], [2]], np.int32)
    assert float(Accuracy()([class_ids, logits])) == 0.75
