"""The losses of Mask R-CNN: pure functions, and the thin layer that adds one to the total.

Every mean is taken over the entries that count; where none counts (an image without
objects) the loss is 0 with zero gradient, not NaN.

Shape letters: B images, A anchors, K padded RPN targets, R RoIs, P positive slots,
C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import ops

from mrcnn.layers.switched_loss import SwitchedLoss
from mrcnn.ops.losses import (
    mrcnn_bbox_loss,
    mrcnn_class_loss,
    mrcnn_mask_loss,
    rpn_bbox_loss,
    rpn_class_loss,
)
from mrcnn.ops.tensor import Tensor

FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    function.__name__: function
    for function in (
        rpn_class_loss,
        rpn_bbox_loss,
        mrcnn_class_loss,
        mrcnn_bbox_loss,
        mrcnn_mask_loss,
    )
}


@keras.saving.register_keras_serializable(package="mrcnn")
class LossLayer(SwitchedLoss):
    """Adds one loss to the model's total and returns it, weighted, as a scalar.

    Args:
        function: a name of `FUNCTIONS`; the layer's inputs are its arguments.
        weight: factor of the loss.
        options: further arguments of the function, by name.
    """

    def __init__(
        self,
        function: str,
        weight: float = 1.0,
        options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"name": function, "dtype": "float32", **kwargs})
        if function not in FUNCTIONS:
            raise ValueError(
                f"function: expected one of {sorted(FUNCTIONS)}; received {function!r}."
            )
        self.function = function
        self.weight = float(weight)
        self.options = dict(options or {})

    def call(self, inputs: list[Tensor]) -> Tensor:
        loss = self.weight * FUNCTIONS[self.function](*inputs, **self.options)
        self.add(loss)
        return loss

    def compute_output_spec(self, inputs: list[Tensor]) -> keras.KerasTensor:
        # Keras would take the shape () of compute_output_shape for an empty structure.
        return keras.KerasTensor((), dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "function": self.function,
            "weight": self.weight,
            "options": self.options,
        }


@keras.saving.register_keras_serializable(package="mrcnn")
class UncertaintyWeighting(keras.layers.Layer):
    """Learns the weight of each loss (Kendall et al. 2018; section 5.6.2 of arXiv 1809.07069).

    With a trained log-variance s for each loss L, the total becomes the sum of
    exp(-s) * L + s. The losses have been added already, so that this layer adds the difference.
    The weights start at 1 (s = 0).

    Attributes:
        on: the places of the losses that train, where not all of them do: the others' weights
            have no gradient. Read when a step is traced.
    """

    on: tuple[int, ...] | None = None

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})

    def build(self, input_shape: list[tuple]) -> None:
        self.log_variances = self.add_weight(
            (len(input_shape),), initializer="zeros", name="log_variances"
        )

    def call(self, losses: list[Tensor]) -> Tensor:
        """From the scalar losses to their learned weights [losses]."""
        weights = ops.exp(-self.log_variances)
        terms = (weights - 1) * ops.stack(losses) + self.log_variances
        self.add_loss(ops.sum(terms if self.on is None else ops.take(terms, self.on)))
        return weights

    def compute_output_spec(self, losses: list[Tensor]) -> keras.KerasTensor:
        return keras.KerasTensor((len(losses),), dtype=self.compute_dtype)
