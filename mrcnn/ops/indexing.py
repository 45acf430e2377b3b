"""Gathers, masked means and random subsets with static shapes.

Shape letters: B images, N rows of an image, K chosen rows, C classes.
"""

from __future__ import annotations

from keras import ops

from mrcnn.ops.tensor import Tensor
from mrcnn.tensorflow_backend import replicas


def gather_rows(values: Tensor, index: Tensor) -> Tensor:
    """Take rows of each image: values [B, N, ...], index [B, K] int -> [B, K, ...].

    One gather on the folded array: cheaper than `take_along_axis` in both directions.

    >>> rows = gather_rows(ops.array([[1, 2, 3], [4, 5, 6]]), ops.array([[2, 0], [1, 1]]))
    >>> ops.convert_to_numpy(rows).tolist()
    [[3, 1], [5, 5]]
    """
    batch, rows, *rest = ops.shape(values)
    offset = ops.cast(ops.arange(batch)[:, None] * rows, index.dtype)
    flat = ops.reshape(values, (batch * rows, *rest))
    picked = ops.take(flat, ops.reshape(index + offset, (-1,)), axis=0)
    return ops.reshape(picked, (batch, ops.shape(index)[1], *rest))


def select_class(values: Tensor, class_ids: Tensor, axis: int) -> Tensor:
    """Take the entry of each row's own class along `axis`.

    Args:
        values: [B, N, ...] with C classes along `axis` (counted without removing it).
        class_ids: [B, N] int. Ids below 0 read class 0; mask such rows out.
        axis: position of the class axis in `values`.

    Returns:
        `values` without the class axis.
    """
    shape = values.shape
    index = ops.maximum(ops.cast(class_ids, "int32"), 0)
    index = ops.reshape(index, tuple(ops.shape(index)) + (1,) * (len(shape) - 2))
    classes = shape[axis]
    # A product with a one-hot row: its gradient is dense and cheap, where that of
    # a gather is a scatter.
    numbers = ops.reshape(
        ops.arange(classes, dtype="int32"),
        tuple(classes if i == axis % len(shape) else 1 for i in range(len(shape))),
    )
    return ops.sum(ops.where(numbers == index, values, 0), axis=axis)


def first_largest(values: Tensor) -> Tensor:
    """The place of the largest of each row: [..., N] -> [...] int32; the first of equal ones.

    0 in a row that holds NaN. Keras's `argmax` looks at the bits of its values, which converters to
    other formats do not know.

    >>> ops.convert_to_numpy(first_largest(ops.array([[1.0, 3.0, 3.0], [2.0, 0.0, 1.0]]))).tolist()
    [1, 0]
    """
    rows = values.shape[-1]
    largest = values == ops.max(values, axis=-1, keepdims=True)
    best = ops.max(ops.where(largest, ops.arange(rows, 0, -1, dtype="int32"), 0), axis=-1)
    return ops.where(best > 0, rows - best, 0)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of `values` where `mask` (broadcast to it) is true; 0 where nothing is.

    Values outside the mask may be anything finite or not: they reach neither the
    result nor its gradient.

    >>> float(masked_mean(ops.array([1.0, 3.0, float("nan")]), ops.array([True, True, False])))
    2.0
    """
    mask = ops.broadcast_to(mask, ops.shape(values))
    total = ops.sum(ops.where(mask, values, 0.0))
    return total / divisor(ops.sum(ops.cast(mask, values.dtype)))


def divisor(count: Tensor) -> Tensor:
    """What a sum over a batch is divided by for a mean over the batch: the count, at least 1.

    Replicas that have a part of the batch each get the share of one in the count of all, so that
    the mean over the replicas of what they divide is the mean over the batch.
    """
    number = replicas.count()
    return ops.maximum(replicas.total(count), 1.0) / number


def sample_at_most(mask: Tensor, noise: Tensor, limit: Tensor, largest: int) -> Tensor:
    """Keep at most `limit` true entries of each row, chosen by the largest noise.

    Args:
        mask: [B, N] bool.
        noise: [B, N] in [0, 1), distinct but for chance.
        limit: [B] int, at most `largest`.
        largest: static upper bound of `limit`.

    Returns:
        [B, N] bool, a subset of `mask`.

    >>> mask, noise = ops.array([[True, False, True, True]]), ops.array([[0.1, 0.9, 0.5, 0.3]])
    >>> ops.convert_to_numpy(sample_at_most(mask, noise, ops.array([2]), largest=2)).tolist()
    [[False, False, True, True]]
    """
    mask, limit = ops.convert_to_tensor(mask), ops.convert_to_tensor(limit)
    keys = ops.where(mask, noise, -1.0)
    largest = max(1, min(largest, mask.shape[1]))  # a limit of 0 also needs a threshold
    best = ops.top_k(keys, largest)[0]
    position = ops.clip(limit - 1, 0, largest - 1)
    threshold = ops.take_along_axis(best, position[:, None], axis=1)
    return mask & (keys >= threshold) & (limit > 0)[:, None]


def first_true_indices(mask: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Indices of the first `count` true entries of each row, in order.

    Args:
        mask: [B, N] bool.
        count: K.

    Returns:
        (index [B, K] int32, valid [B, K] bool). Where fewer than K are true, the
        rest is invalid and points at row 0.

    >>> index, valid = first_true_indices(ops.array([[False, True, True], [True, False, False]]), 2)
    >>> ops.convert_to_numpy(index).tolist(), ops.convert_to_numpy(valid).tolist()
    ([[1, 2], [0, 0]], [[True, True], [True, False]])
    """
    rows = mask.shape[1]
    count_found = min(count, rows)
    order = ops.arange(rows, 0, -1, dtype="int32")
    best = ops.top_k(ops.where(mask, order, 0), count_found)[0]
    valid = best > 0
    index = ops.where(valid, rows - best, 0)
    if count_found < count:
        missing = ((0, 0), (0, count - count_found))
        index, valid = ops.pad(index, missing), ops.pad(valid, missing)
    return ops.cast(index, "int32"), valid
