"""GradNorm's weights of the losses: kept, and applied."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from mrcnn.ops.gradnorm import GradNormState, gradnorm_step
from mrcnn.ops.tensor import Tensor


@keras.saving.register_keras_serializable(package="mrcnn")
class GradNormWeighting(keras.layers.Layer):
    """Weights each loss by what `mrcnn.ops.gradnorm` has come to.

    The losses have been added already, so that this layer adds the difference. The weights start
    at 1 and their sum stays the number of losses. They are not trained by the optimizer:
    `mrcnn.training.gradnorm` measures the norms in each training step and calls `update`. All
    that GradNorm remembers is in the layer's variables, which states and weights files hold.

    Args:
        alpha, rate: see `mrcnn.ops.gradnorm.gradnorm_step`.

    Attributes:
        on: the places of the losses that train, where not all of them do: the others have no
            gradient here, and take no part in the steps. Read when a step is traced.
    """

    on: tuple[int, ...] | None = None

    def __init__(self, alpha: float, rate: float, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.alpha, self.rate = float(alpha), float(rate)

    def build(self, input_shape: list[tuple]) -> None:
        self.state = GradNormState(
            *(
                self.add_weight(
                    (len(input_shape),),
                    initializer="zeros",
                    trainable=False,
                    autocast=False,
                    aggregation="mean",
                    name=name,
                )
                for name in GradNormState._fields
            )
        )

    def call(self, losses: list[Tensor]) -> Tensor:
        """From the scalar losses to their weights [losses]."""
        weights = ops.exp(self.state.log_weights)
        terms = (weights - 1) * ops.stack(losses)
        self.add_loss(ops.sum(terms if self.on is None else ops.take(terms, self.on)))
        return weights

    def update(self, losses: Tensor, norms: Tensor) -> None:
        """Move the weights after a step.

        Args:
            losses: [T], those of `call`.
            norms: [T], of the gradient of each at a layer that all of them share.
        """
        if self.on is not None:  # a loss of 0 takes no part
            trains = [float(place in self.on) for place in range(losses.shape[0])]
            losses = losses * ops.convert_to_tensor(trains, losses.dtype)
        before = GradNormState(*map(ops.convert_to_tensor, self.state))
        after = gradnorm_step(before, losses, norms, self.alpha, self.rate)
        for variable, value in zip(self.state, after, strict=True):
            variable.assign(value)

    def compute_output_spec(self, losses: list[Tensor]) -> keras.KerasTensor:
        return keras.KerasTensor((len(losses),), dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha, "rate": self.rate}
