"""Keras models whose weights files are Matterport's.

Scripts and notebooks write `model.keras_model.save_weights("shapes.h5")`. Keras 3 refuses names
that do not end in ".weights.h5", and its own layout is another one. Models with this mixin write
and read Matterport's layout (`mrcnn.weights.matterport`) under every name but those that Keras
claims.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import h5py

from mrcnn.files import hdf5
from mrcnn.weights import keras3, matterport, report

if TYPE_CHECKING:
    from keras import Model as _Model
else:
    _Model = object  # a mixin: the Keras model is the class behind it

_KERAS_NAMES = (".weights.h5", ".weights.json")


class MatterportFiles(_Model):
    """Mixin of `save_weights` and `load_weights` as Keras 2 had them, before a `keras.Model`."""

    def save_weights(
        self, filepath: str | os.PathLike[str], overwrite: bool = True, **options: Any
    ) -> None:
        """Write the weights in Matterport's layout.

        Args:
            filepath: an `.h5` file. A name that ends in ".weights.h5" asks for Keras 3's own
                layout, which holds the optimizer too.
            overwrite: False: an existing file is an error.
            options: of Keras's own `save_weights`, for its own layout.

        Raises:
            FileExistsError: the file is there, and `overwrite` is False.
        """
        path = os.fspath(filepath)
        if not overwrite and os.path.exists(path):
            raise FileExistsError(
                f"{path}: this file exists already. Choose another name, or pass overwrite=True."
            )
        if path.endswith(_KERAS_NAMES):
            super().save_weights(path, **options)
        else:
            matterport.save_weights(self, path)

    def load_weights(
        self,
        filepath: str | os.PathLike[str],
        by_name: bool = False,
        skip_mismatch: bool = False,
        **options: Any,
    ) -> None:
        """Load weights of Matterport's layout or of Keras 3's.

        Args:
            filepath: the file.
            by_name: load the layers that the file and the model share; otherwise all must
                agree.
            skip_mismatch: layers of another shape in the file keep their values.
            options: of Keras's own `load_weights`, for its own layout.

        Raises:
            FileNotFoundError: there is no such file.
            WeightsError: the file does not fit; see `mrcnn.weights.matterport.load_weights`.
        """
        path = os.fspath(filepath)
        if _has_keras_layout(path):
            with keras3.keras3_loading(self, path):
                super().load_weights(path, skip_mismatch=skip_mismatch, **options)
            return
        try:
            matterport.load_weights(self, path, by_name=by_name)
        except report.WeightsError as error:
            if not skip_mismatch or error.report is None or not error.report.mismatched:
                raise
            names = [name for name, _, _ in error.report.mismatched]
            matterport.load_weights(self, path, exclude=names, by_name=by_name)


def _has_keras_layout(path: str) -> bool:
    """Whether Keras's own loader must read a file; Matterport's names its layers at the top."""
    if path.endswith(".weights.json"):
        return True
    if not path.endswith(".weights.h5") or not os.path.isfile(path) or not h5py.is_hdf5(path):
        return False
    try:
        with h5py.File(path, "r") as file:
            return "layer_names" not in file.attrs and hdf5.has(file, "layers")
    except OSError:  # damaged: our own reader says so
        return False
