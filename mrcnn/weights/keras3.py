"""Weights files in Keras 3's own layout.

Keras 3 numbers layers by their class ("conv2d_3") and writes each layer's name beside its arrays.
We go by the names: the networks of training and detection share their layers, but not the numbers.

    layers/<class and number>/vars          attribute "name"; data sets "0", "1", … of its weights
    layers/<…>/layers/<…>/vars              of the layers of an inner model
    layers/<…>/layer/vars                   of the layer in a wrapper such as TimeDistributed
    layers/<…>/<attribute>/vars             of a layer that another one holds, which has it first

Beside "layers" a file may hold the optimizer, metrics and random states, which are left alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import h5py
import keras
import numpy as np

from mrcnn.files import hdf5
from mrcnn.files.untrusted import Folder, load_json
from mrcnn.weights.layers import weighted_layers
from mrcnn.weights.reading import open_weights
from mrcnn.weights.report import WeightsError, WeightsReport

# What a file of Keras 3 may declare for a byte of the model: the optimizer's state is in it too.
MAX_KERAS3_RATIO = 8
# A small model's file may declare so much in any case.
KERAS3_FLOOR_BYTES = 64 << 20

# Per layer, or per inner model, of a file: the name of each weight and its values, read by
# `[()]`, in order.
StoredWeights = dict[str, list[tuple[str, h5py.Dataset | np.ndarray]]]


def has_layout(file: h5py.File) -> bool:
    """Whether a file has Keras 3's layout, with or without the names of the layers."""
    return hdf5.has(file, "layers") or hdf5.has(file, "_layer_checkpoint_dependencies")


def stored_layers(file: h5py.File) -> StoredWeights | None:
    """The weights of a file of Keras 3's layout by the names of its layers.

    Returns:
        None where the file does not name its layers, as those of early versions of Keras 3.

    Raises:
        UnsafeFileError: it holds what weights do not, or two layers of one name.
    """
    found: StoredWeights = {}
    weighted: set[str] = set()
    if not hdf5.has(file, "layers"):
        return None
    for owners, name, weights in _layers_below(hdf5.subgroup(file, "layers"), (), set(), 0):
        if weights and name is None:
            return None
        if name is None:
            continue
        if weights and name in weighted:
            raise hdf5.UnsafeFileError(f"it holds two layers named {name[:60]!r}")
        group = found.setdefault((*owners, name)[0], [])
        group += [(f"{name}/{index}", array) for index, array in enumerate(weights)]
        if weights:
            weighted.add(name)
    return found or None


def holds_optimizer(path: str) -> bool:
    """Whether a file has Keras 3's layout, the names of its layers, and an optimizer's state."""
    with open_weights(path, KERAS3_FLOOR_BYTES) as file:
        return has_layout(file) and hdf5.has(file, "optimizer")


# (names of the inner models that hold a layer, its name, its arrays)
_Found = tuple[tuple[str, ...], str | None, list[h5py.Dataset]]


def _layers_below(
    group: h5py.Group, owners: tuple[str, ...], seen: set[int], depth: int
) -> Iterator[_Found]:
    """The layers in a group, in the models there, and in other layers.

    Args:
        group: whose members are looked at.
        owners: names of the inner models that it belongs to.
        seen: addresses of groups so far. Each has one place, so that the walk ends.
        depth: of the group below the first.
    """
    for key in group:
        if key == "vars":
            continue
        layer = hdf5.subgroup(group, key)
        if hdf5.address(layer) in seen or depth > hdf5.MAX_DEPTH:
            raise hdf5.UnsafeFileError(f"{layer.name} is there twice, or nested too deeply")
        seen.add(hdf5.address(layer))
        name, arrays = _own(layer)
        if not arrays and hdf5.has(layer, "layer"):  # in a wrapper
            _, arrays = _own(hdf5.subgroup(layer, "layer"))
            yield owners, name, arrays
            continue
        if not any(array.dtype.kind == "u" for array in arrays):  # the state of random numbers
            yield owners, name, arrays
        inside = owners
        if name is not None and hdf5.has(layer, "layers"):  # a model
            inside = (*owners, name)
        yield from _layers_below(layer, inside, seen, depth + 1)


def _own(layer: h5py.Group) -> tuple[str | None, list[h5py.Dataset]]:
    """The name of a layer, and its arrays in order."""
    if not hdf5.has(layer, "vars"):
        return None, []
    group = hdf5.subgroup(layer, "vars")
    name = hdf5.text(group, "name") if "name" in group.attrs else None
    arrays = [hdf5.child(group, str(number)) for number in range(len(group))]
    for array in arrays:
        if not isinstance(array, h5py.Dataset):
            raise hdf5.UnsafeFileError(f"{array.name} is a group; expected an array of weights")
    return name, arrays


# --- By Keras's own loader -----------------------------------------------------------------------


def load_keras3(model: keras.Model, path: str, exclude: Sequence[str]) -> WeightsReport:
    """Let Keras load a whole file of its own layout, which does not name its layers.

    Raises:
        WeightsError: the file is refused, or does not fit; or `exclude` names layers.
    """
    if exclude or not path.endswith(".weights.h5"):
        raise WeightsError(
            f"{path}: this file has the layout of Keras 3 and does not name its layers, as those "
            "of its early versions. Keras loads it only whole and under a name that ends in "
            "'.weights.h5'. Rename it, and leave `exclude` empty."
        )
    with keras3_loading(model, path):
        keras.saving.load_weights(model, path)
    return WeightsReport(path, tuple(layer.name for layer, _ in weighted_layers(model)))


@contextmanager
def keras3_loading(model: keras.Model, path: str) -> Iterator[None]:
    """A context for Keras's own loader: the file is checked first, and an error undoes its work.

    Raises:
        WeightsError: the file is refused, or Keras raised an error of any kind.
    """
    check_keras3_file(model, path)
    before = model.get_weights()
    try:
        yield
    except WeightsError:
        raise
    except Exception as error:
        model.set_weights(before)
        reason = " ".join(str(error).split())[:400]
        raise WeightsError(f"{path}: Keras cannot load it into this model: {reason}") from error


def check_keras3_file(model: keras.Model, path: str) -> None:
    """Check a file of Keras 3's layout before Keras's own loader reads it.

    Args:
        model: that is to load it.
        path: of the `.weights.h5` file, or of the `.weights.json` that lists several.

    Raises:
        WeightsError: it holds what weights do not, or much more than the model.
    """
    for part in _shards(path) if path.endswith(".json") else [path]:
        with open_weights(part) as file:
            hdf5.check_tree(file, most_bytes(model))


def most_bytes(model: keras.Model) -> int:
    """The most that a file of a model's weights may hold, with an optimizer's state."""
    size = sum(int(np.prod(weight.shape)) * 4 for weight in model.weights)
    return KERAS3_FLOOR_BYTES + MAX_KERAS3_RATIO * size


def _shards(path: str) -> list[str]:
    """The files that a `.weights.json` lists; they are in its folder."""
    try:
        listed = load_json(path)["weight_map"].values()
        names = {name for item in listed for name in ([item] if isinstance(item, str) else item)}
        found = [Folder(os.path.dirname(path) or ".").find(name) for name in names]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise WeightsError(
            f"{path}: expected the 'weight_map' of Keras's sharded weights, with the names of "
            f"files beside it; {error}."
        ) from error
    parts = [part for part in found if part is not None]
    if len(parts) < len(found):
        raise WeightsError(f"{path}: one of the files {sorted(names)} that it lists is missing.")
    return parts
