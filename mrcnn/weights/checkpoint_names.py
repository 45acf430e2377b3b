"""Keras's `ModelCheckpoint` under Matterport's file names.

Every copy of Matterport's `train` has a `ModelCheckpoint(self.checkpoint_path,
save_weights_only=True)`, and many scripts keep their best weights as "best.h5". Keras 3's refuses
such names when it is made, although models of this package can be saved under them. So it learns
to take them, for these models only: with any other, `fit` stops before the first step with what
Keras says.
"""

from __future__ import annotations

import functools
import inspect
import os
from typing import Any

import keras

_KERAS_NAME = ".weights.h5"
_HDF5_NAMES = (".h5", ".hdf5")
_MARK = "_takes_matterports_names"


def accept_matterports_names(kind: type) -> None:
    """Let `keras.callbacks.ModelCheckpoint` take names of HDF5 files for the weights of a model.

    The class itself changes, so that it does not matter when a script imported it.

    Args:
        kind: of the models that can be saved so.
    """
    callback = keras.callbacks.ModelCheckpoint
    if getattr(callback, _MARK, False):
        return
    make, set_model = callback.__init__, callback.set_model
    parameters = inspect.signature(make)

    @functools.wraps(make)
    def checked_make(self: Any, filepath: Any, *args: Any, **options: Any) -> None:
        path = os.fspath(filepath)
        try:
            given = parameters.bind(self, filepath, *args, **options).arguments
        except TypeError:  # the call below says which argument is wrong
            given = {}
        own = bool(given.get("save_weights_only")) and _is_own(path)
        make(self, path + _KERAS_NAME if own else filepath, *args, **options)
        if own:
            self.filepath = path

    @functools.wraps(set_model)
    def checked_set_model(self: Any, model: Any) -> None:
        if self.save_weights_only and _is_own(self.filepath) and not isinstance(model, kind):
            raise ValueError(
                "When using `save_weights_only=True` in `ModelCheckpoint`, the filepath provided "
                f"must end in `{_KERAS_NAME}` (Keras weights format), but for the models of mrcnn. "
                f"Received: filepath={self.filepath}"
            )
        set_model(self, model)

    callback.__init__, callback.set_model = checked_make, checked_set_model
    setattr(callback, _MARK, True)


def _is_own(path: str) -> bool:
    return path.endswith(_HDF5_NAMES) and not path.endswith(_KERAS_NAME)
