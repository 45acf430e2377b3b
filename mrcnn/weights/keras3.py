"""Weights files in Keras 3's own layout."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np

from mrcnn.files import hdf5
from mrcnn.files.untrusted import Folder, load_json
from mrcnn.weights.layers import weighted_layers
from mrcnn.weights.reading import open_weights, reading
from mrcnn.weights.report import WeightsError, WeightsReport

# What a file of Keras 3 may declare for a byte of the model: the optimizer's state is in it too.
MAX_KERAS3_RATIO = 8


KERAS3_FLOOR_BYTES = 64 << 20


def load_keras3(model: keras.Model, path: str, exclude: list[str]) -> WeightsReport:
    if exclude or not path.endswith(".weights.h5"):
        raise WeightsError(
            f"{path}: this file has the layout of Keras 3, which Keras loads only whole and "
            "under a name that ends in '.weights.h5'. Rename it, and leave `exclude` empty."
        )
    with keras3_loading(model, path):
        model.load_weights(path)
    return WeightsReport(path, tuple(layer.name for layer, _ in weighted_layers(model)))


@contextmanager
def keras3_loading(model: keras.Model, path: str) -> Iterator[None]:
    """Let Keras's own loader read a file that was looked through; on an error undo its work.

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
    """Look through a file of Keras 3's layout, which Keras's own loader will read.

    Args:
        model: that is to load it.
        path: of the `.weights.h5` file, or of the `.weights.json` that lists several.

    Raises:
        WeightsError: it holds what weights do not, or much more than the model.
    """
    size = sum(int(np.prod(weight.shape)) * 4 for weight in model.weights)
    for part in _shards(path) if path.endswith(".json") else [path]:
        with open_weights(part) as file, reading(part):
            hdf5.check_tree(file, KERAS3_FLOOR_BYTES + MAX_KERAS3_RATIO * size)


def _shards(path: str) -> list[str]:
    """The files that a `.weights.json` lists; they lie beside it."""
    try:
        parts = load_json(path)["weight_map"].values()
        names = {name for part in parts for name in ([part] if isinstance(part, str) else part)}
        found = [Folder(os.path.dirname(path) or ".").find(name) for name in names]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise WeightsError(
            f"{path}: expected the 'weight_map' of Keras's sharded weights, with the names of "
            f"files beside it; {error}."
        ) from error
    if None in found:
        raise WeightsError(f"{path}: one of the files {sorted(names)} that it lists is missing.")
    return found
