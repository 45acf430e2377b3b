"""The heads of a network for other classes: what each class has learned goes by its name."""

from __future__ import annotations

import os
from collections.abc import Sequence

import keras
import numpy as np

from mrcnn.weights.matterport import read_layers
from mrcnn.weights.mismatch import CLASS_LAYERS
from mrcnn.weights.report import WeightsError


def load_class_rows(
    model: keras.Model,
    path: str | os.PathLike[str],
    theirs: Sequence[str],
    own: Sequence[str],
    exclude: Sequence[str] = (),
) -> list[str]:
    """Load the heads' weights of the classes that a file and a model share, by name.

    A head has the weights of each class in columns of its last axis: one in `mrcnn_class_logits`
    and `mrcnn_mask`, four in `mrcnn_bbox_fc`. Classes that the file lacks keep their weights.

    Args:
        model: the network, built.
        path: the weights file.
        theirs: the classes of the file, the background first.
        own: those of the model, likewise.
        exclude: names of layers that keep their weights.

    Returns:
        The classes that were found, without the background.

    Raises:
        WeightsError: the file's heads are not for so many classes, or of other widths.
    """
    shared = [name for name in own[1:] if name in theirs[1:]]
    columns = [(0, 0)] + [(own.index(name), theirs.index(name)) for name in shared]
    to, of = (list(places) for places in zip(*columns, strict=True))
    layers = [name for name in CLASS_LAYERS if name not in exclude]
    for name, arrays in read_layers(model, path, layers).items():
        for variable, array in zip(model.get_layer(name).weights, arrays, strict=True):
            before = keras.ops.convert_to_numpy(variable)
            if array.shape[:-1] != before.shape[:-1] or array.shape[-1] % len(theirs):
                raise WeightsError(
                    f"{path}: {name} has an array {array.shape}; expected "
                    f"{(*before.shape[:-1], f'a multiple of {len(theirs)}')}, for the classes that "
                    "the config.json beside the file lists."
                )
            values = _by_class(before, len(own)).copy()
            values[..., to, :] = _by_class(np.asarray(array), len(theirs))[..., of, :]
            variable.assign(values.reshape(before.shape))
    return shared


def _by_class(values: np.ndarray, classes: int) -> np.ndarray:
    return values.reshape(*values.shape[:-1], classes, -1)
