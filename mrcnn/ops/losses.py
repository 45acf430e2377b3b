"""The losses of Mask R-CNN: pure functions on tensors."""

from __future__ import annotations

from keras import ops

from mrcnn.ops.indexing import divisor, first_true_indices, gather_rows, masked_mean, select_class
from mrcnn.ops.tensor import Tensor

# Probabilities are kept this far from 0 and 1 before the logarithm.
EPSILON = 1e-7


def smooth_l1(y_true: Tensor, y_pred: Tensor, beta: float = 1.0) -> Tensor:
    """Elementwise 0.5 d² / beta where |d| < beta, |d| - 0.5 beta beyond.

    With a beta of 1 it is equation 3 of Girshick 2015; with 0, the distance |d|.

    >>> ops.convert_to_numpy(smooth_l1(ops.array([0.0, 0.0]), ops.array([0.5, -3.0]))).tolist()
    [0.125, 2.5]
    """
    distance = ops.abs(ops.subtract(y_true, y_pred))
    if beta == 0:
        return distance
    return ops.where(distance < beta, (0.5 / beta) * distance * distance, distance - 0.5 * beta)


def cross_entropy(class_ids: Tensor, logits: Tensor) -> Tensor:
    """Softmax cross entropy of logits [..., C] against class ids [...]: [...]."""
    chosen = ops.one_hot(ops.cast(class_ids, "int32"), logits.shape[-1], dtype=logits.dtype)
    return -ops.sum(chosen * ops.log_softmax(logits, axis=-1), axis=-1)


def binary_cross_entropy(y_true: Tensor, probabilities: Tensor) -> Tensor:
    """Elementwise cross entropy of probabilities against targets from 0 to 1.

    With the clipping and the epsilon of Keras 2; the result is at most about 16.
    """
    y_true = ops.convert_to_tensor(y_true)
    p = ops.clip(probabilities, EPSILON, 1.0 - EPSILON)
    return -(y_true * ops.log(p + EPSILON) + (1.0 - y_true) * ops.log(1.0 - p + EPSILON))


def binary_cross_entropy_of_logits(y_true: Tensor, logits: Tensor) -> Tensor:
    """Elementwise cross entropy of a sigmoid against targets from 0 to 1, without a bound.

    >>> loss = binary_cross_entropy_of_logits(ops.array([1.0, 0.0]), ops.array([0.0, 50.0]))
    >>> (1000 * ops.convert_to_numpy(loss)).astype(int).tolist()
    [693, 50000]
    """
    return ops.relu(logits) - ops.multiply(logits, y_true) + ops.softplus(-ops.abs(logits))


def rpn_class_loss(match: Tensor, logits: Tensor, by: int | None = None) -> Tensor:
    """Cross entropy of the anchors that are not neutral, mean over the batch.

    Args:
        match: [B, A] int: 1 positive, -1 negative, 0 neutral.
        logits: [B, A, 2] (background, object), or [B, A, 1], the object's.
        by: the sum by this number in place of the mean.
    """
    if logits.shape[-1] == 1:
        is_object = ops.cast(match == 1, logits.dtype)
        losses = binary_cross_entropy_of_logits(is_object, logits[..., 0])
    else:
        losses = cross_entropy(match == 1, logits)
    if by is not None:
        return ops.sum(ops.where(match != 0, losses, 0.0)) / by
    return masked_mean(losses, match != 0)


def rpn_bbox_loss(
    target_deltas: Tensor,
    match: Tensor,
    deltas: Tensor,
    beta: float = 1.0,
    over_all: bool = False,
    by: int | None = None,
) -> Tensor:
    """Smooth L1 of the positive anchors' deltas, over the batch.

    Args:
        target_deltas: [B, K, 4], of the positive anchors in order.
        match: [B, A] int.
        deltas: [B, A, 4], predicted.
        beta: see `smooth_l1`.
        over_all: the sum by the number of anchors that are not neutral; False: the mean.
        by: the sum by this number.
    """
    index, valid = first_true_indices(match == 1, target_deltas.shape[1])
    difference = smooth_l1(target_deltas, gather_rows(deltas, index), beta)
    if by is not None:
        return ops.sum(ops.where(valid[..., None], difference, 0.0)) / by
    if over_all:
        return _sum_over(difference, valid[..., None], match != 0)
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
    return total / divisor(ops.sum(counts))


def mrcnn_bbox_loss(
    target_deltas: Tensor,
    class_ids: Tensor,
    deltas: Tensor,
    valid: Tensor | None = None,
    beta: float = 1.0,
) -> Tensor:
    """Smooth L1 of the positive RoIs, for the deltas of their true class.

    Args:
        target_deltas: [B, R, 4].
        class_ids: [B, R] int, > 0 for positives.
        deltas: [B, R, C, 4], predicted.
        valid: bool [B, R], false for padding: the sum by the number of these; None: the mean over
            the positives.
        beta: see `smooth_l1`.
    """
    own = select_class(deltas, class_ids, axis=2)
    difference = smooth_l1(target_deltas, own, beta)
    positive = (class_ids > 0)[..., None]
    return (
        masked_mean(difference, positive)
        if valid is None
        else _sum_over(difference, positive, valid)
    )


def mrcnn_mask_loss(
    target_masks: Tensor, class_ids: Tensor, own_masks: Tensor, of_logits: bool = False
) -> Tensor:
    """Binary cross entropy of the positive RoIs' masks, mean over RoIs and pixels.

    Args:
        target_masks: [B, P, h, w] from 0 to 1.
        class_ids: [B, P] int, > 0 for positives.
        own_masks: [B, P, h, w], the predicted mask of the true class
            (`mrcnn.ops.indexing.select_class`): probabilities, or their logits.
        of_logits: which of the two.
    """
    positive = (class_ids > 0)[..., None, None]
    entropy = binary_cross_entropy_of_logits if of_logits else binary_cross_entropy
    return masked_mean(entropy(target_masks, own_masks), positive)


def _sum_over(values: Tensor, mask: Tensor, counted: Tensor) -> Tensor:
    """The sum of the values where `mask` (broadcast to them) is true, by how many are `counted`."""
    total = ops.sum(ops.where(mask, values, 0.0))
    return total / divisor(ops.sum(ops.cast(counted, values.dtype)))
