"""Which states are kept, and whether there is room for one more."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from mrcnn.checkpoints import folders
from mrcnn.checkpoints.state_file import Groups

GIGABYTE = 10**9
# Bytes that HDF5 adds to an array and to a file, at most (measured: 900 and 6,000).
ARRAY_OVERHEAD, FILE_OVERHEAD = 2_000, 100_000


def expected_size(groups: Groups) -> int:
    """Bytes that a state file of these groups will take, at most."""
    arrays = [array for variables in groups.values() for _, array in variables]
    return sum(array.nbytes + ARRAY_OVERHEAD for array in arrays) + FILE_OVERHEAD


def check_budget(size: int, budget: float | None) -> None:
    """Check that the disk budget has room for a state and its successor.

    Args:
        size: bytes of a state.
        budget: `Config.CHECKPOINT_DISK_BUDGET`, GB.

    Raises:
        ValueError: there is no room for both.
    """
    if budget is not None and 2 * size > budget * GIGABYTE:
        raise ValueError(
            f"CHECKPOINT_DISK_BUDGET: expected at least {2 * size / GIGABYTE:.3g} GB, two states, "
            f"because a new one is written before the old one is deleted; received {budget:g} GB."
        )


def check_free_space(log_dir: str | os.PathLike[str], size: int) -> None:
    """Check that a state fits on the disk, before anything is written.

    Raises:
        OSError: it does not fit (`errno.ENOSPC`).
    """
    free = shutil.disk_usage(log_dir).free
    if free < size:
        raise OSError(
            errno.ENOSPC,
            f"The disk is full: expected {size / GIGABYTE:.3g} GB for a state of training, "
            f"received {free / GIGABYTE:.3g} GB of free space. Nothing was deleted; free space, "
            "then resume with --model last",
            os.fspath(log_dir),
        )


def remove_old(
    log_dir: str | os.PathLike[str],
    kept: int,
    best_step: int | None = None,
    budget: float | None = None,
) -> list[int]:
    """Delete the states that need not stay; call it when the newest one is on the disk.

    The newest `kept` and the best one stay. When these and the next one would exceed the budget,
    the oldest go first, then the best; the newest never.

    Args:
        log_dir: the folder.
        kept: at least 1.
        best_step: the step of the best state.
        budget: GB, see `check_budget`.

    Returns:
        The steps of the states that were deleted.
    """
    found = folders.states_in(log_dir)
    steps = sorted(found)
    if not steps:
        return []
    newest = steps[-1]
    wanted = set(steps[-kept:])
    if best_step is not None and best_step in found:
        wanted.add(best_step)
    # The first goes first when the budget is short.
    staying = sorted(wanted, key=lambda step: (step == newest, step == best_step, step))
    sizes = {step: os.path.getsize(os.path.join(log_dir, found[step])) for step in steps}

    def exceed_budget() -> bool:
        needed = sum(sizes[step] for step in staying) + sizes[newest]  # the next one's, too
        return budget is not None and needed > budget * GIGABYTE

    while len(staying) > 1 and exceed_budget():
        staying.pop(0)
    removed = [step for step in steps if step not in staying]
    for step in removed:
        Path(log_dir, found[step]).unlink()
    return removed
