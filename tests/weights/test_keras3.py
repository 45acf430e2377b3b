"""Weights files of Keras 3's own layout."""

from __future__ import annotations

import json

import h5py
import pytest

from mrcnn.weights import keras3
from mrcnn.weights.matterport import load_weights
from mrcnn.weights.report import WeightsError
from tests.weights.networks import NAMES, assert_same, build, values


def test_keras_3_weights_go_through_kerass_loader(tmp_path):
    path = tmp_path / "new.weights.h5"
    build().save_weights(path)
    model = build(seed=1)
    report = load_weights(model, path)
    assert sorted(report.loaded) == sorted(NAMES)
    assert_same(values(model), values(build()))
    with pytest.raises(WeightsError, match="exclude"):
        load_weights(model, path, exclude=["conv1"])
    with pytest.raises(WeightsError, match=r"renamed\.h5.*Keras 3"):
        load_weights(model, path.rename(tmp_path / "renamed.h5"))


def test_an_error_of_keras_leaves_the_model_as_it_was(tmp_path):
    path = tmp_path / "other.weights.h5"
    build(classes=5).save_weights(path)
    model, before = build(seed=1), values(build(seed=1))
    with pytest.raises(WeightsError, match=r"other\.weights\.h5: Keras cannot load it"):
        load_weights(model, path)
    assert_same(values(model), before)


def test_a_file_that_declares_much_more_than_the_model_is_refused(tmp_path):
    path = tmp_path / "huge.weights.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("layers/conv/vars/0", (1 << 30,), "float32")  # nothing is written
    with pytest.raises(WeightsError, match="refused"):
        keras3.check_keras3_file(build(), str(path))


def test_a_list_of_several_files_names_the_one_that_is_missing(tmp_path):
    path = tmp_path / "model.weights.json"
    path.write_text(json.dumps({"weight_map": {"conv1": "part_1.weights.h5"}}))
    with pytest.raises(WeightsError, match=r"\['part_1.weights.h5'\] that it lists is missing"):
        keras3.check_keras3_file(build(), str(path))
    path.write_text(json.dumps({"files": []}))
    with pytest.raises(WeightsError, match="expected the 'weight_map'"):
        keras3.check_keras3_file(build(), str(path))
