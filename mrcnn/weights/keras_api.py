"""Keras models whose weights files are Matterport's.

Scripts and notebooks write `model.keras_model.save_weights("shapes.h5")`. Keras 3 refuses names
that do not end in ".weights.h5", and its own layout is another one. Models with this mixin write
and read Matterport's layout (`mrcnn.weights.matterport`) under every name but those that Keras
claims.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar

import keras

from mrcnn.weights import keras3, matterport, report
from mrcnn.weights.checkpoint_names import accept_matterports_names

if TYPE_CHECKING:
    from keras import Model as _Model
else:
    _Model = object  # a mixin: the Keras model is the class behind it

_KERAS_NAMES = (".weights.h5", ".weights.json")
_Class = TypeVar("_Class", bound=type)


class MatterportFiles(_Model):
    """Mixin of `save_weights` and `load_weights` as Keras 2 had them, before a `keras.Model`."""

    def save_weights(
        self, filepath: str | os.PathLike[str], overwrite: bool = True, **options: Any
    ) -> None:
        """Write the weights in Matterport's layout.

        Args:
            filepath: an `.h5` file, or `.safetensors`. A name that ends in ".weights.h5" asks for
                Keras 3's own layout, which holds the optimizer too.
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

        From a `.weights.h5` file of Keras 3's that holds an optimizer, a compiled model gets that
        too, unless `by_name` is set.

        Args:
            filepath: the file; see `mrcnn.weights.matterport.load_weights`.
            by_name: load the layers that the file and the model share; otherwise all must
                agree.
            skip_mismatch: layers of another shape in the file keep their values.
            options: of Keras's own `load_weights`, for its own layout.

        Raises:
            FileNotFoundError: there is no such file.
            WeightsError: the file does not fit; see `mrcnn.weights.matterport.load_weights`.
        """
        path = os.fspath(filepath)
        if path.endswith(".weights.json") or (not by_name and self._loads_an_optimizer(path)):
            with keras3.keras3_loading(self, path):
                super().load_weights(path, skip_mismatch=skip_mismatch, **options)
            if path.endswith(".weights.json"):
                return
        # By name in any case: Keras goes by numbers, which differ between the networks of training
        # and of detection.
        try:
            matterport.load_weights(self, path, by_name=by_name)
        except report.WeightsError as error:
            if not skip_mismatch or error.report is None or not error.report.mismatched:
                raise
            names = [name for name, _, _ in error.report.mismatched]
            matterport.load_weights(self, path, exclude=names, by_name=by_name)

    def _loads_an_optimizer(self, path: str) -> bool:
        return self.compiled and path.endswith(".weights.h5") and keras3.holds_optimizer(path)


def known_by_its_name(kind: _Class) -> _Class:
    """Let `keras.models.load_model` find a class of whole `.h5` files, which leave out its package.

    Args:
        kind: a registered class of models.
    """
    keras.saving.get_custom_objects()[kind.__name__] = kind
    return kind


accept_matterports_names(MatterportFiles)
