"""State files: whole or refused, and never at the cost of an older one."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from mrcnn.checkpoints import folders, retention, state_file

ARRAYS = {
    "model": [
        ("conv/kernel", np.arange(6, dtype=np.float32).reshape(2, 3)),
        ("seed", np.uint32(7)),
    ],
    "optimizer": [("sgd/iteration", np.array(12, np.int64)), ("empty", np.zeros((0, 2)))],
    "metrics": [],
}


def groups():
    return {
        name: [(path, np.asarray(array)) for path, array in pairs] for name, pairs in ARRAYS.items()
    }


def write(folder: Path, step: int, **header) -> Path:
    path = Path(folders.state_path(folder, step))
    state_file.write_state(path, {"step": step, **header}, groups())
    return path


def test_what_is_written_is_read(tmp_path):
    path = write(tmp_path, 12, note="ä", loss=float("nan"))
    state = state_file.read_state(path)
    assert state.header["step"] == 12 and state.header["note"] == "ä"
    assert np.isnan(state.header["loss"])
    assert state.groups.keys() == ARRAYS.keys()
    for name, pairs in groups().items():
        assert [path for path, _ in state.groups[name]] == [path for path, _ in pairs]
        for (_, found), (_, expected) in zip(state.groups[name], pairs, strict=True):
            np.testing.assert_array_equal(found, expected)
            assert found.dtype == expected.dtype and found.shape == expected.shape
    # Any HDF5 reader opens it.
    with h5py.File(path) as file:
        assert "conv/kernel" == file["model/00000"].attrs["path"]
    assert os.path.getsize(path) < retention.expected_size(groups())


def test_a_type_that_hdf5_lacks_keeps_its_bits(tmp_path):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    array = np.array([1.5, -3.0], ml_dtypes.bfloat16)
    state_file.write_state(tmp_path / "file", {}, {"model": [("w", array)]})
    ((_, found),) = state_file.read_state(tmp_path / "file").groups["model"]
    np.testing.assert_array_equal(found.view(ml_dtypes.bfloat16), array)


def test_any_damaged_byte_is_found(tmp_path):
    path = write(tmp_path, 3)
    content = path.read_bytes()
    random = np.random.default_rng(0)
    beginning = list(range(len(b"mrcnn state 1 sha256 ") + 64))
    for place in [*beginning, *random.integers(state_file.USER_BLOCK, len(content), 50)]:
        changed = bytearray(content)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(state_file.StateError, match=path.name):
            state_file.read_state(path)
    for size in (0, 100, state_file.USER_BLOCK, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(state_file.StateError, match=path.name):
            state_file.read_state(path)


def test_another_format_is_named(tmp_path):
    path = write(tmp_path, 3)
    path.write_bytes(path.read_bytes().replace(b"mrcnn state 1", b"mrcnn state 9", 1))
    with pytest.raises(state_file.StateError, match="format 1; received format 9"):
        state_file.read_state(path)


def test_the_newest_whole_state_is_taken_and_damaged_ones_are_named(tmp_path):
    assert state_file.newest_state(tmp_path) == (None, [])
    older, old, new = (write(tmp_path, step) for step in (2, 10, 11))
    state, damaged = state_file.newest_state(tmp_path)
    assert state.path == str(new) and not damaged
    assert state_file.newest_state(tmp_path, up_to=10)[0].path == str(old)
    new.write_bytes(new.read_bytes()[:-1])
    state, (message,) = state_file.newest_state(tmp_path)
    assert state.path == str(old) and new.name in message and "damaged" in message
    for path in (older, old):
        path.write_bytes(b"")
    with pytest.raises(state_file.StateError, match="none of its 3 states"):
        state_file.newest_state(tmp_path)


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    resource = pytest.importorskip("resource")  # a limit on files stands for a full disk
    path = write(tmp_path, 1)
    before = path.read_bytes()
    large = {"model": [("w", np.ones(10**6, np.float32))]}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**5, limits[1]))
    try:
        with pytest.raises(OSError, match="could not be written.*nothing older was deleted"):
            state_file.write_state(path, {}, large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before and os.listdir(tmp_path) == [path.name]
