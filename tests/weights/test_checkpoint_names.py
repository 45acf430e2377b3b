"""Keras's ModelCheckpoint, which takes Matterport's file names for this package's models."""

from __future__ import annotations

import h5py
import keras
import numpy as np
import pytest

from mrcnn.weights import checkpoint_names
from mrcnn.weights.keras_api import MatterportFiles
from tests.weights.test_keras_api import network

X, Y = np.ones((4, 3), np.float32), np.ones((4, 2), np.float32)


def fit(model: keras.Model, *callbacks: keras.callbacks.Callback, epochs: int = 2) -> None:
    model.compile("sgd", "mse")
    model.fit(X, Y, epochs=epochs, verbose=0, callbacks=list(callbacks))


@pytest.mark.parametrize("name", ["mask_rcnn_x_{epoch:04d}.h5", "w.{epoch:02d}-{loss:.1f}.hdf5"])
def test_weights_are_written_under_matterports_names(tmp_path, name):
    fit(network(), keras.callbacks.ModelCheckpoint(tmp_path / name, save_weights_only=True))
    written = sorted(tmp_path.iterdir())
    assert len(written) == 2 and all(path.suffix in (".h5", ".hdf5") for path in written)
    with h5py.File(written[0]) as file:
        assert "layer_names" in file.attrs
    network().load_weights(written[0])


def test_arguments_by_position(tmp_path):
    callback = keras.callbacks.ModelCheckpoint(str(tmp_path / "best.h5"), "loss", 0, True, True)
    assert callback.monitor == "loss" and callback.save_best_only
    fit(network(), callback)
    assert [path.name for path in tmp_path.iterdir()] == ["best.h5"]


def test_whole_models_and_kerass_own_names_are_as_ever(tmp_path):
    whole = keras.callbacks.ModelCheckpoint(tmp_path / "whole.h5")
    own = keras.callbacks.ModelCheckpoint(tmp_path / "own.weights.h5", save_weights_only=True)
    fit(network(), whole, own)
    with h5py.File(tmp_path / "whole.h5") as file:
        assert "model_config" in file.attrs
    with h5py.File(tmp_path / "own.weights.h5") as file:
        assert "layers" in file


def test_other_models_are_told_before_the_first_step(tmp_path):
    image = keras.Input((3,))
    model = keras.Model(image, keras.layers.Dense(2)(image))
    callback = keras.callbacks.ModelCheckpoint(tmp_path / "w.h5", save_weights_only=True)
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"\.weights\.h5.*Received: filepath=.*w\.h5"):
        fit(model, callback)
    np.testing.assert_array_equal(before[0], model.get_weights()[0])


@pytest.mark.parametrize(
    "name, options, error",
    [
        ("w.txt", {"save_weights_only": True}, ValueError),
        ("w.txt", {}, ValueError),
        ("w.h5", {"save_weights_only": True, "no_such_argument": 1}, TypeError),
        ("w.h5", {"save_weights_only": True, "save_freq": "never"}, ValueError),
    ],
)
def test_what_keras_refuses_is_refused(name, options, error):
    with pytest.raises(error, match=r"filepath|no_such_argument|save_freq"):
        keras.callbacks.ModelCheckpoint(name, **options)


def test_it_is_done_once():
    before = keras.callbacks.ModelCheckpoint.__init__
    checkpoint_names.accept_matterports_names(MatterportFiles)
    assert keras.callbacks.ModelCheckpoint.__init__ is before
