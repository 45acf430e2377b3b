"""How long it will take is said once there is something to measure."""

from __future__ import annotations

import pytest

from mrcnn.training import pace
from mrcnn.training.pace import STEPS, Pace, duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "1 s"),
        (89, "89 s"),
        (90, "2 min"),
        (3600, "60 min"),
        (2 * 3600 + 300, "2 h 5 min"),
        (72 * 3600, "3.0 days"),
        (float("inf"), "an unknown time"),
    ],
)
def test_a_time_in_words(seconds: float, text: str):
    assert duration(seconds) == text


def run(left: int, steps: int, clock: list[float], seconds: float) -> None:
    callback = Pace(left)
    for epoch in range(2):
        callback.on_epoch_begin(epoch)
        for batch in range(steps):
            callback.on_train_batch_begin(batch)
            clock[0] += 60 if (epoch, batch) == (0, 0) else seconds  # the first step compiles
        clock[0] += 10  # validation
        callback.on_epoch_end(epoch)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(pace.time, "perf_counter", lambda: now[0])
    return now


def test_after_ten_steps_and_after_the_second_epoch(clock, capsys: pytest.CaptureFixture):
    run(left=1000, steps=50, clock=clock, seconds=2.0)
    said = capsys.readouterr().out.splitlines()
    left = 1000 - STEPS - 1
    assert said[0] == f"2 s a step: {left} steps are left, about 33 min without validation."
    whole = (50 * 2 + 10) / 50 * 900  # of the second epoch: the first compiles the graph
    assert said[1:] == [f"The rest takes about {duration(whole)}, validation included."]


def test_a_training_of_few_steps_says_nothing_of_them(clock, capsys: pytest.CaptureFixture):
    run(left=4, steps=2, clock=clock, seconds=1.0)
    assert "a step" not in capsys.readouterr().out
