"""Training with Keras's `fit`: batches, and the losses that are logged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from benchmarks.stand_in import Squares, StandIn, StandInConfig
from mrcnn.runs import settings as runs_settings
from mrcnn.training import trainer


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


def test_rows_of_epochs_to_come_are_dropped(tmp_path: Path):
    path = tmp_path / "losses.csv"
    trainer.drop_losses(path, 0)
    assert not path.exists()
    path.write_text("epoch,loss\r\n0,1.0\r\n1,2.0\r\n2,3.", newline="")
    trainer.drop_losses(path, 1)
    assert path.read_bytes() == b"epoch,loss\r\n0,1.0\r\n"
    path.write_text("", newline="")
    trainer.drop_losses(path, 1)
    assert path.read_bytes() == b""


def test_a_run_without_steps_of_validation_is_not_validated(tmp_path: Path):
    config = runs_settings.configure(StandInConfig, {"VALIDATION_STEPS": 0})
    model = StandIn("training", config, tmp_path)
    history = model.train(Squares().add(4), Squares().add(4), 1e-2, epochs=2, layers="all")
    assert not any(name.startswith("val_") for name in history.history)
    assert model.find_last().endswith("_0002.h5")
