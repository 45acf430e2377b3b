"""What a training step of a network computes before it changes the weights."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from mrcnn.config import LOSS_NAMES
from mrcnn.weights.layers import weighted_layers


def losses_and_gradients(model: Any, inputs: dict[str, np.ndarray]) -> tuple[Any, Any]:
    """The losses by name, and the gradients of their sum by layer and variable."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("its gradients are taken with TensorFlow")
    import tensorflow as tf

    @tf.function
    def compute(batch_inputs):
        with tf.GradientTape() as tape:
            outputs = model(batch_inputs, training=True)
            total = sum(model.losses)
        names = [weight.path for weight in model.trainable_weights]
        slopes = tape.gradient(total, [w.value for w in model.trainable_weights])
        known = {name: s for name, s in zip(names, slopes, strict=True) if s is not None}
        return {name: outputs[name] for name in LOSS_NAMES if name in outputs}, known

    losses, slopes = compute({name: tf.constant(value) for name, value in inputs.items()})
    places = {
        variable.path: (layer.name, variable.name)
        for layer, _ in weighted_layers(model)
        for variable in layer.weights
    }
    gradients = {places[name]: np.asarray(slope) for name, slope in slopes.items()}
    return {name: float(loss) for name, loss in losses.items()}, gradients
