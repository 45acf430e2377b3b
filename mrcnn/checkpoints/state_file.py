"""State files: everything that training needs to continue at an exact step, in one file.

A state file is HDF5 with a first line before it (in the user block, which HDF5 readers skip):
the format's version and the SHA-256 of all bytes after the block. The attribute `header` holds
JSON (step, stage, settings, …; see `mrcnn.checkpoints.writer`); each group holds arrays under their
numbers, with the attribute `path` for the variable's name. Nothing in it can run code.

The checksum finds damage, not malice: anybody can compute one. So a state is read like untrusted
weights (`mrcnn.files.hdf5`), and its header is checked (`mrcnn.checkpoints.header`).
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from mrcnn.checkpoints import folders
from mrcnn.checkpoints.header import checked_header
from mrcnn.files import atomic, hdf5

FORMAT = 1
USER_BLOCK = 512  # bytes; the smallest that HDF5 allows
_FIRST_LINE = re.compile(rb"mrcnn state (?P<format>\d+) sha256 (?P<digest>[0-9a-f]{64})\n")

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
        with atomic.atomic_path(path) as temporary:
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
            "with free space; nothing older was deleted. Free space, then resume with --model last",
            os.fspath(path),
        ) from error
    return size


def read_state(path: str | os.PathLike[str], kind: str | None = None) -> State:
    """Read a state file after checking every byte of it.

    Args:
        path: the file.
        kind: that it must be of, "state" or "replay".

    Raises:
        StateError: the file is damaged, cut short, or of another format; or it holds what a state
            does not, see `mrcnn.files.hdf5`.
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
            f"{int(match['format'])}. Continue with the version of mrcnn that wrote it."
        )
    if _digest(path) != match["digest"].decode():
        raise StateError(
            f"{path}: the state file is damaged: expected the SHA-256 {match['digest'].decode()}, "
            f"received another one ({os.path.getsize(path)} bytes)."
        )
    with hdf5.open_untrusted(path, StateError) as file:
        # Nothing in it is compressed, so that it cannot declare more than it holds.
        hdf5.check_tree(file, os.path.getsize(path))
        header = checked_header(hdf5.text(file, "header"))
        groups = {name: _read_group(hdf5.subgroup(file, name)) for name in file}
    if kind is not None and header.get("kind") != kind:
        raise StateError(
            f"{path}: expected a {kind} file (step_*.{kind}); received a {header.get('kind')!r}."
        )
    return State(path, header, groups)


def _read_group(group: h5py.Group) -> list[tuple[str, np.ndarray]]:
    pairs, characters = [], 0
    for number in sorted(group):
        dataset = hdf5.child(group, number)
        if not isinstance(dataset, h5py.Dataset):
            raise hdf5.UnsafeFileError(f"{dataset.name} is a group; expected an array of numbers")
        variable_path = hdf5.text(dataset, "path")
        characters += len(variable_path)  # HDF5 can keep one text for all of them
        if characters > hdf5.MAX_NAMES_BYTES:
            raise hdf5.UnsafeFileError(f"the names in {group.name} are too long")
        pairs.append((variable_path, dataset[()]))
    return pairs


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
            return read_state(os.path.join(log_dir, found[step]), "state"), damaged
        except StateError as error:
            damaged.append(str(error))
    if damaged:
        raise StateError(
            f"{os.fspath(log_dir)}: none of its {len(damaged)} states can be used: "
            f"{' '.join(damaged)} Pass the weights of an epoch (mask_rcnn_*.h5) instead."
        )
    return None, damaged


def _digest(path: str) -> str:
    """SHA-256 of the bytes after the user block."""
    with open(path, "rb") as file:
        file.seek(USER_BLOCK)
        return hashlib.file_digest(file, "sha256").hexdigest()


def _storable(array: np.ndarray) -> np.ndarray:
    # HDF5 has no bfloat16: keep its bits. `mrcnn.checkpoints.variables` knows the type again.
    return array if array.dtype.kind in "biuf" else array.view(f"u{array.dtype.itemsize}")
