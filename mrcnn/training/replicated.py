"""What a training step needs to be one of several replicas' (`mrcnn.tensorflow_backend.replicas`).

Replicas are traced by turns, in threads of their own that share the model: whenever one adds up
something with the others, the next one runs. So what a model keeps while it is called, its losses
and its new statistics, is kept for each replica here until the call ends.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import keras

from mrcnn.ops.tensor import Tensor
from mrcnn.tensorflow_backend import replicas

if TYPE_CHECKING:
    from keras import Model as _Model
else:
    _Model = object  # a mixin: the Keras model is the class behind it

_of_replica = threading.local()


class ReplicatedStep(_Model):
    """Mixin of a functional model that may train on several devices, before `keras.Model`.

    On one device, and on other backends than TensorFlow, it does nothing.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """The network's outputs, of one replica or of all there is."""
        forward = super().call
        if not replicas.are_computing():
            return forward(inputs, training=training, mask=mask)
        with keras.StatelessScope(collect_losses=True) as scope:
            outputs = forward(inputs, training=training, mask=mask)
        for variable in self.non_trainable_variables:
            value = scope.get_current_value(variable)
            if value is not None:
                variable.assign(value)
        _of_replica.losses = scope.losses
        return outputs

    @property
    def losses(self) -> list[Tensor]:
        """Keras's; in a replica's step, those that its own call has added."""
        return list(_of_replica.losses) if replicas.are_computing() else super().losses

    @property
    def is_replicated(self) -> bool:
        """Whether several replicas train it."""
        return self.replicas > 1

    @property
    def replicas(self) -> int:
        """How many there are; 1: it is not replicated."""
        if keras.backend.backend() != "tensorflow":
            return 1
        return self.distribute_strategy.num_replicas_in_sync

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        # It is built. Keras would take a batch from the iterator to see that, and not give it back.
        pass

    def in_parts(self, step: Callable[[Iterator], Any]) -> Callable[[Iterator], Any]:
        """A step function of Keras's that also takes batches which are not divided yet.

        Those of `fit` are, those of `train_on_batch` and of a step's own shape are not.
        """
        return replicas.in_parts(step, self.distribute_strategy) if self.is_replicated else step

    def parts(self, batch: Any) -> Any:
        """A batch as the replicas take it."""
        return replicas.parts(batch, self.distribute_strategy) if self.is_replicated else batch

    def shape_of_part(self, values: Any) -> tuple[int, ...]:
        """The shape that the network sees of an array of a batch."""
        if self.is_replicated:
            return replicas.shape_of_part(values, self.distribute_strategy)
        return tuple(values.shape)
