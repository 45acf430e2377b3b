"""TensorFlow's functions on the symbolic tensors of Keras 3."""

from __future__ import annotations

from functools import cache
from typing import Any

import keras


@cache
def let_identity_take_symbolic_tensors() -> None:
    """Let `tf.identity` return a symbolic tensor of Keras that it is given, instead of an error.

    Scripts write `tf.identity(model.get_layer("input_image").output)`, because Matterport's Keras
    could not compute a model's own input. A symbolic tensor stands for a value, which nothing
    changes, so it is its own identity. TensorFlow asks dispatchers where a function of its own has
    refused its arguments; nothing else changes. With another backend than TensorFlow, nothing does.
    """
    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    dispatch: Any = tf.__internal__.dispatch

    class Identity(dispatch.OpDispatcher):
        def handle(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            tensor = args[0] if args else kwargs.get("input")
            return tensor if isinstance(tensor, keras.KerasTensor) else self.NOT_SUPPORTED

    Identity().register(tf.identity)
