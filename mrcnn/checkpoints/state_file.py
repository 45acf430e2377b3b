"""State files: everything that training needs to go on at an exact step, in one file.

A state file is HDF5 with a first line before it (in the user block, which HDF5 readers skip):
the format's version and the SHA-256 of all bytes after the block. The attribute `header` holds
JSON (step, stage, settings, …; see `mrcnn.checkpoints.writer`); each group holds arrays under their
numbers, with the attribute `path` for the variable's name. Nothing in it can run code.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mrcnn.checkpoints import folders

FORMAT = 1
USER_BLOCK = 512  # bytes; the smallest that HDF5 allows
_FIRST_LINE = re.compile(rb"mrcnn state (?P<format>\d+) sha256 (?P<digest>[0-9a-f]{64})\n")
# HDF5's own bytes around an array, and around all: above what was seen (0.9 and 6 KB).
ARRAY_OVERHEAD, FILE_OVERHEAD = 2_000, 100_000
GIGABYTE = 10**9

# Of each group: the paths and values of its variables, in order.
Groups = Mapping[str, Iterable[tuple[str, np.ndarray]]]


class StateError(ValueError):
    """A state file that cannot be used; the message names it."""


@dataclass(frozen=True)
class State:
    """What a state file holds.

    Attributes:
        path: the file.
        header: see `mrcnn.checkpoints.writer.StateWriter`.
        groups: of each group ("model", "optimizer", …) the (path, array) pairs in order.
    """

    path: str
    header: dict[str, Any]
    groups: dict[str, list[tuple[str, np.ndarray]]]


def write_state(path: str | os.PathLike[str], header: Mapping[str, Any], groups: Groups) -> int:
    """Write a state file under a temporary name, sync it, and rename it.

    Args:
        path: the file; its folder is made when missing.
        header: of JSON's types.
        groups: arrays are taken one at a time, so that they need not all be in memory.

    Returns:
        Bytes of the file.

    Raises:
        OSError: the disk is full or does not write. What lay under `path` is still there.
    """
    try:
        with folders.atomic_path(path) as temporary:
            with h5py.File(temporary, "w", userblock_size=USER_BLOCK) as file:
                file.attrs["header"] = json.dumps(header)
                for name, variables in groups.items():
                    group = file.create_group(name)
                    for number, (variable_path, array) in enumerate(variables):
                        dataset = group.create_dataset(f"{number:05d}", data=_storable(array))
                        dataset.attrs["path"] = variable_path
            first_line = f"mrcnn state {FORMAT} sha256 {_digest(temporary)}\n"
            with open(temporary, "rb+") as file:
                file.write(first_line.encode().ljust(USER_BLOCK, b"\0"))
            size = os.path.getsize(temporary)
    except (OSError, RuntimeError) as error:  # h5py raises either when a write fails
        raise OSError(
            getattr(error, "errno", None) or errno.EIO,
            f"The state of training could not be written ({error}); expected a folder on a disk "
            "with free space; nothing older was deleted. Free space, then go on with --model last",
            os.fspath(path),
        ) from error
    return size


def read_state(path: str | os.PathLike[str]) -> State:
    """Read a state file after checking every byte of it.

    Raises:
        StateError: the file is damaged, cut short, or of another format.
    """
    path = os.fspath(path)
    try:
        with open(path, "rb") as file:
            match = _FIRST_LINE.match(file.read(USER_BLOCK))
    except OSError as error:
        raise StateError(f"{path}: the state cannot be read ({error}).") from error
    if match is None:
        raise StateError(f"{path}: expected a state file of mrcnn; its first line is not one.")
    if int(match["format"]) != FORMAT:
        raise StateError(
            f"{path}: expected a state file of format {FORMAT}; received format "
            f"{int(match['format'])}. Go on with the version of mrcnn that wrote it."
        )
    if _digest(path) != match["digest"].decode():
        raise StateError(
            f"{path}: the state file is damaged: expected the SHA-256 {match['digest'].decode()}, "
            f"received another one ({os.path.getsize(path)} bytes)."
        )
    with h5py.File(path, "r") as file:
        header = json.loads(file.attrs["header"])
        groups = {
            name: [
                (dataset.attrs["path"], dataset[()])
                for dataset in (group[number] for number in sorted(group))
            ]
            for name, group in file.items()
        }
    return State(path, header, groups)


def newest_state(
    log_dir: str | os.PathLike[str], up_to: int | None = None
) -> tuple[State | None, list[str]]:
    """Return the newest state of a log folder that is whole, and what is wrong with newer ones.

    Args:
        log_dir: the folder.
        up_to: only states of at most so many steps.

    Returns:
        (state, or None when the folder holds no state file; messages that name damaged files)

    Raises:
        StateError: there are state files, but all are damaged.
    """
    found = folders.states_in(log_dir)
    damaged: list[str] = []
    for step in sorted(found, reverse=True):
        if up_to is not None and step > up_to:
            continue
        try:
            return read_state(os.path.join(log_dir, found[step])), damaged
        except StateError as error:
            damaged.append(str(error))
    if damaged:
        raise StateError(
            f"{os.fspath(log_dir)}: none of its {len(damaged)} states can be used: "
            f"{' '.join(damaged)} Pass the weights of an epoch (mask_rcnn_*.h5) instead."
        )
    return None, damaged


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
        ValueError: it has not.
    """
    if budget is not None and 2 * size > budget * GIGABYTE:
        raise ValueError(
            f"CHECKPOINT_DISK_BUDGET: expected at least {2 * size / GIGABYTE:.3g} GB, two states, "
            f"because a new one is written before the old one is deleted; received {budget:g} GB."
        )


def check_free_space(log_dir: str | os.PathLike[str], size: int) -> None:
    """Check that a state fits on the disk, before anything is written.

    Raises:
        OSError: it does not (`errno.ENOSPC`).
    """
    free = shutil.disk_usage(log_dir).free
    if free < size:
        raise OSError(
            errno.ENOSPC,
            f"The disk is full: expected {size / GIGABYTE:.3g} GB for a state of training, "
            f"received {free / GIGABYTE:.3g} GB of free space. Nothing was deleted; free space, "
            "then go on with --model last",
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
    staying = steps[-kept:] + ([best_step] if best_step in found else [])
    # In the order in which they go when the budget is short.
    staying = sorted(set(staying), key=lambda step: (step == steps[-1], step == best_step, step))
    sizes = {step: os.path.getsize(os.path.join(log_dir, found[step])) for step in steps}
    while len(staying) > 1 and budget is not None:
        if sum(sizes[step] for step in staying) + sizes[steps[-1]] <= budget * GIGABYTE:
            break
        staying.pop(0)
    removed = [step for step in steps if step not in staying]
    for step in removed:
        Path(log_dir, found[step]).unlink()
    return removed


def _digest(path: str) -> str:
    """SHA-256 of the bytes after the user block."""
    with open(path, "rb") as file:
        file.seek(USER_BLOCK)
        return hashlib.file_digest(file, "sha256").hexdigest()


def _storable(array: np.ndarray) -> np.ndarray:
    # HDF5 has no bfloat16: keep its bits. The variable knows the type (`mrcnn.checkpoints.variables`).
    return array if array.dtype.kind in "biuf" else array.view(f"u{array.dtype.itemsize}")
