"""Arrays out of pickles: read exactly, and everything else refused by its name and never run."""

from __future__ import annotations

import collections
import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcnn.files.array_pickle import read_array_pickle

CONTENT = {
    "model": collections.OrderedDict(
        weight=np.arange(6, dtype=np.float32).reshape(2, 3),
        fortran=np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        turned=np.arange(6, dtype=np.float16)[::-1],
        big_endian=np.array([1, 2], ">i4"),
        flag=np.array([True, False]),
        none=np.zeros((0, 3), np.uint8),
        scalar=np.float64(1.5),
        number=np.array(7),
    ),
    "__author__": "somebody",
    "iteration": 3,
}


def write(path: Path, content: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_come_out_as_they_went_in(tmp_path: Path, protocol: int):
    found = read_array_pickle(write(tmp_path / "w.pkl", CONTENT, protocol))
    assert (found["__author__"], found["iteration"]) == ("somebody", 3)
    assert found["model"].keys() == CONTENT["model"].keys()
    for name, array in CONTENT["model"].items():
        own = found["model"][name]
        np.testing.assert_array_equal(own, array)
        assert own.dtype == np.asarray(array).dtype.newbyteorder("=") and own.flags.writeable


def test_a_pickle_of_python_2_is_read(tmp_path: Path):
    # What its protocol 2 writes of an array: bytes as a text of one byte a character.
    values = np.array([1.5, -2.0], "<f4")
    text = values.tobytes()
    state = b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xff"
    state += b"J\xff\xff\xff\xffK\x00tb\x89U" + bytes([len(text)]) + text + b"tb."
    start = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    (tmp_path / "w.pkl").write_bytes(start + state)
    np.testing.assert_array_equal(read_array_pickle(tmp_path / "w.pkl"), values)


class Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_what_would_run_is_refused_and_named(tmp_path: Path):
    content = {"model": {"w": np.zeros(2)}, "more": Touch(tmp_path / "touched")}
    with pytest.raises(ValueError, match=r"w\.pkl: expected a pickle of NumPy arrays .*Path"):
        read_array_pickle(write(tmp_path / "w.pkl", content))
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    ("code", "named"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "os.system"),
        (b"cbuiltins\neval\n(S'1'\ntR.", "builtins.eval"),
        (b"c__builtin__\nbytes\n(I9999999999\ntR.", "bytes made of something"),
        (b"cnumpy\nload\n(S'x'\ntR.", "numpy.load"),
        (b"cnumpy.core.multiarray\nfromfile\n.", "numpy.core.multiarray.fromfile"),
        (b"c_codecs\nencode\n(S'x'\nS'zip'\ntR.", "the encoding 'zip'"),
        (b"cnumpy\ndtype\n(S'O8'\ntR.", "the dtype 'O8'"),
        (b"cnumpy\ndtype\n(S'V8'\ntR.", "the dtype 'V8'"),
        (b"cnumpy\ndtype\n(S'f4'\ntR(K\x03S'<'\n(S'a'\ntNNK\x00tb.", "a dtype with fields"),
        (b"cnumpy\nndarray\n)R.", "an array without a state"),
        (b"cnumpy\nndarray\n)R(K\x01)NI00\nNtb.", "that is not bytes of numbers"),
        (b"S'x'\nQ.", "an object that is kept elsewhere"),
    ],
)
def test_other_names_are_refused(tmp_path: Path, code: bytes, named: str):
    pickletools.dis(code, io.StringIO())  # it is a pickle
    (tmp_path / "w.pkl").write_bytes(code)
    with pytest.raises(ValueError, match="it asks for ") as error:
        read_array_pickle(tmp_path / "w.pkl")
    assert named in str(error.value) and "w.pkl" in str(error.value)


def test_more_or_fewer_bytes_than_the_shape_has_are_refused(tmp_path: Path):
    data = pickle.dumps(np.arange(4, dtype=np.float32), protocol=2)
    (tmp_path / "w.pkl").write_bytes(data.replace(b"K\x04\x85", b"K\x05\x85"))
    with pytest.raises(ValueError, match=r"4 numbers for an array of the shape \(5,\)"):
        read_array_pickle(tmp_path / "w.pkl")


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_files_are_errors_that_name_the_file(tmp_path_factory, data):
    content = bytearray(pickle.dumps(CONTENT, protocol=data.draw(st.sampled_from([2, 4, 5]))))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "w.pkl"
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    try:
        read_array_pickle(path)
    except ValueError as error:
        assert "w.pkl: expected a pickle of NumPy arrays" in str(error)


def test_no_file_is_said_as_ever(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        read_array_pickle(tmp_path / "none.pkl")
