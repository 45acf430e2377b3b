"""Optimizers as Matterport's training needs them: its weight decay, its momentum.

Keras's own do the work. Added are Matterport's decay, which Keras does not have, and an SGD that
passes over the weights only once where TensorFlow has a kernel for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mrcnn.ops.tensor import Tensor
from mrcnn.tensorflow_backend import optimizer as tf_kernels
from mrcnn.tensorflow_backend import replicas
from mrcnn.training.weight_decay import is_decayed, weight_decay_gradient


def add_weight_decay(optimizer: keras.optimizers.Optimizer, factor: float) -> None:
    """Let an optimizer add the gradient of Matterport's weight decay to those it is given.

    Added before clipping, as if the decay were part of the loss. A second call changes the
    factor. See `mrcnn.training.weight_decay`.

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


def add_up_replicas(optimizer: keras.optimizers.Optimizer) -> None:
    """Let an optimizer of several replicas take the sum of their gradients before all else.

    Before they are decayed and clipped, so that each replica does what one device would. A second
    call changes nothing.
    """
    apply = getattr(optimizer.apply, "of_one_replica", optimizer.apply)

    def apply_total(grads: Sequence[Any], trainable_variables: Any = None) -> None:
        apply(replicas.total_of_each(grads), trainable_variables)

    apply_total.of_one_replica = apply  # type: ignore[attr-defined]
    optimizer.apply = apply_total
    replicas.update_by_themselves(optimizer)


def _decayed(gradient: Tensor | None, variable: Any, factor: float) -> Tensor | None:
    if not factor or not is_decayed(variable):
        return gradient
    if gradient is None:
        return ops.cast(weight_decay_gradient(variable, factor), variable.dtype)
    gradient = ops.convert_to_tensor(gradient)
    with tf_kernels.once_known(gradient):
        return gradient + ops.cast(weight_decay_gradient(variable, factor), variable.dtype)


@keras.saving.register_keras_serializable(package="mrcnn")
class SGD(keras.optimizers.SGD):
    """Keras's SGD with momentum, by TensorFlow's fused kernel where it has one.

    Each weight and its momentum are read and written once, and clipping by the global norm
    reads the gradients once: it shortens the step instead of every gradient, which is the same.
    """

    def update_step(self, gradient: Tensor, variable: Any, learning_rate: Tensor) -> None:
        with tf_kernels.once_known(gradient):  # Keras multiplies the momentum by itself first
            super().update_step(gradient, variable, learning_rate)

    def _clip_gradients(self, grads: Sequence[Tensor]) -> Sequence[Tensor]:
        return grads if self._clips_by_step() else super()._clip_gradients(grads)

    def _backend_update_step(
        self, grads: Sequence[Tensor], trainable_variables: Sequence[Any], learning_rate: Tensor
    ) -> None:
        if self._clips_by_step():
            norm = tf_kernels.global_norm(grads)
            clipped = self.global_clipnorm * ops.minimum(1.0 / norm, 1.0 / self.global_clipnorm)
            # As in Keras, a norm that is not finite makes the weights so, and is not hidden.
            learning_rate = learning_rate * (clipped + (norm - norm))
        if not self._fused():
            super()._backend_update_step(grads, trainable_variables, learning_rate)
            return
        indices = map(self._get_variable_index, trainable_variables)
        momentums = [self.momentums[index] for index in indices]
        tf_kernels.momentum_steps(
            trainable_variables, momentums, grads, learning_rate, self.momentum
        )

    def _fused(self) -> bool:
        own_steps = type(self).update_step is not SGD.update_step  # a subclass's, which then counts
        in_place = tf_kernels.updates_in_place() and not own_steps
        return bool(self.momentum) and not self.nesterov and in_place

    def _clips_by_step(self) -> bool:
        return self._fused() and bool(self.global_clipnorm)
