"""Keras models that write and read Matterport's weights files."""

from __future__ import annotations

import h5py
import keras
import numpy as np
import pytest

from mrcnn.weights.keras_api import MatterportFiles
from mrcnn.weights.report import WeightsError


@keras.saving.register_keras_serializable(package="tests")
class Network(MatterportFiles, keras.Model):
    """As the networks of training and inference are made."""


def network(units: int = 2, value: float = 1.0) -> Network:
    image = keras.Input((3,), name="input_image")
    x = keras.layers.Dense(4, name="first")(image)
    model = Network(image, keras.layers.Dense(units, name="second")(x))
    for weight in model.weights:
        weight.assign(np.full(weight.shape, value))
    return model


def assert_all(layer: keras.layers.Layer, value: float) -> None:
    for weight in layer.get_weights():
        np.testing.assert_array_equal(weight, value)


def test_any_name_is_matterports_but_those_that_keras_claims(tmp_path):
    for name, own in (("w.h5", True), ("w.hdf5", True), ("w.weights.h5", False)):
        network(value=2.0).save_weights(tmp_path / name)
        with h5py.File(tmp_path / name) as file:
            assert ("layer_names" in file.attrs) == own
        model = network()
        model.load_weights(tmp_path / name)
        assert_all(model, 2.0)


def test_a_file_is_known_by_its_inside(tmp_path):
    network(value=2.0).save_weights(tmp_path / "w.h5")
    claimed = (tmp_path / "w.h5").rename(tmp_path / "w.weights.h5")
    model = network()
    model.load_weights(claimed, by_name=True)
    assert_all(model, 2.0)


def test_an_existing_file_is_kept_where_the_caller_says_so(tmp_path):
    network(value=2.0).save_weights(tmp_path / "w.h5")
    network(value=3.0).save_weights(tmp_path / "w.h5")
    with pytest.raises(FileExistsError, match="w.h5"):
        network(value=4.0).save_weights(tmp_path / "w.h5", overwrite=False)
    model = network()
    model.load_weights(tmp_path / "w.h5")
    assert_all(model, 3.0)


def test_layers_of_another_shape_are_an_error_or_skipped(tmp_path):
    network(value=2.0).save_weights(tmp_path / "w.h5")
    model = network(units=5)
    with pytest.raises(WeightsError, match="second: expected"):
        model.load_weights(tmp_path / "w.h5")
    assert_all(model, 1.0)
    model.load_weights(tmp_path / "w.h5", skip_mismatch=True)
    assert_all(model.get_layer("first"), 2.0)
    assert_all(model.get_layer("second"), 1.0)


def test_a_damaged_file_is_named(tmp_path):
    network().save_weights(tmp_path / "w.weights.h5")
    content = (tmp_path / "w.weights.h5").read_bytes()
    (tmp_path / "w.weights.h5").write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsError, match=r"w\.weights\.h5"):
        network().load_weights(tmp_path / "w.weights.h5")
    with pytest.raises(FileNotFoundError, match=r"gone\.h5"):
        network().load_weights(tmp_path / "gone.h5", skip_mismatch=True)
