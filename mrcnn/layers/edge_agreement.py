"""The Edge Agreement Head: a loss on the edges of the predicted masks (arXiv 1809.07069)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mrcnn.ops import edge_filters, edges
from mrcnn.ops.tensor import Tensor


@keras.saving.register_keras_serializable(package="mrcnn")
class EdgeAgreementHead(keras.layers.Layer):
    """Adds the edge agreement loss of the positive RoIs to the model.

    It has no variable and belongs to the training graph only. See
    `mrcnn.ops.edges.roi_edge_agreement` for the formula.

    Args:
        filters: a name or names of `mrcnn.ops.edge_filters.FILTERS` or `SHORTHANDS`.
        norm: the exponent p, `"l1"` … `"l5"` or a number of at least 1.
        weight_factor: the paper's alpha.
        smoothing_gt: smooth the ground-truth masks with a 3x3 Gaussian first.
        smoothing_predictions: smooth the predicted masks likewise.
        weight_entropy: False; or weight the pixels' cross entropy by the edge error itself
            (`"product"`) or by its exponential (`"exp"`, or True).
        entropy_divisor: of the exponent, 16 in the published code, 4 in the paper.
        magnitude: compare the gradient magnitude too; needs an x/y pair of filters.
        loss_weight: factor of the loss in the model's total. The returned scalar is
            without it.

    Raises:
        ValueError: a setting is not valid.
    """

    def __init__(
        self,
        filters: str | Sequence[str] = "sobel",
        norm: str | float = "l2",
        weight_factor: float = 1.0,
        smoothing_gt: bool = False,
        smoothing_predictions: bool = False,
        weight_entropy: bool | str = False,
        entropy_divisor: float = edge_filters.ENTROPY_DIVISOR,
        magnitude: bool = False,
        loss_weight: float = 1.0,
        dtype: Any = "float32",  # a loss stays float32 under any mixed-precision policy
        **kwargs: Any,
    ) -> None:
        super().__init__(dtype=dtype, **kwargs)
        self.filters = edge_filters.resolve_filters(filters)
        self.norm = norm
        self.weight_factor = edge_filters.check_factor("weight_factor", weight_factor)
        self.smoothing_gt = bool(smoothing_gt)
        self.smoothing_predictions = bool(smoothing_predictions)
        self.weight_entropy = weight_entropy
        self.entropy_divisor = edge_filters.check_factor(
            "entropy_divisor", entropy_divisor, above_zero=True
        )
        self.magnitude = bool(magnitude)
        self.loss_weight = edge_filters.check_factor("loss_weight", loss_weight)
        edge_filters.parse_norm(norm)
        edge_filters.parse_weight_entropy(weight_entropy)
        if self.magnitude:
            edge_filters.gradient_pairs(self.filters)

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        """The loss of the positive RoIs; a class id of 0 or less marks padding.

        Args:
            inputs: predicted masks [N, H, W] or [B, P, H, W], probabilities of each RoI's
                true class; target masks of the same shape; target class ids [N] or [B, P].

        Returns:
            A float32 scalar, weighted as it was added; 0 when no RoI is positive.
        """
        predicted, target, class_ids = inputs
        if tuple(predicted.shape) != tuple(target.shape):
            raise ValueError(
                f"{self.name}: expected predicted and target masks of one shape; received "
                f"{tuple(predicted.shape)} and {tuple(target.shape)}"
            )
        size = predicted.shape[-2:]
        loss = edges.edge_agreement(
            ops.reshape(predicted, (-1, *size)),
            ops.reshape(target, (-1, *size)),
            ops.reshape(class_ids, (-1,)) > 0,
            **self._settings(),
        )
        loss = self.loss_weight * loss
        self.add_loss(loss)
        return loss

    def compute_output_spec(self, inputs: Sequence[Tensor]) -> keras.KerasTensor:
        # Keras takes the shape () for an empty structure of outputs.
        return keras.KerasTensor((), dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        settings = {**self._settings(), "filters": list(self.filters)}
        return {**super().get_config(), **settings, "loss_weight": self.loss_weight}

    def _settings(self) -> dict[str, Any]:
        """The keywords of `edges.roi_edge_agreement`."""
        return {
            "filters": self.filters,
            "norm": self.norm,
            "weight_factor": self.weight_factor,
            "smoothing_gt": self.smoothing_gt,
            "smoothing_predictions": self.smoothing_predictions,
            "weight_entropy": self.weight_entropy,
            "entropy_divisor": self.entropy_divisor,
            "magnitude": self.magnitude,
        }
