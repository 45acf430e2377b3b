"""Data sets, transforms and packages as few values, which the identity of a run compares."""

from __future__ import annotations

import hashlib
import os
import sys
from array import array
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np

from mrcnn import __version__
from mrcnn.data.annotation_table import AnnotationSlice
from mrcnn.data.dataset import Dataset

# Where the data lie may change between two processes.
_PLACES = ("path", "annotation_file")
# Beside the backend: what makes batches, or computes with them.
_PACKAGES = ("numpy", "PIL", "imgaug", "albumentations")
_SIMPLE = frozenset((bool, int, float, str, list, tuple, type(None)))
_MOST_LEVELS = 12  # of a transform within transforms


def fingerprint(dataset: Dataset | None) -> dict[str, Any] | None:
    """What of a data set the next batch depends on.

    Returns:
        {"images": count, "digest": of which they are, in order, "annotations": digest of all
        else that `add_image` was given, "classes": their names}, or None without a data set.
        Of files that it was given, such as masks, names and sizes count, wherever they lie.
    """
    if dataset is None:
        return None
    images, annotations = hashlib.sha256(), hashlib.sha256()
    for image_id in dataset.image_ids:
        info = dataset.image_info[image_id]
        images.update(f"{info['source']}\0{info['id']}\n".encode())
        _digest_into(
            annotations, {name: value for name, value in info.items() if name not in _PLACES}
        )
    return {
        "images": len(dataset.image_ids),
        "digest": images.hexdigest()[:16],
        "annotations": annotations.hexdigest()[:16],
        "classes": [str(info["name"]) for info in dataset.class_info],
    }


def describe_transform(transform: Any) -> Any:
    """A transform, of any package, as JSON's types: its class and attributes, and those inside it.

    Random generators are left out: batches give each transform its own.
    """
    return _describe(transform, 0)


def versions() -> dict[str, str]:
    """Of this package, Keras, the backend and what makes batches; and the dtype policy."""
    import keras

    backend = keras.backend.backend()
    found = {"mrcnn": __version__, "keras": keras.__version__, "backend": backend}
    for name in (backend, *_PACKAGES):
        if name in sys.modules:
            found[name] = str(getattr(sys.modules[name], "__version__", "unknown"))
    return {**found, "dtype_policy": keras.config.dtype_policy().name}


def as_plain(value: Any) -> Any:
    """What `json` cannot write, as something that it can."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if callable(value):
        return {"function": getattr(value, "__qualname__", type(value).__qualname__)}
    return str(value)


def _digest_into(digest: hashlib._Hash, value: Any) -> None:
    """Add a value of JSON's types or NumPy's to a digest.

    Of file names the folder does not count, but the size of the file does. `json` would take
    minutes for the outlines of a large data set.
    """
    # `Mapping` is asked last: that takes a while, and there are millions of numbers and texts.
    if isinstance(value, dict) or (type(value) not in _SIMPLE and isinstance(value, Mapping)):
        digest.update(b"{%d" % len(value))
        for name in sorted(value, key=str):
            digest.update(f"{name}\0".encode(errors="surrogatepass"))
            _digest_into(digest, value[name])
    elif isinstance(value, list | tuple | AnnotationSlice):
        try:
            packed = array("d", value)
        except (TypeError, OverflowError):  # not all are numbers
            digest.update(b"[%d" % len(value))
            for item in value:
                _digest_into(digest, item)
        else:
            digest.update(b"d%d" % len(packed))
            digest.update(packed)
    elif isinstance(value, str | os.PathLike):
        text = os.fspath(value)
        if isinstance(text, str) and ("/" in text or os.sep in text):
            size = os.path.getsize(text) if os.path.isfile(text) else None
            text = f"{os.path.basename(text)}\0{size}"
        digest.update(f"s{text}\0".encode(errors="surrogatepass"))
    else:
        digest.update(f"{_annotation_as_plain(value)!r}\0".encode(errors="surrogatepass"))


def _annotation_as_plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray):
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return [str(value.dtype), value.shape, digest]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    return type(value).__qualname__  # a text may hold an address, which is new in each process


def _describe(value: Any, level: int) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray | bytes):
        return _annotation_as_plain(value)
    if _is_random(value) or level > _MOST_LEVELS:
        return type(value).__qualname__
    if isinstance(value, Mapping):
        return {str(name): _describe(item, level + 1) for name, item in value.items()}
    is_own_list = type(value).__module__.startswith("imgaug")  # whose lists are augmenters too
    if isinstance(value, list | tuple | set | frozenset) and not is_own_list:
        items = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        return [_describe(item, level + 1) for item in items]
    if callable(value) and hasattr(value, "__qualname__"):
        return {"function": value.__qualname__}
    described = {
        name: _describe(item, level + 1)
        for name, item in sorted(getattr(value, "__dict__", {}).items())
        if not (_is_random(item) or _is_of_one_call(value, name))
    }
    if is_own_list and isinstance(value, list):
        described["inside"] = [_describe(item, level + 1) for item in value]
    return {"class": type(value).__qualname__, **described}


def _is_of_one_call(value: Any, name: str) -> bool:
    """Whether an attribute holds what Albumentations notes in a call."""
    of_albumentations = type(value).__module__.startswith("albumentations")
    return of_albumentations and (name == "params" or name.startswith("_"))


def _is_random(value: Any) -> bool:
    """Whether a value is a random generator of Python, NumPy or imgaug."""
    modules = ("random", "numpy.random", "imgaug.random")
    return any(kind.__module__.startswith(modules) for kind in type(value).__mro__[:-1])
