"""Arrays out of a pickle, and nothing else: Detectron2's model zoo stores weights so.

A pickle is a program that may call whatever it names. This one may name what NumPy writes into
pickles of arrays, and each of these names means a class or function of this file, which checks what
it is given; no other name is looked up. (`pickle.Unpickler.find_class`, "Restricting Globals" in
the documentation of Python.)
"""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

# Numbers of a known size and truth values: no objects, texts or structures.
_DTYPE = re.compile(r"([<>=|]?)([fiu][1248]|b1)")


class _RefusedError(ValueError):
    """What a pickle may not ask for."""


class _Dtype:
    """Stands for `numpy.dtype`."""

    def __init__(self, name: Any, align: Any = False, copy: Any = False) -> None:
        match = _DTYPE.fullmatch(name) if isinstance(name, str) else None
        if not match:
            raise _RefusedError(f"the dtype {name!r}; expected numbers")
        self._order, self._kind = match.groups()

    def __setstate__(self, state: Any) -> None:
        """The version, the order of the bytes, and nothing that numbers have."""
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", ">", "=", "|"):
            raise _RefusedError(f"the state {str(state)[:60]} of a dtype")
        if any(part is not None for part in state[2:5]):
            raise _RefusedError("a dtype with fields")
        self._order = state[1]

    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self._order + self._kind)


class _Array:
    """Stands for `numpy.ndarray`."""

    value: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        """The version, shape, dtype, whether in Fortran's order, and the bytes."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise _RefusedError(f"the state {str(state)[:60]} of an array")
        _, shape, dtype, is_fortran, data = state
        self.value = _array(data, dtype, shape, "F" if is_fortran else "C")


def _reconstruct(kind: Any, shape: Any, dtype: Any) -> _Array:
    """Stands for `numpy.core.multiarray._reconstruct`, whose state comes later."""
    if kind is not _Array:
        raise _RefusedError("an array of a class of its own")
    return _Array()


def _scalar(dtype: Any, data: Any) -> _Array:
    """Stands for `numpy.core.multiarray.scalar`."""
    found = _Array()
    found.value = _array(data, dtype, (), "C")
    return found


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    """Stands for `numpy.core.numeric._frombuffer`, of the protocol 5."""
    found = _Array()
    found.value = _array(data, dtype, shape, "F" if order == "F" else "C")
    return found


def _array(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    if isinstance(data, str):  # of Python 2
        data = data.encode("latin1")
    is_shape = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
    if not isinstance(dtype, _Dtype) or not isinstance(data, (bytes, bytearray)) or not is_shape:
        raise _RefusedError(f"an array of the shape {str(shape)[:60]} that is not bytes of numbers")
    values = np.frombuffer(data, dtype.dtype())
    if values.size != int(np.prod(shape, dtype=object)):
        raise _RefusedError(f"{values.size} numbers for an array of the shape {shape}")
    array = values.reshape(shape, order=order)
    return array.astype(array.dtype.newbyteorder("="))  # a copy


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """Stands for `_codecs.encode`, with which the protocol 2 writes bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise _RefusedError(f"the encoding {encoding!r}")
    return text.encode("latin1")


def _bytes(*given: Any) -> bytes:
    """Stands for `bytes`, with which the protocol 2 writes none."""
    if given:
        raise _RefusedError("bytes made of something")
    return b""


_NAMES: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("collections", "OrderedDict"): dict,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _bytes,
}
for _core in ("numpy.core", "numpy._core"):
    _NAMES[f"{_core}.multiarray", "_reconstruct"] = _reconstruct
    _NAMES[f"{_core}.multiarray", "scalar"] = _scalar
    _NAMES[f"{_core}.numeric", "_frombuffer"] = _from_buffer


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        try:
            return _NAMES[module, name]
        except KeyError:
            raise _RefusedError(f"{module}.{name}") from None

    def persistent_load(self, pid: Any) -> Any:
        raise _RefusedError("an object that is kept elsewhere")


def read_array_pickle(path: str | os.PathLike[str]) -> Any:
    """What a pickle of dicts, lists, plain values and NumPy arrays holds.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is no pickle, or asks for anything else; names the file and what it is.
    """
    try:
        with Path(path).open("rb") as file:
            return _with_arrays(_Unpickler(file, encoding="latin1").load())
    except _RefusedError as error:
        raise ValueError(
            f"{path}: expected a pickle of NumPy arrays alone; it asks for {error}. A pickle can "
            "run any code, so that nothing else is admitted: nothing of it was run. Write its "
            "arrays as .safetensors where you trust it."
        ) from None
    except OSError:
        raise
    except Exception as error:  # of every kind: the bytes decide
        raise ValueError(
            f"{path}: expected a pickle of NumPy arrays; "
            f"{' '.join(str(error).split()) or type(error).__name__}."
        ) from None


def _with_arrays(value: Any) -> Any:
    """The same, with arrays in place of what stands for them."""
    if isinstance(value, _Array):
        if value.value is None:
            raise _RefusedError("an array without a state")
        return value.value
    if isinstance(value, dict):
        return {key: _with_arrays(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_arrays(inner) for inner in value]
    return value
