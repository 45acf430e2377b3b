"""State files: whole or refused, and never at the cost of an older one."""

from __future__ import annotations

import hashlib
import json
import os
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest

from benchmarks.fuzz_weights import REPLACEMENTS
from mrcnn.checkpoints import folders, retention, state_file

ARRAYS = {
    "model": [
        ("conv/kernel", np.arange(6, dtype=np.float32).reshape(2, 3)),
        ("seed", np.uint32(7)),
    ],
    "optimizer": [("sgd/iteration", np.array(12, np.int64)), ("empty", np.zeros((0, 2)))],
    "metrics": [],
}


HEADER = {
    "kind": "state",
    "epoch": 0,
    "epoch_step": 2,
    "settings": {},
    "stage": {
        **{"layers": "all", "learning_rate": 0.1, "momentum": 0.9},
        **{"first_epoch": 0, "last_epoch": 2, "schedule_start": 0},
    },
    "data": {"images": 3, "digest": "0" * 16},
    "validation": None,
    "best": None,
    "versions": {"backend": "tensorflow", "dtype_policy": "float32"},
}


def groups():
    return {
        name: [(path, np.asarray(array)) for path, array in pairs] for name, pairs in ARRAYS.items()
    }


def write(folder: Path, step: int, **header) -> Path:
    path = Path(folders.state_path(folder, step))
    state_file.write_state(path, {**HEADER, "step": step, **header}, groups())
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


# --- States that somebody made: the checksum is right ------------------------------------------


def sign(path: Path) -> None:
    """Write the checksum of what follows it, as anybody can."""
    digest = hashlib.sha256(path.read_bytes()[state_file.USER_BLOCK :]).hexdigest()
    with open(path, "rb+") as file:
        file.write(f"mrcnn state {state_file.FORMAT} sha256 {digest}\n".encode())


def put(path: Path, place: str, kind: str) -> None:
    """Replace something in a state by what states do not hold, and sign it."""
    (path.parent / "secret.raw").write_bytes(bytes(16))
    with h5py.File(path.parent / "secret.h5", "w") as file:
        file["data"] = np.ones(4, "f4")
    with h5py.File(path, "r+") as file:
        if place in file:
            del file[place]
        group, _, name = place.rpartition("/")
        REPLACEMENTS[kind](file.require_group(group or "/"), name)
        if isinstance(file.get(place, getlink=True), h5py.HardLink) and place.count("/"):
            file[place].attrs["path"] = "conv/kernel"
    sign(path)


@pytest.mark.parametrize("place", ["model/00000", "model", "optimizer", "other"])
@pytest.mark.parametrize("kind", sorted(REPLACEMENTS))
def test_what_is_no_state_is_refused_or_read_as_what_it_is(tmp_path, place, kind):
    path = write(tmp_path, 3)
    put(path, place, kind)
    try:
        state = state_file.read_state(path)
    except state_file.StateError as error:
        assert str(path) in str(error)
    else:
        assert kind in ("nothing", "group", "fitting", "float16", "integers", "scalar", "no rows")
        assert all(array.dtype.kind in "biuf" for _, array in state.groups.get("model", ()))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("external link", "refused, because .* a link to another file, 'secret.h5'"),
        ("soft link", "is a soft link"),
        ("raw file", "lie outside the file"),
        ("virtual", "lie outside the file"),
        ("huge", "declares .* bytes or more in .*; expected at most"),
        ("strings", "expected an array of numbers"),
        ("group", "is a group; expected an array of numbers"),
    ],
)
def test_a_refusal_says_what_is_wrong(tmp_path, kind, message):
    path = write(tmp_path, 3)
    put(path, "model/00001", kind)
    tracemalloc.start()
    with pytest.raises(state_file.StateError, match=rf"{path.name}: .*{message}"):
        state_file.read_state(path)
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()


def test_a_link_to_a_pipe_is_not_opened(tmp_path):
    path = write(tmp_path, 3)
    os.mkfifo(tmp_path / "pipe")
    with h5py.File(path, "r+") as file:
        del file["model"]
        file["model"] = h5py.ExternalLink("pipe", "/model")
    sign(path)
    with pytest.raises(state_file.StateError, match="a link to another file, 'pipe'"):
        state_file.read_state(path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("3", "no object"),
        ("{", "damaged"),
        ({"step": "3"}, "its header, field 'step': expected a number of 0 or more; received '3'"),
        ({"step": 10**400}, "'step'"),
        ({"epoch": -1}, "'epoch'"),
        ({"epoch_step": True}, "'epoch_step'"),
        ({"settings": []}, "its header, field 'settings': expected an object"),
        ({"stage": None}, "its header, field 'stage': expected an object; received None"),
        ({"stage": {}}, "its stage lacks 'layers'"),
        ({"best": {"metric": 1, "value": 1, "step": 1}}, "its best, field 'metric'"),
        ({"versions": "0"}, "its header, field 'versions'"),
        ({"data": {"images": 1.5, "digest": ""}}, "its data, field 'images'"),
    ],
)
def test_an_odd_header_is_refused(tmp_path, header, message):
    path = write(tmp_path, 3)
    text = header if isinstance(header, str) else json.dumps({**HEADER, "step": 3, **header})
    with h5py.File(path, "r+") as file:
        file.attrs["header"] = text
    sign(path)
    with pytest.raises(state_file.StateError, match=rf"{path.name}.*{message}"):
        state_file.read_state(path)


@pytest.mark.parametrize("field", sorted(HEADER.keys() - {"kind"}))
def test_a_header_without_a_field_is_refused(tmp_path, field):
    path = tmp_path / "x.state"
    state_file.write_state(path, {k: v for k, v in HEADER.items() if k != field}, groups())
    with pytest.raises(state_file.StateError, match=rf"x\.state.*lacks '(step|{field})'"):
        state_file.read_state(path)


@pytest.mark.parametrize("value", [[b"a", b"b"], 3, np.bytes_(b"\xff"), h5py.Empty("S4")])
def test_a_header_or_a_path_that_is_no_text_is_refused(tmp_path, value):
    for holder, attribute in (("/", "header"), ("model/00000", "path")):
        path = write(tmp_path, 3)
        with h5py.File(path, "r+") as file:
            file[holder].attrs[attribute] = value
        sign(path)
        with pytest.raises(state_file.StateError, match=f"{path.name}: refused.*{attribute!r}"):
            state_file.read_state(path)


def test_a_state_is_no_replay_and_a_replay_no_state(tmp_path):
    path = write(tmp_path, 3)
    assert state_file.read_state(path, "state").header["step"] == 3
    with pytest.raises(state_file.StateError, match="expected a replay file .*received a 'state'"):
        state_file.read_state(path, "replay")
    write(tmp_path, 3, kind="replay", images="")
    with pytest.raises(state_file.StateError, match="expected a state file .*received a 'replay'"):
        state_file.newest_state(tmp_path)
