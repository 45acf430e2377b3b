"""Losses that are not finite stop training, with all that is needed to find out why."""

from __future__ import annotations

import math
import re
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from mrcnn.checkpoints import folders, state_file
from mrcnn.training import nonfinite
from tests.training.spoilt_run import train_with_rates


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A run whose rate is 1e38 after seven updates, so that its weights overflow."""
    model, error = train_with_rates(tmp_path_factory.mktemp("logs"), 7, 1e38, validate=True)
    return SimpleNamespace(run=Path(model.log_dir), error=error, message=str(error))


def test_the_message_names_losses_gradients_images_and_the_replay(failed: SimpleNamespace):
    for part in ("loss ", "rpn_class_loss", "gradient norm of all 10 weights", "source 'squares'"):
        assert part in failed.message, failed.message
    (replay,) = failed.run.glob("*.replay")
    assert f"mrcnn replay {replay}" in failed.message
    assert failed.error.step == int(replay.stem.split("_")[1]) in (7, 8)


def test_no_state_is_spoilt(failed: SimpleNamespace):
    assert folders.states_in(failed.run)
    for name in folders.states_in(failed.run).values():
        for pairs in state_file.read_state(failed.run / name).groups.values():
            assert all(np.all(np.isfinite(array)) for _, array in pairs)


def test_the_replay_file_holds_the_batch_and_the_weights_before_it(failed: SimpleNamespace):
    (path,) = failed.run.glob("*.replay")
    state = state_file.read_state(path)
    assert state.header["step"] == failed.error.step
    batch = nonfinite.batch_of(state)
    assert batch["input_image"].dtype == np.uint8
    ids = [int(image_id) for image_id in batch["input_image_meta"][:, 0]]
    assert all(f"id {image_id}," in state.header["images"] for image_id in ids)
    assert all(np.all(np.isfinite(array)) for _, array in state.groups["model"])


def test_an_update_that_spoils_the_weights_is_found_before_they_are_saved(tmp_path: Path):
    model, error = train_with_rates(tmp_path, 4, math.inf, validate=False)
    assert error.step == 4 and "After step 4" in str(error) and "the update" in str(error)
    assert all(map(math.isfinite, error.losses.values()))
    # It was the last step of the first epoch.
    run = Path(model.log_dir)
    assert folders.epochs_in(run) == {} and sorted(folders.states_in(run)) == [0, 3]
    assert (run / "step_00000004.replay").is_file()


NAN = float("nan")


@pytest.mark.parametrize(
    ("before", "losses", "norms", "layer", "said"),
    [
        ({"loss": NAN}, {"loss": NAN}, {"a": NAN}, "fpn_p2", "gives the losses.*layer .* fpn_p2"),
        ({"loss": NAN}, {"loss": NAN}, {"a": NAN}, None, "gives the losses.*their sum"),
        ({"loss": 1.0}, {"loss": 1.0}, {"a": 2.0, "b": NAN}, None, "not the gradients of 1.* b"),
        ({"loss": NAN}, {"loss": 1.0}, {"a": 2.0}, None, "finite this time"),
        ({}, {"loss": 1.0}, {"a": 2.0}, None, "^Losses and gradients are finite: .* the update"),
        ({"loss": 2.0}, {"loss": 1.0}, {"a": 2.0}, None, "^Losses and gradients are finite"),
    ],
)
def test_the_conclusion_of_a_replay(before, losses, norms, layer, said: str):
    assert re.search(said, nonfinite.conclusion(before, losses, norms, layer))


def test_the_first_layer_that_is_not_finite_is_found():
    inputs = keras.Input((2,), name="x")
    scaled = keras.layers.Rescaling(1e30, name="scaled")(inputs)
    squared = keras.layers.Multiply(name="squared")([scaled, scaled])
    outputs = keras.layers.Rescaling(0.0, name="last")(squared)
    model = keras.Model({"x": inputs}, outputs)
    small, large = np.zeros((1, 2), np.float32), np.ones((1, 2), np.float32)
    assert nonfinite.first_spoilt_layer(model, {"x": small}) is None
    assert nonfinite.first_spoilt_layer(model, {"x": large}) == "squared"
