"""Steps of an optimizer by TensorFlow's kernels; XLA has these too."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras

if TYPE_CHECKING:
    import tensorflow as tf


def updates_in_place() -> bool:
    """Whether `momentum_steps` can be used: TensorFlow, on one device."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return not tf.distribute.has_strategy()


def once_known(tensor: Any) -> contextlib.AbstractContextManager[None]:
    """What a graph computes inside waits for a tensor; other backends' compilers find an order.

    A graph computes whatever it can as soon as it can, so that a value of each weight for which
    only the weight is needed would be held from the start of the step to its end.
    """
    if keras.backend.backend() != "tensorflow":
        return contextlib.nullcontext()
    import tensorflow as tf

    return tf.control_dependencies([tensor])


def momentum_steps(
    variables: Sequence[Any],
    momentums: Sequence[Any],
    gradients: Sequence[tf.Tensor],
    learning_rate: tf.Tensor,
    momentum: float,
) -> None:
    """Twin of `keras.optimizers.SGD.update_step` with momentum, for each weight.

    The variables are Keras's or TensorFlow's; Keras's optimizers pass either.
    """
    import tensorflow as tf

    def handle(variable: Any) -> tf.Tensor:
        return (variable.value if isinstance(variable, keras.Variable) else variable).handle

    # Made once for all weights: each operation of a graph takes its time to be traced.
    constants: dict[str, tuple[tf.Tensor, tf.Tensor]] = {}
    for variable, momentum_of, gradient in zip(variables, momentums, gradients, strict=True):
        dtype = keras.backend.standardize_dtype(variable.dtype)
        if dtype not in constants:
            constants[dtype] = (tf.cast(learning_rate, dtype), tf.cast(momentum, dtype))
        rate, factor = constants[dtype]
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=handle(variable),
            accum=handle(momentum_of),
            lr=rate,
            grad=tf.cast(gradient, dtype),
            momentum=factor,
            use_locking=False,
            use_nesterov=False,
        )


def sums_of_squares(tensors: Sequence[Any]) -> tf.Tensor:
    """The sum of all squares of each tensor or variable: float32 [tensors].

    One operation for each, which in a graph of several hundred weights is a second of tracing.
    """
    import tensorflow as tf

    return 2.0 * tf.stack([tf.nn.l2_loss(tf.cast(t, tf.float32)) for t in tensors])


def global_norm(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """Twin of Keras's global norm: the root of the sum of all squares."""
    import tensorflow as tf

    return tf.sqrt(2.0 * tf.add_n([tf.nn.l2_loss(tf.cast(t, tf.float32)) for t in tensors]))
