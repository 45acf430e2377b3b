"""Graphs in which variables are constants, and whether the variables have changed since."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import keras
import numpy as np

from mrcnn.tensorflow_backend.sums import with_fixed_sums

if TYPE_CHECKING:
    import tensorflow as tf


def with_constants(
    model: keras.Model, constants: Sequence[keras.Variable]
) -> Callable[[Sequence[np.ndarray]], list[np.ndarray]]:
    """`predict_on_batch` of a graph in which some variables are constants of their value now.

    Args:
        model: with static shapes, a list of inputs and a list of outputs.
        constants: the variables.
    """
    import tensorflow as tf

    values = [(variable, keras.ops.convert_to_numpy(variable)) for variable in constants]

    @tf.function(autograph=False, jit_compile=False)
    def run(*inputs: tf.Tensor) -> list[tf.Tensor]:
        mapping = [(variable, tf.constant(value)) for variable, value in values]
        with keras.StatelessScope(state_mapping=mapping):
            return model(list(inputs), training=False)

    specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in model.inputs]
    graph = with_fixed_sums(run.get_concrete_function(*specs))

    def predict(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        tensors = [tf.constant(x, spec.dtype) for x, spec in zip(inputs, specs, strict=True)]
        return [output.numpy() for output in graph(*tensors)]

    return predict


def fingerprint(variables: Sequence[keras.Variable]) -> Callable[[], bytes]:
    """A function of which the result changes when any of the variables does."""
    import tensorflow as tf

    @tf.function(autograph=False, jit_compile=False)
    def hashes() -> tf.Tensor:
        flat = [tf.reshape(variable.value, (1, -1)) for variable in variables]
        return tf.concat([tf.fingerprint(values) for values in flat], axis=0)

    return lambda: hashes().numpy().tobytes() if variables else b""
