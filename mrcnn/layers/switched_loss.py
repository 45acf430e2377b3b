"""A loss that a layer adds to the model's total, and that a step of training may leave out."""

from __future__ import annotations

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

    def add(self, loss: Tensor) -> None:
        """Add the loss, if it is on."""
        if self.is_on:
            self.add_loss(loss)
