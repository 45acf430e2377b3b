"""Batches of several shapes as a `tf.data.Dataset`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras

if TYPE_CHECKING:
    import tensorflow as tf


def batches_of_shapes(
    batches: Callable[[], Iterable[dict[str, Any]]],
    inputs: Sequence[keras.KerasTensor],
    dtypes: Mapping[str, str],
    parts: int = 1,
) -> tf.data.Dataset:
    """Batches whose shapes differ where a model's inputs leave them open, for Keras's `fit`.

    TensorFlow alone needs it: Keras takes the shapes of a generator's first two batches for
    those of all.

    Args:
        batches: makes an iterator of batches, each a dict of arrays by the inputs' names.
        inputs: the model's.
        dtypes: of arrays that are sent as another dtype than the input's, which casts them.
        parts: how often a batch holds as many images as the model takes.

    Returns:
        A `tf.data.Dataset` of (batch,).
    """
    import tensorflow as tf

    signature = {
        tensor.name: tf.TensorSpec(
            (parts * tensor.shape[0], *tensor.shape[1:]), dtypes.get(tensor.name, tensor.dtype)
        )
        for tensor in inputs
    }
    return tf.data.Dataset.from_generator(
        lambda: ((batch,) for batch in batches()), output_signature=(signature,)
    ).prefetch(1)
