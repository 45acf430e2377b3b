"""Models that an earlier version saved whole come back, layer by layer, and compute the same.

`tests/fixtures/saved_training.json` and `saved_inference.json` are the `config.json` of two
`.keras` files, written by commit 4371f83 for `tests.tiny.TinyConfig`. They name each layer by the
name it was registered under.
"""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from mrcnn.inference import model as inference_model
from mrcnn.training import model as training_model
from tests.tiny import tiny_batch, tiny_config


def saved(fixtures: Path, mode: str) -> keras.Model:
    text = (fixtures / f"saved_{mode}.json").read_text(encoding="utf-8")
    return keras.saving.deserialize_keras_object(json.loads(text))


def with_weights_of(model: keras.Model, other: keras.Model) -> keras.Model:
    """The model with another's weights, as a saved file brings them: in their order."""
    assert [w.shape for w in model.weights] == [w.shape for w in other.weights]
    model.set_weights(other.get_weights())
    return model


def test_an_inference_graph(fixtures: Path):
    keras.utils.set_random_seed(0)
    config = tiny_config()
    ours = inference_model.build(config)
    theirs = with_weights_of(saved(fixtures, "inference"), ours)
    assert type(theirs) is inference_model.InferenceNetwork
    batch = tiny_batch(config)
    found, expected = (
        inference_model.with_static_shape(
            model, batch["input_image"].shape[1:], config.BATCH_SIZE, config, molded=False
        )([batch["input_image"], batch["input_image_meta"]])
        for model in (theirs, ours)
    )
    assert np.any(found[0])  # there are detections
    for value, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(value, other, rtol=1e-5, atol=1e-6)


def test_a_training_graph(fixtures: Path):
    keras.utils.set_random_seed(0)
    config = tiny_config()
    ours = training_model.build(config)
    theirs = with_weights_of(saved(fixtures, "training"), ours)
    assert type(theirs) is training_model.TrainingNetwork
    assert theirs.weight_decay == config.WEIGHT_DECAY
    batch = tiny_batch(config)
    generators = [v for v in ours.variables if "seed" in v.path]
    states = [np.array(v) for v in generators]
    expected = ours(batch, training=True)
    for variable, state in zip(
        (v for v in theirs.variables if "seed" in v.path), states, strict=True
    ):
        variable.assign(state)
    found = theirs(batch, training=True)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert float(np.sum(found[name])) == pytest.approx(float(np.sum(value)), rel=1e-5), name


def test_what_else_was_registered_still_is():
    """Layers and wrappers of Matterport's names, which graphs of people's own may hold."""
    import mrcnn.edge_loss
    import mrcnn.model

    assert mrcnn.model and mrcnn.edge_loss
    names = (
        *("AllSlots", "BatchNorm", "DetectionLayer", "DetectionTargetLayer", "EdgeAgreementHead"),
        *("EdgeAgreementLoss", "FoundBoxes", "ProposalLayer", "PyramidROIAlign", "SGD"),
        *("RoiAlign", "TrainingModel", "UncertaintyWeighting"),
    )
    for name in names:
        assert keras.saving.get_registered_object(f"mrcnn>{name}") is not None, name
