"""Steps and epochs of a stage, whose last epoch may be short."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mrcnn.checkpoints.identity import StageRun
from mrcnn.checkpoints.timetable import Timetable


@given(st.integers(0, 9), st.integers(0, 99), st.integers(1, 60), st.integers(1, 20))
def test_every_step_belongs_to_one_epoch(epoch: int, first: int, steps: int, length: int):
    table = Timetable(epoch, first, first + steps, length)
    expected = []  # the epoch of each step, by counting
    for number in range(steps):
        expected.append(epoch + number // length)
    assert [table.epoch_of(step) for step in range(first, first + steps)] == expected
    for number in range(epoch, table.last_epoch):
        assert table.length(number) == expected.count(number) >= 1
        assert table.step(number) == first + expected.index(number)
    assert table.last_epoch == expected[-1] + 1
    assert table.step(table.last_epoch) == first + steps


def test_the_stages_of_older_states_have_whole_epochs():
    stage = StageRun("all", 0.1, 0.9, first_epoch=2, last_epoch=5)
    assert stage.timetable(10) == Timetable(2, 20, 50, 10)
    assert stage.timetable(10).step(1) == 10  # before it began
