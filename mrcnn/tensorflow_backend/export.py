"""Traced graphs as files: a SavedModel, and what converters to other formats take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

# The name of the input in all formats.
IMAGE = "image"
SIGNATURE = "serving_default"


class Traced:
    """A model of one picture, traced by TensorFlow.

    Args:
        model: from a picture to a dict of tensors.
        shape: of the picture, [1, H, W, channels], where None is any length.
    """

    def __init__(self, model: keras.Model, shape: Sequence[int | None]) -> None:
        import tensorflow as tf

        @tf.function(
            autograph=False,
            jit_compile=False,
            input_signature=[tf.TensorSpec(shape, tf.uint8, name=IMAGE)],
        )
        def run(image: tf.Tensor) -> dict[str, tf.Tensor]:
            return model(image)

        self.function = run
        self.module = tf.Module()
        self.module.variables_of_model = [variable.value for variable in model.variables]
        self.module.run = run

    def write_saved_model(self, folder: Path) -> None:
        """Write a SavedModel with the signature `serving_default`."""
        import tensorflow as tf

        tf.saved_model.save(self.module, str(folder), signatures={SIGNATURE: self.function})

    def litert(self, weights: str) -> bytes:
        """The content of a LiteRT file.

        Args:
            weights: how they are kept, "float32", "float16" or "int8".
        """
        import tensorflow as tf

        graph = self.function.get_concrete_function()
        converter = tf.lite.TFLiteConverter.from_concrete_functions([graph], self.module)
        if weights != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if weights == "float16":
            converter.target_spec.supported_types = [tf.float16]
        return converter.convert()


def load_saved_model(folder: Path) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """A function from a picture uint8 [1, H, W, channels] to what a SavedModel returns."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    signature: Any = loaded.signatures[SIGNATURE]

    def run(image: np.ndarray, _: Any = loaded) -> dict[str, np.ndarray]:
        # `_` keeps the variables alive, which the signature does not.
        found = signature(**{IMAGE: tf.constant(image)})
        return {name: value.numpy() for name, value in found.items()}

    return run
