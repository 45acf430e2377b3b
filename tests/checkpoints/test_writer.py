"""When states are written, with what header, and which of them stay."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from mrcnn.checkpoints import folders, state_file, variables
from mrcnn.checkpoints.identity import RunIdentity, StageRun
from mrcnn.checkpoints.writer import StateWriter
from tests.tiny import tiny_config

STEPS = 5  # of an epoch


@pytest.fixture
def model() -> keras.Model:
    image = keras.Input((2,))
    model = keras.Model(image, keras.layers.Dense(1, name="dense")(image))
    model.compile("sgd", "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def writer_of(
    model: keras.Model, folder: Path, validation: dict[str, Any] | None = None, **settings: Any
) -> StateWriter:
    config = tiny_config(**{"STEPS_PER_EPOCH": STEPS, "CHECKPOINT_MINUTES": None, **settings})
    stage = StageRun("all", 0.1, 0.9, first_epoch=0, last_epoch=4)
    identity = RunIdentity({}, {"images": 3, "digest": ""}, validation, stage)
    return StateWriter(model, config, identity, folder)


def steps_in(folder: Path) -> list[int]:
    return sorted(folders.states_in(folder))


def test_the_start_is_a_state_and_its_header_tells_the_place(model, tmp_path):
    writer = writer_of(model, tmp_path)
    writer.begin(7, None)
    header = state_file.read_state(tmp_path / "step_00000007.state").header
    assert (header["step"], header["epoch"], header["epoch_step"]) == (7, 1, 2)
    assert header["kind"] == "state" and header["steps_per_epoch"] == STEPS
    assert header["stage"]["layers"] == "all" and header["data"]["images"] == 3
    assert header["best"] is None and header["versions"]["keras"] == keras.__version__


def test_a_state_to_go_on_from_is_not_written_again(model, tmp_path):
    path = writer_of(model, tmp_path).write(1, 2)
    before = Path(path).stat().st_mtime_ns
    state = state_file.read_state(path)
    writer = writer_of(model, tmp_path)
    writer.begin(7, state)
    assert writer.write(1, 2) == path and Path(path).stat().st_mtime_ns == before


def test_later_states_and_unfinished_files_are_moved_out_of_the_way(
    model, tmp_path, capsys: pytest.CaptureFixture
):
    writer_of(model, tmp_path, CHECKPOINTS_KEPT=9).write(1, 4)
    (tmp_path / "step_00000003.state.1.part").write_bytes(b"half")
    writer_of(model, tmp_path).begin(5, None)
    assert steps_in(tmp_path) == [5]
    assert (tmp_path / "step_00000009.state.unused").is_file()
    assert not list(tmp_path.glob("*.part"))
    captured = capsys.readouterr()
    assert "step_00000003.state.1.part" in captured.out
    assert "step_00000009.state.unused" in captured.err


@pytest.mark.parametrize(
    ("settings", "due"),
    [
        ({"CHECKPOINT_STEPS": 3}, [0, 3, 6]),
        ({"CHECKPOINT_STEPS": None}, []),
        ({"CHECKPOINT_STEPS": None, "CHECKPOINT_MINUTES": 1e-9}, [0, 1, 2, 3, 4, 5, 6]),
        ({"CHECKPOINT_STEPS": None, "CHECKPOINT_MINUTES": 60}, []),
    ],
)
def test_steps_and_minutes_ask_for_states(model, tmp_path, settings, due):
    writer = writer_of(model, tmp_path, **settings)
    assert [step for step in range(7) if writer.is_due(step)] == due


@pytest.mark.parametrize(
    ("metric", "values", "best"),
    [
        (None, [3.0, 1.0, 2.0], {"metric": "loss", "value": 1.0, "step": 10, "epoch": 2}),
        ("AP", [0.1, 0.5, 0.5], {"metric": "AP", "value": 0.5, "step": 10, "epoch": 2}),
        (
            None,
            [float("nan"), 2.0, float("inf")],
            {"metric": "loss", "value": 2.0, "step": 10, "epoch": 2},
        ),
    ],
    ids=["loss", "score", "not finite"],
)
def test_the_best_state_is_noted_and_stays(model, tmp_path, metric, values, best):
    writer = writer_of(model, tmp_path, CHECKPOINT_METRIC=metric, CHECKPOINTS_KEPT=1)
    for epoch, value in enumerate(values):
        path = writer.write_epoch(epoch, {metric or "loss": value})
    assert writer.best == state_file.read_state(path).header["best"] == best
    assert steps_in(tmp_path) == [10, 15]


def test_the_best_of_another_metric_is_forgotten(model, tmp_path):
    writer_of(model, tmp_path).write_epoch(0, {"loss": 0.1})
    writer = writer_of(model, tmp_path, CHECKPOINT_METRIC="other_loss")
    writer.begin(5, None)
    assert writer.best is not None and writer.best["metric"] == "loss"
    writer.write_epoch(1, {"other_loss": 9.0})
    assert writer.best == {"metric": "other_loss", "value": 9.0, "step": 10, "epoch": 2}


def test_with_validation_its_loss_counts(model, tmp_path):
    validation = {"images": 1, "digest": ""}
    assert writer_of(model, tmp_path).metric == "loss"
    assert writer_of(model, tmp_path, validation).metric == "val_loss"
    assert writer_of(model, tmp_path, validation, VALIDATION_STEPS=0).metric == "loss"
    assert writer_of(model, tmp_path, validation, CHECKPOINT_METRIC="AP").metric == "AP"


def test_a_loss_of_a_validation_that_there_is_not_is_said_at_once(model, tmp_path):
    with pytest.raises(ValueError, match="'val_loss' expects a validation set"):
        writer_of(model, tmp_path, CHECKPOINT_METRIC="val_loss")
    settings = {"CHECKPOINT_METRIC": "val_mrcnn_mask_loss", "VALIDATION_STEPS": 0}
    with pytest.raises(ValueError, match="expects VALIDATION_STEPS above 0"):
        writer_of(model, tmp_path, {"images": 1, "digest": ""}, **settings)


def test_a_metric_that_is_missing_is_said_when_the_state_is_safe(model, tmp_path):
    with pytest.raises(ValueError, match="CHECKPOINT_METRIC: expected one of .'loss'.*'AP'"):
        writer_of(model, tmp_path, CHECKPOINT_METRIC="AP").write_epoch(0, {"loss": 1.0})
    assert steps_in(tmp_path) == [5]


def test_weights_that_are_not_finite_are_not_written(model, tmp_path):
    writer = writer_of(model, tmp_path)
    writer.write(0, 1)
    model.get_layer("dense").bias.assign([np.nan])
    with pytest.raises(variables.NonFiniteWeightsError, match="dense/bias"):
        writer.write(0, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000001.state"]


def test_a_budget_without_room_is_said_at_once(model, tmp_path):
    with pytest.raises(ValueError, match="CHECKPOINT_DISK_BUDGET"):
        writer_of(model, tmp_path, CHECKPOINT_DISK_BUDGET=1e-9)


def test_a_damaged_older_state_forgets_the_best(model, tmp_path, caplog):
    path = writer_of(model, tmp_path).write_epoch(0, {"loss": 1.0})
    Path(path).write_bytes(b"damaged")
    writer = writer_of(model, tmp_path)
    with caplog.at_level(logging.WARNING, logger="mrcnn"):
        writer.begin(5, None)
    assert writer.best is None and "The best state so far is forgotten" in caplog.text
