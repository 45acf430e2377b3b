"""Safetensors files: read exactly, and refused where they are not what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcnn.files.safetensors import read_safetensors, write_safetensors

ARRAYS = {
    "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.array(7, np.int64),
    "half": np.array([1.5, -2], np.float16),
    "none": np.zeros((0, 4), np.float32),
}
DTYPES = {"float32": "F32", "int64": "I64", "float16": "F16"}


def content(arrays: dict[str, np.ndarray]) -> tuple[dict[str, Any], bytes]:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, array in arrays.items():
        offsets = [len(data), len(data) + array.nbytes]
        header[name] = {
            "dtype": DTYPES[str(array.dtype)],
            "shape": list(array.shape),
            "data_offsets": offsets,
        }
        data += array.tobytes()
    return header, data


def write(path: Path, header: Any, data: bytes) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def test_every_array_comes_back(tmp_path: Path):
    found = read_safetensors(write(tmp_path / "a.safetensors", *content(ARRAYS)))
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        np.testing.assert_array_equal(found[name], array)


def test_what_is_written_is_read_and_is_aligned(tmp_path: Path):
    path = tmp_path / "a.safetensors"
    big_endian = np.arange(3, dtype=">f4")
    write_safetensors(path, {**ARRAYS, "big": big_endian, "t": np.ones((2, 3)).T}, {"format": "x"})
    raw = path.read_bytes()
    assert int.from_bytes(raw[:8], "little") % 8 == 0
    found = read_safetensors(path)
    assert list(found) == [*ARRAYS, "big", "t"]
    for name, array in {**ARRAYS, "big": big_endian}.items():
        np.testing.assert_array_equal(found[name], array)
    assert found["big"].dtype == np.dtype("<f4") and found["t"].shape == (3, 2)


def test_what_cannot_be_written_is_named_and_nothing_is(tmp_path: Path):
    with pytest.raises(ValueError, match="array 'text': expected one of .*; received <U1"):
        write_safetensors(tmp_path / "a.safetensors", {"text": np.array(["a"])})
    assert not list(tmp_path.iterdir())


def test_bfloat16_becomes_float32(tmp_path: Path):
    bits = np.array([0x3F80, 0xC040], np.uint16)  # 1 and -3
    header = {"x": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}
    found = read_safetensors(write(tmp_path / "b.safetensors", header, bits.tobytes()))
    assert found["x"].dtype == np.float32 and found["x"].tolist() == [1.0, -3.0]


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("dtype", "F128", "dtype: expected one of"),
        ("dtype", ["F32"], "dtype: expected one of"),
        ("shape", [2, 4], "data_offsets: expected two numbers"),
        ("shape", [-2, -3], "shape: expected a list of whole numbers"),
        ("shape", [2**62, 2**62], "data_offsets: expected two numbers"),
        ("shape", [True, 6], "shape: expected a list of whole numbers"),
        ("data_offsets", [8, 32], "expected data from byte 0 on"),
        ("data_offsets", [0], "data_offsets: expected two numbers"),
        ("more", 1, "expected dtype, shape and data_offsets"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, field: str, value: Any, words: str):
    header, data = content({"a.weight": ARRAYS["a.weight"]})
    header["a.weight"][field] = value
    path = write(tmp_path / "w.safetensors", header, data)
    with pytest.raises(ValueError, match=rf"w\.safetensors: tensor 'a\.weight': .*{words}"):
        read_safetensors(path)


def test_data_that_overlap_or_end_early_are_refused(tmp_path: Path):
    header, data = content({"a.weight": ARRAYS["a.weight"]})
    header["twin"] = header["a.weight"]
    with pytest.raises(ValueError, match="tensor 'twin'|tensor 'a.weight'"):
        read_safetensors(write(tmp_path / "o.safetensors", header, data))
    header, data = content(ARRAYS)
    with pytest.raises(ValueError, match="bytes of data, as the header says; received"):
        read_safetensors(write(tmp_path / "s.safetensors", header, data[:-1]))


@pytest.mark.parametrize(
    "text", [b"[1]", b"{ ", b'{"a": 1, "a": 2}', b"[" * 100_000, b"\xff\xfe", b"null"]
)
def test_what_is_no_header_is_refused(tmp_path: Path, text: bytes):
    with pytest.raises(ValueError, match="h.safetensors: expected a header"):
        read_safetensors(write(tmp_path / "h.safetensors", text, b""))


@pytest.mark.parametrize("raw", [b"", b"1234567", b"\xff" * 8, b"\x00" * 20])
def test_what_is_no_such_file_is_refused(tmp_path: Path, raw: bytes):
    (tmp_path / "n.safetensors").write_bytes(raw)
    with pytest.raises(ValueError, match="expected a safetensors file"):
        read_safetensors(tmp_path / "n.safetensors")


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_damaged_file_is_read_or_refused_with_a_sentence(tmp_path_factory, data: st.DataObject):
    path = write(tmp_path_factory.mktemp("d") / "d.safetensors", *content(ARRAYS))
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw)
    try:
        read_safetensors(path)
    except ValueError as error:
        assert "d.safetensors" in str(error)
