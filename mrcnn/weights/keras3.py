"""Weights files in Keras 3's own layout."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

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


def load_keras3(model: keras.Model, path: str, exclude: Sequence[str]) -> WeightsReport:
    """Let Keras load a whole file of its own layout.

    Raises:
        WeightsError: the file is refused, or does not fit; or `exclude` names layers.
    """
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
    size = sum(int(np.prod(weight.shape)) * 4 for weight in model.weights)
    for part in _shards(path) if path.endswith(".json") else [path]:
        with open_weights(part) as file:
            hdf5.check_tree(file, KERAS3_FLOOR_BYTES + MAX_KERAS3_RATIO * size)


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
