"""Files `.safetensors`: a JSON header and raw arrays behind it, nothing that can run.

The layout is that of https://github.com/huggingface/safetensors: eight bytes with the length of the
header, little-endian; the header, an object from names to dtype, shape and data_offsets; and the
data, to which the offsets refer, without gaps. Files are untrusted: everything is checked before
any data are read.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mrcnn.files.atomic import atomic_path

# What the format itself allows.
MAX_HEADER_BYTES = 100_000_000
_METADATA = "__metadata__"
# bfloat16 is read by its bits: NumPy does not know it.
_DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}


class _Entry(NamedTuple):
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def read_safetensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of a file by name; bfloat16 becomes float32.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file, or a damaged one; names the file and the tensor.
    """
    size = os.stat(path).st_size
    with Path(path).open("rb") as file:
        length = int.from_bytes(file.read(8), "little") if size >= 8 else 0
        if not 2 <= length <= min(size - 8, MAX_HEADER_BYTES):
            raise ValueError(
                f"{path}: expected a safetensors file, whose first 8 bytes give the length of its "
                f"header; received {length} in a file of {size} bytes."
            )
        header = _header(file.read(length), path)
        entries = {name: _entry(name, value, path) for name, value in header.items()}
        _check_layout(entries, size - 8 - length, path)
        arrays = {}
        for name, entry in sorted(entries.items(), key=lambda item: item[1].start):
            data = file.read(entry.stop - entry.start)
            array = np.frombuffer(data, _DTYPES[entry.dtype]).reshape(entry.shape)
            if entry.dtype == "BF16":
                array = (array.astype(np.uint32) << 16).view(np.float32)
            arrays[name] = array
    return arrays


def write_safetensors(
    path: str | os.PathLike[str],
    arrays: Mapping[str, np.ndarray],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write arrays by name; the file appears whole or not at all.

    Args:
        path: of the file.
        arrays: of numbers or bools, as the format knows them.
        metadata: texts by name.

    Raises:
        ValueError: an array of another type; names it.
    """
    names = {dtype: name for name, dtype in _DTYPES.items() if name != "BF16"}
    header: dict[str, Any] = {_METADATA: dict(metadata)} if metadata else {}
    end = 0
    for name, array in arrays.items():
        dtype = array.dtype.newbyteorder("<")
        if dtype not in names:
            raise ValueError(
                f"{path}: array {name!r}: expected one of {[str(d) for d in names]}; received "
                f"{array.dtype}."
            )
        offsets = [end, end + array.nbytes]
        header[name] = {
            "dtype": names[dtype],
            "shape": list(array.shape),
            "data_offsets": offsets,
        }
        end = offsets[1]
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the data are aligned
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            file.write(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())


def _header(text: bytes, path: str | os.PathLike[str]) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a name comes twice")
        return found

    try:
        header = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected a header in JSON; {error}.") from None
    if not isinstance(header, dict):
        raise ValueError(
            f"{path}: expected a header with tensors by name; received {header!r:.80}."
        )
    header.pop(_METADATA, None)
    return header


def _entry(name: str, value: Any, path: str | os.PathLike[str]) -> _Entry:
    where = f"{path}: tensor {name!r}"
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(
            f"{where}: expected dtype, shape and data_offsets; received {value!r:.80}."
        )
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise ValueError(
            f"{where}: dtype: expected one of {list(_DTYPES)}; received {dtype!r:.80}."
        )
    for field, numbers in (("shape", shape), ("data_offsets", offsets)):
        if not isinstance(numbers, list) or not all(_is_count(number) for number in numbers):
            raise ValueError(
                f"{where}: {field}: expected a list of whole numbers; received {numbers!r:.80}."
            )
    expected = math.prod(shape) * _DTYPES[dtype].itemsize
    if len(offsets) != 2 or offsets[1] - offsets[0] != expected:
        raise ValueError(
            f"{where}: data_offsets: expected two numbers that are {expected} bytes apart, for "
            f"{dtype} {shape!r:.80}; received {offsets!r:.80}."
        )
    return _Entry(dtype, tuple(shape), offsets[0], offsets[1])


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _check_layout(entries: dict[str, _Entry], size: int, path: str | os.PathLike[str]) -> None:
    """The data lie one after the other, and fill the file."""
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1][2:]):
        if entry.start != end:
            raise ValueError(
                f"{path}: tensor {name!r}: data_offsets: expected data from byte {end} on, where "
                f"those before end; received {entry.start}."
            )
        end = entry.stop
    if end != size:
        raise ValueError(
            f"{path}: expected {end} bytes of data, as the header says; received {size}. If it was "
            "downloaded, delete it and download it again."
        )
