"""The fuzz targets of weights files: HDF5 files with links, kinds and sizes foreign to weights."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
from hypothesis import strategies as st

from mrcnn.weights import matterport, report

HUGE = 2**40


@cache
def network() -> tuple[keras.Model, list[np.ndarray]]:
    """A small network, and the initial values of its weights."""
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="conv1")(image)
    x = keras.layers.BatchNormalization(name="bn_conv1")(x)
    x = keras.layers.Dense(2, name="logits")(keras.layers.Flatten(name="flatten")(x))
    model = keras.Model(image, x)
    return model, model.get_weights()


def _replace(file: h5py.File, path: str, make: Callable[[h5py.Group, str], Any]) -> None:
    if path in file:
        del file[path]
    group, _, name = path.rpartition("/")
    make(file.require_group(group or "/"), name)


def _virtual(group: h5py.Group, name: str) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("secret.h5", "data", (4,))
    group.create_virtual_dataset(name, layout)


def _looped(group: h5py.Group, name: str) -> None:
    group[name] = group


# What may stand in the place of a layer or a weight.
REPLACEMENTS: dict[str, Callable[[h5py.Group, str], Any]] = {
    "nothing": lambda group, name: None,
    "external link": lambda g, n: g.__setitem__(n, h5py.ExternalLink("secret.h5", "/data")),
    "soft link": lambda g, n: g.__setitem__(n, h5py.SoftLink("/logits")),
    "soft loop": lambda g, n: g.__setitem__(n, h5py.SoftLink(f"{g.name}/{n}")),
    "hard loop": _looped,
    "virtual": _virtual,
    "raw file": lambda g, n: g.create_dataset(n, (4,), "f4", external=[("secret.raw", 0, 16)]),
    "huge": lambda g, n: g.create_dataset(n, (HUGE,), "f4", chunks=(1024,)),
    "huge chunk": lambda g, n: g.create_dataset(
        n, (4,), "f4", maxshape=(None,), chunks=(1 << 28,), compression="gzip"
    ),
    "strings": lambda g, n: g.create_dataset(n, data=["a", "b", "c", "d"]),
    "bytes": lambda g, n: g.create_dataset(n, data=np.array([b"abcd"] * 4)),
    "lists": lambda g, n: g.create_dataset(n, (4,), h5py.vlen_dtype(np.float32)),
    "references": lambda g, n: g.create_dataset(n, (4,), h5py.ref_dtype),
    "records": lambda g, n: g.create_dataset(n, (4,), [("a", "f4"), ("b", "i4")]),
    "arrays": lambda g, n: g.create_dataset(n, (4,), np.dtype(("f4", (2,)))),
    "complex": lambda g, n: g.create_dataset(n, (4,), "c8"),
    "float16": lambda g, n: g.create_dataset(n, data=np.ones(4, "f2")),
    "integers": lambda g, n: g.create_dataset(n, data=np.ones(4, ">i8")),
    "scalar": lambda g, n: g.create_dataset(n, data=1.0),
    "empty": lambda g, n: g.create_dataset(n, data=h5py.Empty("f4")),
    "no rows": lambda g, n: g.create_dataset(n, (0,), "f4"),
    "type": lambda g, n: g.__setitem__(n, np.dtype("f4")),
    "group": lambda g, n: g.create_group(n),
    "fitting": lambda g, n: g.create_dataset(n, data=np.ones(4, "f4"), compression="gzip"),
}
PLACES = (
    *("conv1", "bn_conv1", "conv1/conv1/bias:0", "bn_conv1/bn_conv1/gamma:0", "logits"),
    *("model_weights", "layers", "new", "layers/dense/vars/0", "layers/conv2d/vars/1"),
)
NAMES = (
    *("conv1", "../conv1", "/logits", ".", "", "conv1/bias:0", "a\0b", "ü", "x" * 5000),
    *("new", "layers", "conv1//bias:0"),
)
LISTS: dict[str, Callable[[list[str]], Any]] = {
    "bytes": lambda names: np.array([n.encode() for n in names] or [b""]),
    "texts": lambda names: [n.replace("\0", "") for n in names] or ["x"],
    "numbers": lambda names: np.arange(len(names)),
    "table": lambda names: np.array([[b"conv1", b"logits"]]),
    "one text": lambda names: "conv1",
    "empty": lambda names: h5py.Empty("S4"),
    "no text": lambda names: np.array([b"\xff\xfe"]),
}
WEIGHTS_CASES = st.tuples(
    st.sampled_from(["weights.h5", "other.weights.h5"]),
    st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(sorted(REPLACEMENTS))), max_size=3),
    st.lists(
        st.tuples(
            st.sampled_from(["/", "conv1", "bn_conv1", "new", "logits"]),
            st.sampled_from(["layer_names", "weight_names", "layer_names0", "weight_names0"]),
            st.sampled_from(sorted(LISTS)),
            st.lists(st.sampled_from(NAMES), max_size=3),
        ),
        max_size=2,
    ),
)


@cache
def weights_bytes() -> tuple[bytes, ...]:
    """The valid files: of Matterport's layout and of Keras 3's."""
    model, _ = network()
    with tempfile.TemporaryDirectory() as folder:
        matterport.save_weights(model, Path(folder, "weights.h5"))
        model.save_weights(Path(folder, "other.weights.h5"))
        return tuple(Path(folder, n).read_bytes() for n in ("weights.h5", "other.weights.h5"))


def write_weights(case: tuple, folder: Path) -> None:
    name, replacements, lists = case
    with h5py.File(folder / "secret.h5", "w") as file:
        file["data"] = np.ones(4, "f4")
    (folder / "secret.raw").write_bytes(bytes(16))
    path = folder / name
    path.write_bytes(weights_bytes()[name != "weights.h5"])
    with h5py.File(path, "r+") as file:
        for place, kind in replacements:
            try:
                _replace(file, place, REPLACEMENTS[kind])
            except (ValueError, KeyError, TypeError, OSError, RuntimeError):
                continue  # what an earlier replacement made impossible
        for group, attribute, kind, names in lists:
            try:
                holder = file.require_group(group)
                holder.attrs[attribute] = LISTS[kind](names)
            except (ValueError, KeyError, TypeError, OSError, RuntimeError):
                continue


def read_weights(folder: Path) -> None:
    (path,) = (p for p in folder.glob("*weights.h5"))
    model, before = network()
    model.set_weights(before)
    try:
        matterport.load_weights(model, path)
    except report.WeightsError:
        for value, kept in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(value, kept)
        raise
