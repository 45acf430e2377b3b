"""The loss of every step is watched: one that is not finite stops training, a jump is logged."""

from __future__ import annotations

import logging
import math
import threading
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from mrcnn.checkpoints.timetable import Timetable
from mrcnn.training.loss_guard import SPIKE_WARM_UP, LossGuard, NonFiniteLossError


def guard_of(means: dict[str, float] | None = None, factor: float | None = 5.0) -> LossGuard:
    guard = LossGuard(Timetable(0, 0, 1000, 100), factor, lambda step: f"images of {step}")
    guard.set_model(SimpleNamespace(get_metrics_result=lambda: means or {}))
    return guard


def running_means(losses: list[float]) -> list[float]:
    return list(np.cumsum(losses) / np.arange(1, len(losses) + 1))


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


def feed(guard: LossGuard, losses: list[float]) -> None:
    guard.begin(0, 0)
    for batch, mean in enumerate(running_means(losses)):
        guard.on_train_batch_end(batch, {"loss": mean})


@pytest.mark.parametrize("factor", [None, 5.0])
def test_a_loss_that_leaves_its_range_is_said_once(capsys: pytest.CaptureFixture, factor):
    guard = guard_of(factor=factor)
    climb = [56.0 * 1.2**step for step in range(40)]
    feed(guard, [56.0] * 30 + climb + [33_000.0] * 50)
    said = capsys.readouterr().err
    assert said.count("!!! The loss has left its range") == 1
    assert f"at step {guard.diverged_at}, after 56 in the first" in said
    assert "lower learning rate" in said and 30 < guard.diverged_at < 75


@pytest.mark.parametrize(
    "losses",
    [
        [5.0 - step / 30 for step in range(100)],
        [5.0] * 40 + [1e6] + [5.0] * 40,  # a spike
        [5.0] * 40 + [400.0] * 40,  # below two orders of magnitude
        [1e4, 1e3] + [50.0] * 80,
    ],
    ids=["learns", "spike", "rises", "steep start"],
)
def test_a_loss_within_its_range_is_not_said_to_leave_it(capsys, losses):
    guard = guard_of(factor=None)
    feed(guard, losses)
    assert guard.diverged_at is None and capsys.readouterr().err == ""
