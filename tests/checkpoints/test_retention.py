"""Which states stay, and whether there is room for one more."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mrcnn.checkpoints import folders, retention, state_file

SIZE = 1000  # bytes of a state


@pytest.mark.parametrize(
    ("kept", "best", "sizes", "left"),
    [
        (2, None, None, [4, 5]),
        (2, 1, None, [1, 4, 5]),
        (1, 5, None, [5]),
        (9, None, None, [1, 2, 3, 4, 5]),
        (2, 9, None, [4, 5]),  # the best is gone
        # So many states fit, one of them being the next one.
        (3, None, 3, [4, 5]),
        (3, 1, 3, [1, 5]),
        (3, 1, 2, [5]),
        (3, 1, 1, [5]),  # never the newest
    ],
)
def test_what_stays(tmp_path, kept, best, sizes, left):
    for step in range(1, 6):
        Path(folders.state_path(tmp_path, step)).write_bytes(bytes(SIZE))
    budget = None if sizes is None else sizes * SIZE / retention.GIGABYTE
    removed = retention.remove_old(tmp_path, kept, best, budget)
    assert sorted(folders.states_in(tmp_path)) == left
    assert sorted([*removed, *left]) == [1, 2, 3, 4, 5]


def test_a_budget_must_hold_two_states():
    retention.check_budget(10**9, None)
    retention.check_budget(10**9, 2)
    with pytest.raises(ValueError, match="CHECKPOINT_DISK_BUDGET: expected at least 2 GB"):
        retention.check_budget(10**9, 1.9)


def test_a_full_disk_is_said_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(retention.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**6))
    retention.check_free_space(tmp_path, 10**6)
    with pytest.raises(OSError, match="0.001 GB of free space.*deleted") as raised:
        retention.check_free_space(tmp_path, 10**6 + 1)
    assert raised.value.errno == errno.ENOSPC and raised.value.filename == str(tmp_path)


@pytest.mark.parametrize("count", [0, 1, 300])
def test_a_file_is_no_larger_than_expected(tmp_path, count):
    arrays = [(f"layer_{number}/kernel", np.ones((number, 7))) for number in range(count)]
    groups = {"model": arrays, "optimizer": arrays[:3], "metrics": []}
    state_file.write_state(tmp_path / "file", {"stage": "all"}, groups)
    size = os.path.getsize(tmp_path / "file")
    assert size <= retention.expected_size(groups) <= size + 1_000_000
