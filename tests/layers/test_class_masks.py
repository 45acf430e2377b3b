"""The mask of one class is that of all classes, looked up."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from mrcnn.layers.class_masks import ClassMasks
from tests.support import gradient

BATCH, ROIS, SIDE, CHANNELS, CLASSES = 2, 3, 4, 5, 6


@pytest.fixture
def layer() -> ClassMasks:
    layer = ClassMasks(CLASSES)
    layer.build((BATCH, ROIS, SIDE, SIDE, CHANNELS))
    layer.bias.assign(np.arange(CLASSES) / 3)
    return layer


@pytest.fixture
def features() -> np.ndarray:
    shape = (BATCH, ROIS, SIDE, SIDE, CHANNELS)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


IDS = np.array([[1, 0, 5], [2, 2, 4]], np.int32)


def test_one_class_is_that_of_all(layer: ClassMasks, features: np.ndarray):
    every = ops.convert_to_numpy(layer(features))
    assert every.shape == (BATCH, ROIS, SIDE, SIDE, CLASSES)
    expected = np.take_along_axis(every, IDS[:, :, None, None, None], axis=-1)[..., 0]
    found = ops.convert_to_numpy(layer(features, class_ids=IDS))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_the_gradient_is_that_of_all(layer: ClassMasks, features: np.ndarray):
    chosen = np.eye(CLASSES, dtype=np.float32)[IDS][:, :, None, None]
    expected = gradient(lambda x: ops.sum(ops.multiply(layer(x), chosen)), features)
    found = gradient(lambda x: ops.sum(layer(x, class_ids=IDS)), features)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_ids_of_crowds_read_the_background(layer: ClassMasks, features: np.ndarray):
    found, expected = (
        ops.convert_to_numpy(layer(features, class_ids=ids)) for ids in (-IDS, np.zeros_like(IDS))
    )
    np.testing.assert_array_equal(found, expected)


def test_the_shapes_are_known_before(layer: ClassMasks):
    inputs = keras.Input(batch_shape=(BATCH, ROIS, SIDE, SIDE, CHANNELS))
    ids = keras.Input(batch_shape=(BATCH, ROIS), dtype="int32")
    assert layer(inputs).shape == (BATCH, ROIS, SIDE, SIDE, CLASSES)
    assert layer(inputs, class_ids=ids).shape == (BATCH, ROIS, SIDE, SIDE)
