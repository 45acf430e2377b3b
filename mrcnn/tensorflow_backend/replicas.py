"""Replicas of a network on several devices, each with its part of a batch: `tf.distribute`'s.

All functions are for one device too, and for other backends, where a network has no replicas: what
is one there stays as it is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import keras

if TYPE_CHECKING:
    import tensorflow as tf


@functools.cache
def strategy(devices: tuple[str, ...]) -> tf.distribute.MirroredStrategy:
    """The one that keeps the weights on each of the devices, named as "gpu:0".

    Always the same for the same devices: a model is trained by that with which it was built.
    """
    import tensorflow as tf

    return tf.distribute.MirroredStrategy([device.upper() for device in devices])


def make_virtual_devices(number: int) -> None:
    """Let a CPU be several devices, to try on it what is meant for several GPUs.

    Raises:
        RuntimeError: TensorFlow has computed already.
    """
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * number
    )


def count() -> int:
    """How many replicas there are of what is built or computed here."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def are_computing() -> bool:
    """Whether this is called by one of several replicas, for its part of a batch."""
    if count() == 1:
        return False
    import tensorflow as tf

    return not tf.distribute.in_cross_replica_context()


def number() -> tf.Tensor | int:
    """Which of the replicas computes here, from 0 on; their parts of a batch have this order."""
    if not are_computing():
        return 0
    import tensorflow as tf

    return tf.distribute.get_replica_context().replica_id_in_sync_group


def total(tensors: Any) -> Any:
    """The sum over all replicas of a tensor, or of each of several."""
    if not are_computing():
        return tensors
    import tensorflow as tf

    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tensors)


def total_of_each(gradients: Sequence[Any]) -> list[Any]:
    """`total` of some tensors at once; what is None stays so."""
    there = [place for place, gradient in enumerate(gradients) if gradient is not None]
    added = list(gradients)
    for place, gradient in zip(there, total([added[place] for place in there]), strict=True):
        added[place] = gradient
    return added


def update_by_themselves(optimizer: Any) -> None:
    """Let each replica update its own weights, by gradients that are those of all replicas already.

    Keras's optimizers clip first and add the replicas' gradients then, which gives other updates
    than one device's, and they let the replicas wait for each other even where a condition decides
    whether there is an update, which TensorFlow cannot do.
    """

    def update(gradients: Sequence[Any], variables: Sequence[Any], learning_rate: Any) -> None:
        for gradient, variable in zip(gradients, variables, strict=True):
            optimizer.update_step(gradient, variable, learning_rate)

    def accumulate(gradients: Sequence[Any], accumulated: Sequence[keras.Variable]) -> None:
        for gradient, variable in zip(gradients, accumulated, strict=True):
            variable.assign_add(gradient)

    optimizer._backend_update_step = update
    optimizer._backend_increment_gradient_accumulators = accumulate


def parts(batch: Any, of: tf.distribute.Strategy) -> Any:
    """A batch in parts, one for each replica of a strategy; one in parts stays as it is."""
    import tensorflow as tf

    replicas = of.num_replicas_in_sync

    def divided(values: Any) -> Any:
        if values is None or isinstance(values, tf.distribute.DistributedValues):
            return values
        size = len(values) // replicas

        def part(context: tf.distribute.experimental.ValueContext) -> tf.Tensor:
            first = context.replica_id_in_sync_group * size
            return tf.convert_to_tensor(values[first : first + size])

        return of.experimental_distribute_values_from_function(part)

    return keras.tree.map_structure(divided, batch)


def in_parts(
    step: Callable[[Iterator], Any], of: tf.distribute.Strategy
) -> Callable[[Iterator], Any]:
    """A step function of Keras's that also takes batches which are not in parts yet."""
    import tensorflow as tf

    def divided(iterator: Iterator) -> Any:
        if isinstance(iterator, tf.distribute.DistributedIterator):
            return step(iterator)
        return step(parts(batch, of) for batch in iterator)

    return divided


def shape_of_part(values: Any, of: tf.distribute.Strategy) -> tuple[int, ...]:
    """The shape of the first replica's part."""
    return tuple(of.experimental_local_results(values)[0].shape)
