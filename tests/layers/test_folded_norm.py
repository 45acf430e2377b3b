"""A convolution that takes over its frozen normalization computes what the two compute."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

from mrcnn.layers.batch_norm import BatchNorm
from mrcnn.layers.folded_norm import FoldingConv2D
from mrcnn.layers.per_roi import RoiConv2D
from tests.support import gradient

CHANNELS, FILTERS = 3, 4


def pair(shape: tuple[int, ...], convolution: keras.Layer, training: bool | None = False):
    """A model of a convolution and a normalization with random weights, and its layers."""
    inputs = keras.Input(batch_shape=shape)
    norm = BatchNorm(name="norm", epsilon=1e-3)
    model = keras.Model(inputs, norm(convolution(inputs), training=training))
    random = np.random.default_rng(0)
    for variable in model.variables:
        low = 0.5 if variable.name == "moving_variance" else -1.0
        variable.assign(random.uniform(low, 2.0, variable.shape))
    return model, convolution, norm


def normalized(norm: BatchNorm, x: np.ndarray) -> np.ndarray:
    gamma, beta, mean, variance = (np.asarray(v) for v in norm.get_weights())
    return (x - mean) / np.sqrt(variance + norm.epsilon) * gamma + beta


def convolved(convolution: keras.Layer, x: np.ndarray) -> np.ndarray:
    """The convolution alone, by Keras."""
    plain = layers.Conv2D(
        convolution.filters,
        convolution.kernel_size,
        convolution.strides,
        padding=convolution.padding,
        use_bias=convolution.use_bias,
    )
    plain.build((None, *x.shape[-3:]))
    plain.set_weights(convolution.get_weights())
    return ops.convert_to_numpy(plain(x.reshape(-1, *x.shape[-3:])))


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("use_bias", [True, False])
def test_large_outputs_come_out_of_the_convolution_normalized(strides: int, use_bias: bool):
    shape = (2, 24, 20, CHANNELS)
    model, convolution, norm = pair(
        shape, FoldingConv2D(FILTERS, 3, strides, padding="same", use_bias=use_bias)
    )
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    expected = normalized(norm, convolved(convolution, x))
    np.testing.assert_allclose(ops.convert_to_numpy(model(x)), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(ops.convert_to_numpy(convolution(x)), expected, rtol=1e-4, atol=1e-4)


def test_rois_are_folded_too():
    shape = (2, 5, 8, 8, CHANNELS)
    model, convolution, norm = pair(shape, RoiConv2D(FILTERS, 3, padding="same"))
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    expected = normalized(norm, convolved(convolution, x)).reshape(2, 5, 8, 8, FILTERS)
    np.testing.assert_allclose(ops.convert_to_numpy(model(x)), expected, rtol=1e-4, atol=1e-4)
    assert convolution.folds((2, 5, 8, 8, FILTERS))


def test_small_outputs_are_normalized_after_the_convolution():
    shape = (1, 4, 4, CHANNELS)
    model, convolution, norm = pair(shape, FoldingConv2D(FILTERS, 3, padding="same"))
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    plain = convolved(convolution, x)
    np.testing.assert_allclose(ops.convert_to_numpy(convolution(x)), plain, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        ops.convert_to_numpy(model(x)), normalized(norm, plain), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("training", [True, None])
def test_statistics_of_the_batch_are_not_folded(training: bool | None):
    shape = (2, 24, 20, CHANNELS)
    _, convolution, _ = pair(shape, FoldingConv2D(FILTERS, 3), training)
    assert not convolution.folds((2, 24, 20, FILTERS))


def test_an_activation_in_between_is_not_folded():
    shape = (2, 24, 20, CHANNELS)
    model, convolution, norm = pair(shape, FoldingConv2D(FILTERS, 3, activation="relu"))
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    expected = normalized(norm, np.maximum(convolved(convolution, x), 0))
    np.testing.assert_allclose(ops.convert_to_numpy(model(x)), expected, rtol=1e-4, atol=1e-4)


def test_the_weights_stay_with_their_layers():
    model, convolution, norm = pair((1, 24, 20, CHANNELS), FoldingConv2D(FILTERS, 3))
    assert [v.name for v in convolution.weights] == ["kernel", "bias"]
    assert len(norm.weights) == 4 and len(model.weights) == 6


def test_a_model_made_from_its_configuration_folds_again():
    shape = (2, 24, 20, CHANNELS)
    model, *_ = pair(shape, FoldingConv2D(FILTERS, 3, name="convolution"))
    again = keras.Model.from_config(model.get_config())
    again.set_weights(model.get_weights())
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    assert again.get_layer("convolution").folds((2, 22, 18, FILTERS))
    np.testing.assert_allclose(
        *(ops.convert_to_numpy(net(x)) for net in (again, model)), rtol=1e-5, atol=1e-5
    )


def test_gradients_are_those_of_the_two_layers():
    shape = (1, 12, 10, CHANNELS)
    model, convolution, norm = pair(shape, FoldingConv2D(FILTERS, 1))
    assert convolution.folds((1, 12, 10, FILTERS))
    random = np.random.default_rng(2)
    x = random.normal(size=shape).astype(np.float32)
    weight = random.normal(size=(1, 12, 10, FILTERS)).astype(np.float32)
    kernel, bias = (np.asarray(v, np.float64) for v in convolution.get_weights())
    gamma, beta, mean, variance = (np.asarray(v, np.float64) for v in norm.get_weights())
    scale = 1 / np.sqrt(variance + norm.epsilon)
    plain = x.astype(np.float64) @ kernel[0, 0] + bias
    expected_gamma = (weight * (plain - mean) * scale).sum((0, 1, 2))
    expected_x = (weight * gamma * scale) @ kernel[0, 0].T

    def through_gamma(value):
        stored = norm.gamma
        with keras.StatelessScope(state_mapping=[(stored, value)]):
            return ops.sum(ops.multiply(model(x), weight))

    found_x = gradient(lambda value: ops.sum(ops.multiply(model(value), weight)), x)
    np.testing.assert_allclose(found_x, expected_x, rtol=1e-3, atol=1e-4)
    found_gamma = gradient(through_gamma, ops.convert_to_numpy(norm.gamma))
    np.testing.assert_allclose(found_gamma, expected_gamma, rtol=1e-3, atol=1e-3)
