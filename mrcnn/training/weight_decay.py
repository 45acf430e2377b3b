"""Matterport's weight decay: L2 divided by the size of each weight."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import keras
from keras import ops

from mrcnn.ops.tensor import Tensor

# Neither BatchNorm's scales and offsets nor learned loss weights.
_NOT_DECAYED = re.compile(r"(gamma|beta|log_variances)$")


def weight_decay(variables: Iterable[keras.Variable], factor: float) -> Tensor:
    """Matterport's regularization: the sum of factor * mean(w²) over the weights.

    The mean, not the sum, of the squares: large weights count no more than small ones.
    BatchNorm's gamma and beta, and learned loss weights, are left out.

    Returns:
        float32 scalar.
    """
    total = ops.zeros((), dtype="float32")
    for variable in variables:
        if is_decayed(variable):
            flat = ops.reshape(ops.cast(variable, "float32"), (-1,))
            total = total + factor / flat.shape[0] * ops.dot(flat, flat)
    return total


def weight_decay_gradient(variable: keras.Variable, factor: float) -> Tensor:
    """Gradient of `weight_decay` with respect to one of its weights, in its shape."""
    values = ops.convert_to_tensor(variable)
    return ops.multiply(values, 2.0 * factor / math.prod(variable.shape))


def is_decayed(variable: keras.Variable) -> bool:
    """Whether weight decay covers a weight."""
    return not _NOT_DECAYED.search(variable.name)
