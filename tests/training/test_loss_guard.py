"""Losses that are not finite stop training, with all that is needed to find out why."""

from __future__ import annotations

import logging
import math
import threading
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from benchmarks import stand_in
from benchmarks.stand_in import Squares, StandIn, StandInConfig
from mrcnn.checkpoints import folders, state_file
from mrcnn.commands import cli
from mrcnn.runs import settings as runs_settings
from mrcnn.training import model as training_model
from mrcnn.training import nonfinite
from mrcnn.training.loss_guard import SPIKE_WARM_UP, LossGuard, NonFiniteLossError


def guard_of(means: dict[str, float] | None = None, factor: float | None = 5.0) -> LossGuard:
    guard = LossGuard(100, factor, lambda step: f"images of {step}")
    guard.set_model(SimpleNamespace(get_metrics_result=lambda: means or {}))
    return guard


def running_means(losses: list[float]) -> list[float]:
    return list(np.cumsum(losses) / np.arange(1, len(losses) + 1))


# --- The guard ----------------------------------------------------------------------------


def test_the_loss_of_a_step_is_found_in_the_running_means():
    guard = guard_of()
    guard.begin(2, 0)
    losses = [1.0, 3.0, 2.0, math.nan]
    for batch, mean in enumerate(running_means(losses)[:3]):
        guard.on_train_batch_end(batch, {"loss": mean})
    assert list(guard.recent) == pytest.approx(losses[:3])
    with pytest.raises(NonFiniteLossError, match="Step 203: loss nan, rpn_class_loss 2") as raised:
        guard.on_train_batch_end(3, {"loss": math.nan, "rpn_class_loss": 0.5})
    assert raised.value.step == 203
    assert raised.value.losses["rpn_class_loss"] == 2.0  # the mean of four, three of them 0


def test_an_infinite_part_stops_too():
    guard = guard_of()
    guard.begin(0, 0)
    with pytest.raises(NonFiniteLossError):
        guard.on_train_batch_end(0, {"loss": 1.0, "mrcnn_mask_loss": math.inf})


def test_a_resumed_epoch_goes_on_from_its_means():
    guard = guard_of({"loss": 2.0})
    guard.begin(0, 4)
    guard.on_train_batch_end(4, {"loss": 3.0})  # 4 steps of 2, then 7
    assert list(guard.recent) == pytest.approx([7.0])


def test_answers_may_come_from_several_threads_in_any_order():
    guard = guard_of()
    guard.begin(0, 0)
    losses = [float(value) for value in range(1, 9)]
    threads = [
        threading.Thread(target=guard.on_train_batch_end, args=(batch, {"loss": mean}))
        for batch, mean in reversed(list(enumerate(running_means(losses))))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(guard.recent) == pytest.approx(losses)


def test_a_spike_is_logged_with_its_images(caplog: pytest.LogCaptureFixture):
    losses = [1.0] * SPIKE_WARM_UP + [4.0, 6.0, 1.0]
    for factor, expected in ((5.0, [SPIKE_WARM_UP + 1]), (None, [])):
        guard = guard_of(factor=factor)
        guard.begin(0, 0)
        with caplog.at_level(logging.WARNING):
            for batch, mean in enumerate(running_means(losses)):
                guard.on_train_batch_end(batch, {"loss": mean})
        assert guard.spikes == expected
    (record,) = caplog.records
    assert f"step {SPIKE_WARM_UP + 1}" in record.getMessage()
    assert f"images of {SPIKE_WARM_UP + 1}" in record.getMessage()


def test_watching_does_not_make_keras_wait_for_each_step():
    callbacks = keras.callbacks.CallbackList([guard_of()], add_progbar=True)
    assert callbacks._async_train or not keras.src.backend.IS_THREAD_SAFE


# --- What training does then -----------------------------------------------------------------


class Jump(keras.optimizers.schedules.LearningRateSchedule):
    """A rate of 1e-3 for some updates, then another."""

    def __init__(self, updates: int, rate: float) -> None:
        self.updates, self.rate = updates, rate

    def __call__(self, step):
        return keras.ops.where(step < self.updates, 1e-3, self.rate)


def train_with_rates(
    folder: Path, steps: int, rate: float, validate: bool
) -> tuple[StandIn, NonFiniteLossError]:
    """A run with a rate of 1e-3 for some steps, then with another."""
    settings = {"CHECKPOINT_STEPS": 3, "GRADIENT_CLIP_NORM": 0, "CHECKPOINT_MINUTES": None}
    config = runs_settings.configure(StandInConfig, settings)
    config.OPTIMIZER = lambda _: keras.optimizers.SGD(Jump(steps, rate))
    keras.utils.set_random_seed(0)
    model = StandIn("training", config, folder)
    val_set = Squares().add(3) if validate else None
    with pytest.raises(NonFiniteLossError) as raised:
        model.train(Squares().add(7), val_set, 1e-3, epochs=3, layers="all")
    return model, raised.value


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


def test_the_command_replays_it(
    failed: SimpleNamespace, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(training_model, "build", stand_in.build_network)
    (path,) = failed.run.glob("*.replay")
    assert cli.main(["replay", str(path)]) == 2
    assert "OPTIMIZER" in capsys.readouterr().err  # a function: a file cannot hold it

    from mrcnn.commands.replay import replay

    losses, norms = replay(path, OPTIMIZER="sgd")
    assert losses == pytest.approx(failed.error.losses, nan_ok=True)
    assert len(norms) == 10
    assert nonfinite.describe(losses, norms) in failed.message


def test_an_update_that_spoils_the_weights_is_found_before_they_are_saved(tmp_path: Path):
    model, error = train_with_rates(tmp_path, 4, math.inf, validate=False)
    assert error.step == 4 and "After step 4" in str(error) and "the update" in str(error)
    assert all(map(math.isfinite, error.losses.values()))
    # It was the last step of the first epoch.
    run = Path(model.log_dir)
    assert folders.epochs_in(run) == {} and sorted(folders.states_in(run)) == [0, 3]
    assert (run / "step_00000004.replay").is_file()


def test_other_files_are_refused(failed: SimpleNamespace, capsys: pytest.CaptureFixture):
    state = next(iter(folders.states_in(failed.run).values()))
    assert cli.main(["replay", str(failed.run / state)]) == 2
    assert "expected a replay file" in capsys.readouterr().err


def test_gradient_norms_are_those_of_the_gradients():
    inputs = keras.Input((2,))
    outputs = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")(inputs)
    model = keras.Model(inputs, outputs)
    optimizer = nonfinite.GradientNorms()
    before = model.get_weights()[0].copy()
    for scale in (1.0, 1e25):  # whose square is infinite in float32
        model.compile(optimizer=optimizer, loss=lambda y, p: keras.ops.sum(p))
        model.train_on_batch(scale * np.array([[3.0, 4.0]]), np.zeros((1, 1)))
        (norm,) = (float(keras.ops.convert_to_numpy(norm)) for norm in optimizer.norms)
        assert norm == pytest.approx(5 * scale, rel=1e-5)
    np.testing.assert_array_equal(model.get_weights()[0], before)
