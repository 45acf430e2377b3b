"""Training with Keras's `fit`: batches, and the losses that are logged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import pytest

from benchmarks.stand_in import Squares, StandIn, StandInConfig
from mrcnn.runs import settings as runs_settings


def test_every_epoch_is_validated_on_the_same_batches(tmp_path: Path):
    # Weights that do not change, without noise: the loss of the validation may not either.
    class Still(StandIn):
        def build(self, mode: str, config: Any) -> keras.Model:
            model = super().build(mode, config)
            model.get_layer("noise").factor = 0.0
            return model

    config = runs_settings.configure(StandInConfig, {"TRAIN_BN": False, "VALIDATION_STEPS": 3})
    model = Still("training", config, tmp_path)
    history = model.train(
        Squares().add(4), Squares().add(6), 1e-30, epochs=3, layers="mrcnn_bbox_fc"
    )
    assert len(set(history.history["val_rpn_class_loss"])) == 1
    assert len(set(history.history["rpn_class_loss"])) > 1


def test_a_run_without_steps_of_validation_is_not_validated(tmp_path: Path):
    config = runs_settings.configure(StandInConfig, {"VALIDATION_STEPS": 0})
    model = StandIn("training", config, tmp_path)
    history = model.train(Squares().add(4), Squares().add(4), 1e-2, epochs=2, layers="all")
    assert not any(name.startswith("val_") for name in history.history)
    assert model.find_last().endswith("_0002.h5")


@pytest.mark.parametrize("steps", [None, -1, "3"])
def test_steps_of_validation_that_cannot_be_are_refused_before_the_first_step(
    tmp_path: Path, steps: Any
):
    """Also when a script sets them after the configuration was made and checked."""
    with pytest.raises(ValueError, match="VALIDATION_STEPS: expected an integer of at least 0"):
        runs_settings.configure(StandInConfig, {"VALIDATION_STEPS": steps})
    config = StandInConfig()
    model = StandIn("training", config, tmp_path)
    config.VALIDATION_STEPS = steps
    with pytest.raises(ValueError, match="VALIDATION_STEPS: expected an integer of at least 0"):
        model.train(Squares().add(4), Squares().add(4), 1e-2, epochs=1, layers="all")
    assert not list(tmp_path.iterdir())
