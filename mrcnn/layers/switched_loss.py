"""A loss that a layer adds to the model's total, and that a step of training may leave out."""

from __future__ import annotations

from typing import Any

import keras

from mrcnn.ops.tensor import Tensor


class SwitchedLoss(keras.layers.Layer):
    """A layer that returns a loss, and adds it to the model's total while it is on.

    Off, it still computes and returns its loss, which is then shown but trains nothing: its
    gradient is not even computed.

    Attributes:
        is_on: read when a step is traced. See `mrcnn.training.loss_switches`.
    """

    is_on: bool = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        forget_losses(self)
        return super().__call__(*args, **kwargs)

    def add(self, loss: Tensor) -> None:
        """Add the loss, if it is on."""
        if self.is_on:
            self.add_loss(loss)


def forget_losses(layer: keras.layers.Layer) -> None:
    """Let a layer, and those in it, forget which losses they added in the step before.

    Keras 3.15 does so where a model is called, but on JAX its steps enter a model through
    `stateless_call`, where it does not (`Layer.stateless_call`, `Layer._get_call_context`). It
    knows losses by their `id`, and when a layer is called, it takes out of the total whatever has
    the `id` of that layer's last loss. Once in a hundred steps that was another layer's new loss:
    Python uses the addresses of what is no more again.
    """
    for inner in layer._flatten_layers():
        inner._loss_ids.clear()
