"""Matterport's weight decay: L2 divided by the size of each weight."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

import keras
from keras import ops

from mrcnn.ops.tensor import Tensor
from mrcnn.tensorflow_backend import optimizer as tf_kernels

# Neither BatchNorm's scales and offsets nor learned loss weights.
_NOT_DECAYED = re.compile(r"(gamma|beta|log_variances)$")


def weight_decay(variables: Iterable[keras.Variable], factor: float) -> Tensor:
    """Matterport's regularization: the sum of factor * mean(w²) over the weights.

    The mean, not the sum, of the squares: large weights count no more than small ones.
    BatchNorm's gamma and beta, and learned loss weights, are left out.

    Returns:
        float32 scalar.
    """
    decayed = [variable for variable in variables if is_decayed(variable)]
    if not decayed:
        return ops.zeros((), dtype="float32")
    shares = [factor / math.prod(variable.shape) for variable in decayed]
    return ops.sum(ops.convert_to_tensor(shares, "float32") * _sums_of_squares(decayed))


def _sums_of_squares(variables: Sequence[keras.Variable]) -> Tensor:
    """Of each variable: float32 [variables]."""
    if keras.backend.backend() == "tensorflow":
        return tf_kernels.sums_of_squares(variables)
    flat = [ops.reshape(ops.cast(variable, "float32"), (-1,)) for variable in variables]
    return ops.stack([ops.dot(values, values) for values in flat])


def weight_decay_gradient(variable: keras.Variable, factor: float) -> Tensor:
    """Gradient of `weight_decay` with respect to one of its weights, in its shape."""
    values = ops.convert_to_tensor(variable)
    return ops.multiply(values, 2.0 * factor / math.prod(variable.shape))


def is_decayed(variable: keras.Variable) -> bool:
    """Whether weight decay covers a weight."""
    return not _NOT_DECAYED.search(variable.name)
