"""The sizes of gradients, weight by weight."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from mrcnn.training import gradients


def test_gradient_norms_are_those_of_the_gradients():
    inputs = keras.Input((2,))
    outputs = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")(inputs)
    model = keras.Model(inputs, outputs)
    optimizer = gradients.GradientNorms()
    before = model.get_weights()[0].copy()
    for scale in (1.0, 1e25):  # whose square is infinite in float32
        model.compile(optimizer=optimizer, loss=lambda y, p: keras.ops.sum(p))
        model.train_on_batch(scale * np.array([[3.0, 4.0]]), np.zeros((1, 1)))
        (norm,) = (float(keras.ops.convert_to_numpy(norm)) for norm in optimizer.norms)
        assert norm == pytest.approx(5 * scale, rel=1e-5)
    np.testing.assert_array_equal(model.get_weights()[0], before)
