"""Gradients of a computation, taken where it stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

T = TypeVar("T")


def gradients_of_each(
    function: Callable[[], T],
    scalars_of: Callable[[T], Sequence[tf.Tensor]],
    variables: Sequence[keras.Variable],
) -> tuple[T, list[list[tf.Tensor | None]]]:
    """Compute a function, and the gradient of each of some scalars by itself.

    It may be called where other gradients are taken, which are not touched. In a graph, whatever
    does not lead to the variables is left out when it is optimized.

    Args:
        function: reads the variables.
        scalars_of: from the function's value to the scalars.
        variables: of Keras, trainable or not.

    Returns:
        The function's value; for each scalar the gradients by variable, None where it does not
        depend on the variable.
    """
    import tensorflow as tf

    # Not their `value`, which is a copy in another type where a network computes in 16 bits.
    sources: list[Any] = [variable._value for variable in variables]
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(sources)
        value = function()
        scalars = scalars_of(value)
    gradients = [tape.gradient(scalar, sources) for scalar in scalars]
    del tape
    return value, gradients


def pull_back(
    function: Callable[..., tf.Tensor], arguments: Sequence[tf.Tensor], upstream: tf.Tensor
) -> list[tf.Tensor]:
    """The gradient of `sum(upstream * function(*arguments))` with respect to each argument."""
    import tensorflow as tf

    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(arguments)
        value = function(*arguments)
    return tape.gradient(
        value,
        list(arguments),
        output_gradients=upstream,
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
    )
