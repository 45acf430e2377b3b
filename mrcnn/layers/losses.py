"""The losses of Mask R-CNN: pure functions, and the thin layer that adds one to the total.

Every mean is taken over the entries that count; where none counts (an image without
objects) the loss is 0 with zero gradient, not NaN.

Shape letters: B images, A anchors, K padded RPN targets, R RoIs, P positive slots,
C classes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from typing import Any

import keras
from keras import ops

from mrcnn.ops.indexing import gather_rows, masked_mean, select_class, true_first

Tensor = Any

# Probabilities are kept this far from 0 and 1 before the logarithm.
EPSILON = 1e-7


def smooth_l1(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Elementwise 0.5 d² where |d| < 1, |d| - 0.5 beyond (Girshick 2015, eq. 3)."""
    distance = ops.abs(y_true - y_pred)
    return ops.where(distance < 1.0, 0.5 * distance * distance, distance - 0.5)


def cross_entropy(class_ids: Tensor, logits: Tensor) -> Tensor:
    """Softmax cross entropy of logits [..., C] against class ids [...]: [...]."""
    chosen = ops.one_hot(ops.cast(class_ids, "int32"), logits.shape[-1], dtype=logits.dtype)
    return -ops.sum(chosen * ops.log_softmax(logits, axis=-1), axis=-1)


def binary_cross_entropy(y_true: Tensor, probabilities: Tensor) -> Tensor:
    """Elementwise cross entropy of probabilities against {0, 1}."""
    p = ops.clip(probabilities, EPSILON, 1.0 - EPSILON)
    return -(y_true * ops.log(p + EPSILON) + (1.0 - y_true) * ops.log(1.0 - p + EPSILON))


def rpn_class_loss(match: Tensor, logits: Tensor) -> Tensor:
    """Cross entropy of the anchors that are not neutral, mean over the batch.

    Args:
        match: [B, A] int: 1 positive, -1 negative, 0 neutral.
        logits: [B, A, 2] (background, object).
    """
    return masked_mean(cross_entropy(match == 1, logits), match != 0)


def rpn_bbox_loss(target_deltas: Tensor, match: Tensor, deltas: Tensor) -> Tensor:
    """Smooth L1 of the positive anchors' deltas, mean over the batch.

    Args:
        target_deltas: [B, K, 4], of the positive anchors in order.
        match: [B, A] int.
        deltas: [B, A, 4], predicted.
    """
    index, valid = true_first(match == 1, target_deltas.shape[1])
    difference = smooth_l1(target_deltas, gather_rows(deltas, index))
    return masked_mean(difference, valid[..., None])


def mrcnn_class_loss(
    class_ids: Tensor, logits: Tensor, active: Tensor, valid: Tensor | None = None
) -> Tensor:
    """Cross entropy of the RoIs whose predicted class exists in the image's data set.

    Args:
        class_ids: [B, R] int.
        logits: [B, R, C].
        active: [B, C], 1 for each class of the image's data set.
        valid: [B, R] bool or None (all); false for padding.
    """
    predicted = ops.cast(ops.argmax(logits, axis=-1), "int32")
    counts = ops.take_along_axis(ops.cast(active, "float32"), predicted, axis=1)
    if valid is not None:
        counts = ops.where(valid, counts, 0.0)
    total = ops.sum(cross_entropy(class_ids, logits) * counts)
    return total / ops.maximum(ops.sum(counts), 1.0)


def mrcnn_bbox_loss(target_deltas: Tensor, class_ids: Tensor, deltas: Tensor) -> Tensor:
    """Smooth L1 of the positive RoIs, for the deltas of their true class.

    Args:
        target_deltas: [B, R, 4].
        class_ids: [B, R] int, > 0 for positives.
        deltas: [B, R, C, 4], predicted.
    """
    own = select_class(deltas, class_ids, axis=2)
    return masked_mean(smooth_l1(target_deltas, own), (class_ids > 0)[..., None])


def mrcnn_mask_loss(target_masks: Tensor, class_ids: Tensor, own_masks: Tensor) -> Tensor:
    """Binary cross entropy of the positive RoIs' masks, mean over RoIs and pixels.

    Args:
        target_masks: [B, P, h, w] in {0, 1}.
        class_ids: [B, P] int, > 0 for positives.
        own_masks: [B, P, h, w], the predicted mask of the true class
            (`mrcnn.ops.indexing.select_class`).
    """
    positive = (class_ids > 0)[..., None, None]
    return masked_mean(binary_cross_entropy(target_masks, own_masks), positive)


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
class LossLayer(keras.layers.Layer):
    """Adds one loss to the model's total and returns it, weighted, as a scalar.

    Args:
        function: a name of `FUNCTIONS`; the layer's inputs are its arguments.
        weight: factor of the loss.
    """

    def __init__(self, function: str, weight: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**{"name": function, "dtype": "float32", **kwargs})
        if function not in FUNCTIONS:
            raise ValueError(
                f"function: expected one of {sorted(FUNCTIONS)}; received {function!r}."
            )
        self.function = function
        self.weight = float(weight)

    def call(self, inputs: list[Tensor]) -> Tensor:
        loss = self.weight * FUNCTIONS[self.function](*inputs)
        self.add_loss(loss)
        return loss

    def compute_output_spec(self, inputs: list[Tensor]) -> keras.KerasTensor:
        # Keras would take the shape () of compute_output_shape for an empty structure.
        return keras.KerasTensor((), dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "function": self.function, "weight": self.weight}


@keras.saving.register_keras_serializable(package="mrcnn")
class UncertaintyWeighting(keras.layers.Layer):
    """Learns the weight of each loss (Kendall et al. 2018; section 5.6.2 of arXiv 1809.07069).

    With a trained log-variance s for each loss L, the total becomes the sum of
    exp(-s) * L + s. The losses have been added already, so that this layer adds the difference.
    The weights start at 1 (s = 0).
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})

    def build(self, input_shape: list[tuple]) -> None:
        self.log_variances = self.add_weight(
            (len(input_shape),), initializer="zeros", name="log_variances"
        )

    def call(self, losses: list[Tensor]) -> Tensor:
        """From the scalar losses to their learned weights [losses]."""
        weights = ops.exp(-self.log_variances)
        self.add_loss(ops.sum((weights - 1) * ops.stack(losses) + self.log_variances))
        return weights

    def compute_output_spec(self, losses: list[Tensor]) -> keras.KerasTensor:
        return keras.KerasTensor((len(losses),), dtype=self.compute_dtype)


# Neither BatchNorm's scales and offsets nor learned loss weights.
_NOT_DECAYED = re.compile(r"(gamma|beta|log_variances)$")


def weight_decay(variables: Iterable[Any], factor: float) -> Tensor:
    """Matterport's regularisation: sum of factor * mean(w²) over the weights.

    The mean, not the sum, of the squares: large weights count no more than small ones.
    BatchNorm's gamma and beta, and learned loss weights, are left out.
    """
    total = ops.zeros((), dtype="float32")
    for variable in variables:
        if is_decayed(variable):
            flat = ops.reshape(ops.cast(variable, "float32"), (-1,))
            total = total + factor / flat.shape[0] * ops.dot(flat, flat)
    return total


def weight_decay_gradient(variable: Any, factor: float) -> Tensor:
    """Gradient of `weight_decay` with respect to one of its weights, in its shape."""
    values = ops.convert_to_tensor(variable)
    return ops.multiply(values, 2.0 * factor / math.prod(variable.shape))


def is_decayed(variable: Any) -> bool:
    """Whether weight decay covers a weight."""
    return not _NOT_DECAYED.search(variable.name)
