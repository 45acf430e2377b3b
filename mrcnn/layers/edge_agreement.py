"""The Edge Agreement Head: a loss on the edges of the predicted masks (arXiv 1809.07069)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mrcnn.layers.flat_config import take_settings
from mrcnn.layers.switched_loss import SwitchedLoss
from mrcnn.ops import edges
from mrcnn.ops.edge_filters import check_factor
from mrcnn.ops.edge_settings import DEFAULT_EDGE_SETTINGS, EdgeSettings
from mrcnn.ops.indexing import select_class
from mrcnn.ops.tensor import Tensor


@keras.saving.register_keras_serializable(package="mrcnn")
class EdgeAgreementHead(SwitchedLoss):
    """Adds the edge agreement loss of the positive RoIs to the model.

    It has no variable and belongs to the training graph only. See
    `mrcnn.ops.edges.roi_edge_agreement` for the formula.

    Args:
        settings: the filters, the exponent and the rest; all has defaults.
        loss_weight: factor of the loss in the model's total. The returned scalar has it too.

    Raises:
        ValueError: `loss_weight` is not a finite number of at least 0.
    """

    def __init__(
        self,
        settings: EdgeSettings = DEFAULT_EDGE_SETTINGS,
        loss_weight: float = 1.0,
        dtype: Any = "float32",  # a loss stays float32 under any mixed-precision policy
        **kwargs: Any,
    ) -> None:
        super().__init__(dtype=dtype, **kwargs)
        self.settings = settings
        self.loss_weight = check_factor("loss_weight", loss_weight)

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        """The loss of the positive RoIs; a class id of 0 or less marks padding.

        Args:
            inputs: predicted masks, target masks and target class ids. The predicted masks are
                probabilities, either of each RoI's true class, [N, H, W] or [B, P, H, W], or of
                all C classes, [N, H, W, C] or [B, P, H, W, C], of which that of the true class is
                taken. Target masks [N, H, W] or [B, P, H, W]; class ids [N] or [B, P].

        Returns:
            A float32 scalar, weighted as it was added; 0 when no RoI is positive. It and its
            gradient are the same for both forms.

        Raises:
            ValueError: the shapes do not fit together.
        """
        predicted, target, class_ids = inputs
        shape = tuple(predicted.shape)
        rois = tuple(target.shape)
        if shape != rois and shape[:-1] != rois:
            raise ValueError(
                f"{self.name}: expected predicted masks of the shape of the target masks, or of "
                f"all classes, with one more axis; received {shape} and {rois}."
            )
        if len(tuple(class_ids.shape)) != len(rois) - 2:
            raise ValueError(
                f"{self.name}: expected one class id for each target mask; received class ids of "
                f"the shape {tuple(class_ids.shape)} for masks of {rois}."
            )
        size = rois[-2:]
        ids = ops.reshape(class_ids, (-1,))
        if shape != rois:
            every = ops.reshape(predicted, (1, -1, *shape[-3:]))
            predicted = select_class(every, ids[None], axis=-1)
        loss = edges.edge_agreement(
            ops.reshape(predicted, (-1, *size)),
            ops.reshape(target, (-1, *size)),
            ids > 0,
            self.settings,
        )
        loss = self.loss_weight * loss
        self.add(loss)
        return loss

    def compute_output_spec(self, inputs: Sequence[Tensor]) -> keras.KerasTensor:
        # Keras takes the shape () for an empty structure of outputs.
        return keras.KerasTensor((), dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), **self.settings.to_dict()}
        return {**config, "loss_weight": self.loss_weight}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> EdgeAgreementHead:
        """The settings lie side by side with the layer's own, as saved models have them."""
        settings, others = take_settings(EdgeSettings, config)
        return cls(settings, **others)
