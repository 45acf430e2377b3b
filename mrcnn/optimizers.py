"""Optimizers as the ancestor's training needs them: its weight decay, its momentum.

Keras's own do the work. Here are the decay of Matterport, which is not one of Keras's, and SGD
that passes over the weights once where TensorFlow has a kernel for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mrcnn.losses import is_decayed, weight_decay_gradient
from mrcnn.ops import native_kernels

Tensor = Any


def add_weight_decay(optimizer: keras.optimizers.Optimizer, factor: float) -> None:
    """Let an optimizer add the gradient of `mrcnn.losses.weight_decay` to those it is given.

    Added before clipping, as if the decay were part of the loss. A second call changes the
    factor.

    Args:
        optimizer: any of Keras's; inside a `LossScaleOptimizer`, its inner one, whose
            gradients are unscaled.
        factor: WEIGHT_DECAY.
    """
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    apply = getattr(optimizer, "apply_without_decay", optimizer.apply)

    def apply_with_decay(grads: Sequence[Any], trainable_variables: Any = None) -> None:
        variables = list(trainable_variables or optimizer._trainable_variables)
        grads = [_decayed(grad, v, factor) for grad, v in zip(grads, variables, strict=True)]
        apply(grads, trainable_variables)

    optimizer.apply_without_decay = apply
    optimizer.apply = apply_with_decay


def _decayed(gradient: Tensor | None, variable: Any, factor: float) -> Tensor | None:
    if not factor or not is_decayed(variable):
        return gradient
    decay = ops.cast(weight_decay_gradient(variable, factor), variable.dtype)
    return decay if gradient is None else ops.convert_to_tensor(gradient) + decay


@keras.saving.register_keras_serializable(package="mrcnn")
class SGD(keras.optimizers.SGD):
    """Keras's SGD with momentum, by TensorFlow's fused kernel where it has one.

    Each weight and its momentum are read and written once. The numbers are the same.
    """

    def update_step(self, gradient: Tensor, variable: Any, learning_rate: Tensor) -> None:
        if not self.momentum or self.nesterov or not native_kernels.updates_in_place():
            super().update_step(gradient, variable, learning_rate)
            return
        native_kernels.momentum_step(
            variable,
            self.momentums[self._get_variable_index(variable)],
            gradient,
            learning_rate,
            self.momentum,
        )
