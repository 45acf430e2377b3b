"""Edge agreement as a Keras loss, for any network that predicts maps.

The Edge Agreement Head compares the masks of a Mask R-CNN's regions. Semantic segmentation,
depth and U-Nets predict whole images; `EdgeAgreementLoss` compares those by the same
mathematics (arXiv 1809.07069, which leaves it as future work)::

    from mrcnn.edge_loss import EdgeAgreementLoss

    edge_loss = EdgeAgreementLoss(from_logits=True)

    def loss(y_true, y_pred):
        entropy = keras.losses.binary_crossentropy(y_true, y_pred, from_logits=True)
        return ops.mean(entropy, axis=(1, 2)) + edge_loss.call(y_true, y_pred)

    model.compile("adam", loss)

Shape letters: B images, H W, C channels (classes, or one map).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mrcnn.ops import edges
from mrcnn.ops.edge_filters import ENTROPY_DIVISOR
from mrcnn.ops.edge_settings import EdgeSettings
from mrcnn.ops.tensor import Tensor


@keras.saving.register_keras_serializable(package="mrcnn")
class EdgeAgreementLoss(keras.losses.Loss):
    """How much the edges of predicted maps [B, H, W, C] differ from those of their targets.

    Each channel of each image is filtered on its own; the loss of an image is the mean over
    its channels, so with the reduction "sum_over_batch_size" and without sample weights the
    result is the mean over all B * C maps: what `mrcnn.layers.edge_agreement` computes for as
    many regions. H and W may be anything, also unknown until the call. The filters do not see
    a constant offset inside a map, so add the loss to another one.

    Args:
        filters, norm, weight_factor, smoothing_gt, smoothing_predictions, weight_entropy,
            entropy_divisor, magnitude: see `mrcnn.ops.edge_settings.EdgeSettings`. An entropy
            weighting is for maps of probabilities only: predictions and targets in [0, 1], as
            a depth map is not.
        from_logits: the predictions are logits; the sigmoid of them is compared.
        reduction, name, dtype: as in `keras.losses.Loss`. Sample weights are one for each
            image: [B] or [B, 1].

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
        entropy_divisor: float = ENTROPY_DIVISOR,
        magnitude: bool | str = False,
        from_logits: bool = False,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "edge_agreement_loss",
        dtype: Any = "float32",  # a loss stays float32 under any mixed-precision policy
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.settings = EdgeSettings(
            filters,
            norm,
            weight_factor,
            smoothing_gt,
            smoothing_predictions,
            weight_entropy,
            entropy_divisor,
            magnitude,
        )
        self.from_logits = bool(from_logits)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """The loss of each image, [B] float32.

        Args:
            y_true: targets [B, H, W, C].
            y_pred: predictions [B, H, W, C].

        Raises:
            ValueError: the two are not of one shape, or not of four dimensions.
        """
        _check_shapes(self.name, tuple(y_true.shape), tuple(y_pred.shape))
        predicted, target = _to_maps(y_pred), _to_maps(y_true)
        if self.from_logits:
            predicted = ops.sigmoid(predicted)
        losses = edges.roi_edge_agreement(predicted, target, self.settings)
        return ops.mean(ops.reshape(losses, (-1, y_pred.shape[-1])), axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            **self.settings.to_dict(),
            "from_logits": self.from_logits,
            "dtype": self.dtype,
        }


def _to_maps(images: Tensor) -> Tensor:
    """[B, H, W, C] -> float32 [B * C, H, W], an image's channels one after the other."""
    height, width = ops.shape(images)[1:3]
    channels_first = ops.transpose(ops.cast(images, "float32"), (0, 3, 1, 2))
    return ops.reshape(channels_first, (-1, height, width))


def _check_shapes(name: str, target: tuple, predicted: tuple) -> None:
    """Sides that are None become known at the call only."""
    alike = len(target) == len(predicted) == 4 and all(
        None in sides or sides[0] == sides[1] for sides in zip(target, predicted, strict=True)
    )
    if not alike or predicted[-1] is None:
        raise ValueError(
            f"{name}: expected targets and predictions of one shape [batch, height, width, "
            f"channels], the channels known; received {target} and {predicted}. Give maps "
            f"without channels a last axis of 1, and class ids one channel for each class."
        )
