"""Functions on the leading slots that are used: as on all, where it counts, and only on those."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from mrcnn.ops.leading import MIN_SLOTS, SHARES, last_used, on_leading, pull_back, slot_counts

BACKEND = keras.backend.backend()
SLOTS = 24


@given(st.integers(1, 3000))
def test_the_last_count_is_all_slots_and_each_is_its_share_rounded_up(slots: int):
    counts = slot_counts(slots)
    assert counts[-1] == slots and list(counts) == sorted(set(counts))
    shares = SHARES if slots >= MIN_SLOTS else (1.0,)
    assert counts == tuple(int(np.ceil(slots * share)) for share in shares)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=3))
def test_the_last_slot_in_use(flags: list[list[bool]]):
    expected = max((i + 1 for row in flags for i, flag in enumerate(row) if flag), default=0)
    assert int(last_used(ops.convert_to_tensor(np.array(flags)))) == expected


def bent(rows: Any, kernel: Any) -> Any:
    """A product of each slot's row with a kernel, and something that bends it."""
    return ops.tanh(ops.matmul(rows, kernel))


def value_and_gradients(
    compute: Callable[[Any, Any, Any], Any], used: int, slots: int = SLOTS, xla: bool = True
) -> list[np.ndarray]:
    """Of the sum of squares over the used slots: value, gradient of the rows, of the kernel."""
    random = np.random.default_rng(0)
    rows = ops.convert_to_tensor(random.normal(size=(2, slots, 3)).astype(np.float32))
    kernel = ops.convert_to_tensor(random.normal(size=(3, 4)).astype(np.float32))
    counted = ops.convert_to_tensor(np.arange(slots)[None, :, None] < used)

    def loss(rows: Any, kernel: Any, used: Any) -> Any:
        return ops.sum(ops.where(counted, ops.square(compute(rows, kernel, used)), 0.0))

    def both(rows: Any, kernel: Any, used: Any) -> list[Any]:
        value = loss(rows, kernel, used)
        return [value, *pull_back(lambda *x: loss(*x, used), [rows, kernel], ops.ones_like(value))]

    found = compiled(both, xla)(rows, kernel, ops.convert_to_tensor(used, dtype="int32"))
    return [ops.convert_to_numpy(x) for x in found]


def compiled(function: Callable, xla: bool) -> Callable:
    if BACKEND == "jax":
        import jax

        return jax.jit(function)
    if BACKEND == "torch":
        return function
    import tensorflow as tf

    return tf.function(function, jit_compile=xla)


@pytest.mark.parametrize("slots", [5, SLOTS])
@pytest.mark.parametrize("used", [0, 1, 6, 7, 12, 13, 24])
def test_values_and_gradients_are_those_of_all_slots(used: int, slots: int):
    used = min(used, slots)
    some = value_and_gradients(lambda *x: on_leading(bent, x[2], x[:1], x[1:2]), used, slots)
    every = value_and_gradients(lambda *x: bent(*x[:2]), used, slots)
    assert (every[0] > 0) == (used > 0)
    for found, expected in zip(some, every, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert not some[1][:, used:].any()


@pytest.mark.parametrize(("used", "count"), [(0, 6), (6, 6), (7, 12), (12, 12), (13, 24)])
def test_only_the_smallest_sufficient_count_is_computed(used: int, count: int):
    seen = []

    def reported(rows: Any, kernel: Any) -> Any:
        number = rows.shape[1]
        if BACKEND == "jax":
            import jax

            jax.debug.callback(lambda: seen.append(number))
        elif BACKEND == "torch":
            seen.append(number)
        else:
            import tensorflow as tf

            tf.py_function(lambda: seen.append(number), [], [])
        return bent(rows, kernel)

    # XLA has no calls of Python on TensorFlow.
    value_and_gradients(
        lambda *x: on_leading(reported, x[2], x[:1], x[1:2]), used, xla=BACKEND == "jax"
    )
    assert seen and set(seen) == {count}  # forward and backward


def test_slots_beyond_the_count_are_zeros():
    rows = ops.ones((1, SLOTS, 2))
    outputs = on_leading(lambda x: x + 1, ops.convert_to_tensor(5, dtype="int32"), [rows])
    found = ops.convert_to_numpy(outputs)[0, :, 0]
    assert found.tolist() == [2.0] * 6 + [0.0] * 18
