"""One bar a run on a terminal; rows alone in a pipe."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import keras
import pytest

from mrcnn.checkpoints.timetable import Timetable
from mrcnn.training import progress
from mrcnn.training.progress import Progress
from tests.screen.test_terminal import a_terminal


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def train(shown: Progress, clock: list[float], seconds: float = 2.0) -> None:
    """The second stage of a run of 20 steps: 2 epochs of 5 steps, from step 5 on."""
    writer = SimpleNamespace(metric="val_loss", best=None)
    shown.begin(Timetable(first_epoch=1, first_step=5, last_step=15, steps_per_epoch=5), writer)
    for epoch in (1, 2):
        shown.on_epoch_begin(epoch)
        for batch in range(5):
            clock[0] += seconds
            shown.on_train_batch_end(batch, {"loss": 1.5})
        shown.on_test_batch_end(0, {})
        value = {"loss": 1.5, "val_loss": 4.0 - epoch}
        writer.best = {"metric": "val_loss", "value": 4.0 - epoch, "epoch": epoch + 1}
        shown.on_epoch_end(epoch, value)
    shown.on_train_end()


def test_a_terminal_has_one_bar_over_all_stages(clock, monkeypatch):
    screen = a_terminal(monkeypatch)
    monkeypatch.setenv("COLUMNS", "120")
    train(Progress(20, 4), clock)
    text = screen.getvalue()
    # 4 of the 9 steps after the first one are in the first epoch.
    assert "step 10/20 [##########..........] 50%, 2 s a step, 20 s left, loss 1.5000" in text
    assert "\x1b[32m" in text and "3/4" in text and "2.0000*" in text
    assert text.endswith("\r\x1b[K")  # nothing is left of it
    assert not [line for line in text.split("\n") if line.count("epoch") > 1]


def test_a_pipe_gets_the_rows_without_escapes_or_carriage_returns(clock, capsys):
    train(Progress(20, 4), clock)
    out, err = capsys.readouterr()
    assert not err and "\r" not in out and "\x1b" not in out
    lines = out.splitlines()
    assert len(lines) == 3 and lines[0].split()[0] == "epoch"
    assert [line.split()[0] for line in lines[1:]] == ["2/4", "3/4"]


def test_a_long_epoch_says_now_and_then_how_far_it_is(clock, capsys):
    train(Progress(20, 4), clock, seconds=progress.LOG_SECONDS / 2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "step 7 of 20, 3e+02 s a step, 65 min left; loss 1.5000"
    assert sum(line.startswith("step ") for line in lines) == 4


def test_a_script_that_brings_keras_own_bar_gets_that_alone():
    assert progress.show_themselves([keras.callbacks.ProgbarLogger()])
    assert not progress.show_themselves([keras.callbacks.History(), Progress()])


def test_what_is_silenced_shows_no_bar(clock, monkeypatch):
    screen = a_terminal(monkeypatch)
    progress.logger.setLevel("WARNING")
    try:
        train(Progress(), clock)
    finally:
        progress.logger.setLevel("INFO")
    assert screen.getvalue() == ""


def test_the_stream_may_be_any(clock, monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    train(Progress(), clock)
    assert sys.stdout.getvalue().count("\n") == 3  # type: ignore[attr-defined]
