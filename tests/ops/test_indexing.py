"""Gathers, masked means and random subsets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from mrcnn.ops import indexing
from tests.support import compiled, gradient

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=15, deadline=None)


def naive_keep(mask, noise, limit) -> np.ndarray:
    kept = np.zeros(mask.shape, bool)
    for b, row in enumerate(mask):
        true = [i for i in range(len(row)) if row[i]]
        for i in sorted(true, key=lambda i: -noise[b][i])[: limit[b]]:
            kept[b, i] = True
    return kept


def naive_first(mask, count) -> tuple[np.ndarray, np.ndarray]:
    index, valid = np.zeros((len(mask), count), int), np.zeros((len(mask), count), bool)
    for b, row in enumerate(mask):
        for k, i in enumerate([i for i in range(len(row)) if row[i]][:count]):
            index[b, k], valid[b, k] = i, True
    return index, valid


class TestGather:
    def test_like_the_loops(self):
        rng = np.random.default_rng(0)
        values = rng.normal(size=(3, 5, 2, 4)).astype(np.float32)
        numbers = rng.integers(0, 100, (3, 5)).astype(np.int32)
        index = rng.integers(0, 5, (3, 7)).astype(np.int32)
        classes = np.array([[0, 3, 1, 2, 3], [-1, 0, 9, 1, 1], [2] * 5], np.int32)

        def everything(values, numbers, index, classes):
            return {
                "rows": indexing.gather_rows(values, index),
                "numbers": indexing.gather_rows(numbers, index),
                "last": indexing.select_class(values, classes, axis=3),
                "from the end": indexing.select_class(values, classes, axis=-1),
                "inner": indexing.select_class(ops.swapaxes(values, 2, 3), classes, axis=2),
            }

        own = np.zeros((3, 5, 2))
        for b in range(3):
            for n in range(5):
                class_id = max(classes[b, n], 0)
                own[b, n] = values[b, n, :, class_id] if class_id < 4 else 0
        expected = {
            "rows": [[values[b, i] for i in index[b]] for b in range(3)],
            "numbers": [[numbers[b, i] for i in index[b]] for b in range(3)],
            **dict.fromkeys(["last", "from the end", "inner"], own),
        }
        for name, run in compiled(everything):
            got = run(values, numbers, index, classes)
            for key, value in expected.items():
                np.testing.assert_array_equal(got[key], np.float32(value), err_msg=f"{name} {key}")

    def test_gradients_reach_the_chosen_entries_only(self):
        values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
        index = np.array([[1, 1], [0, 2]], np.int32)
        rows = gradient(
            lambda v: ops.sum(indexing.gather_rows(v, ops.convert_to_tensor(index))), values
        )
        np.testing.assert_array_equal(rows[..., 0], [[0, 2, 0], [1, 0, 1]])
        classes = np.array([[0, 3, 1], [2, -1, 9]], np.int32)
        own = gradient(lambda v: ops.sum(indexing.select_class(v, classes, axis=2)), values)
        one_hot = np.eye(4)[[[0, 3, 1], [2, 0, 0]]]
        one_hot[1, 2] = 0  # no such class
        np.testing.assert_array_equal(own, one_hot)

    def test_the_other_classes_may_be_anything(self):
        values = np.full((1, 2, 3), np.nan, np.float32)
        values[0, 0, 2], values[0, 1, 0] = 5, 7
        classes = np.array([[2, 0]], np.int32)
        np.testing.assert_array_equal(indexing.select_class(values, classes, axis=2), [[5, 7]])


class TestMaskedMean:
    @given(seed=seeds)
    @few
    def test_like_the_loops(self, seed):
        rng = np.random.default_rng(seed)
        values = rng.normal(size=(2, 5, 3)).astype(np.float32)
        mask = rng.integers(0, 2, (2, 5, 1)).astype(bool)
        kept = [value for row, on in zip(values, mask, strict=True) for value in row[on[:, 0]]]
        expected = np.mean(kept) if kept else 0
        assert float(indexing.masked_mean(values, mask)) == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize("garbage", [1e30, np.inf, -np.inf, np.nan])
    def test_garbage_outside_the_mask(self, garbage):
        values = np.array([[1, garbage, 3]], np.float32)
        mask = np.array([[True, False, True]])
        assert float(indexing.masked_mean(values, mask)) == 2
        slope = gradient(lambda v: indexing.masked_mean(v, mask), values)
        np.testing.assert_array_equal(slope, [[0.5, 0, 0.5]])

    @pytest.mark.parametrize("jit", [False, True])
    def test_nothing_counts(self, jit):
        values, mask = np.full((2, 3), np.nan, np.float32), np.zeros((2, 3), bool)
        assert float(indexing.masked_mean(values, mask)) == 0
        slope = gradient(lambda v: indexing.masked_mean(v, mask), values, jit)
        np.testing.assert_array_equal(slope, 0)


class TestSubsets:
    LIMIT = np.array([0, 1, 2, 4, 4], np.int32)
    MASK = np.array(
        [[1, 1, 1, 1, 1, 1], [1, 0, 1, 0, 1, 0], [1] * 6, [0, 1, 0, 0, 1, 0], [0] * 6], bool
    )

    def test_like_the_loops(self):
        noise = np.random.default_rng(1).uniform(size=self.MASK.shape).astype(np.float32)
        noise[2, 3] = 0  # the smallest noise there is

        def everything(mask, noise, limit):
            return {
                "kept": indexing.sample_at_most(mask, noise, limit, 4),
                "beyond all": indexing.sample_at_most(mask, noise, limit * 2, 8),
                "some": indexing.first_true_indices(mask, 2),
                "more than rows": indexing.first_true_indices(mask, 8),
            }

        expected = {
            "kept": naive_keep(self.MASK, noise, self.LIMIT),
            "beyond all": naive_keep(self.MASK, noise, self.LIMIT * 2),
            "some": naive_first(self.MASK, 2),
            "more than rows": naive_first(self.MASK, 8),
        }
        for name, run in compiled(everything):
            got = run(self.MASK, noise, self.LIMIT)
            for key, value in expected.items():
                parts = zip(got[key], value, strict=True)
                for part, wanted in parts:
                    np.testing.assert_array_equal(part, wanted, err_msg=f"{name} {key}")
            assert got["some"][0].dtype == got["more than rows"][0].dtype == np.int32, name

    @given(seed=seeds, density=st.floats(0, 1))
    @few
    def test_keeps_exactly_the_limit_or_all(self, seed, density):
        rng = np.random.default_rng(seed)
        mask = rng.uniform(size=(4, 9)) < density
        noise = np.stack([rng.permutation(9) for _ in range(4)]).astype(np.float32) / 9
        limit = rng.integers(0, 8, 4).astype(np.int32)
        kept = ops.convert_to_numpy(indexing.sample_at_most(mask, noise, limit, 7))
        assert not (kept & ~mask).any()
        np.testing.assert_array_equal(kept.sum(1), np.minimum(limit, mask.sum(1)))
        np.testing.assert_array_equal(kept, indexing.sample_at_most(mask, noise, limit, 7))

    def test_a_largest_limit_of_zero(self):
        noise = np.full((1, 6), 0.5, np.float32)
        kept = indexing.sample_at_most(self.MASK[:1], noise, np.zeros(1, np.int32), 0)
        assert not ops.convert_to_numpy(kept).any()

    def test_every_entry_is_as_likely(self):
        rng = np.random.default_rng(2)
        mask = np.tile(np.array([1, 1, 0, 1, 1, 1], bool), (20_000, 1))
        noise = rng.uniform(size=mask.shape).astype(np.float32)
        kept = indexing.sample_at_most(mask, noise, np.full(20_000, 2, np.int32), 2)
        share = ops.convert_to_numpy(kept).mean(axis=0)
        # 2 of 5; the standard deviation is 0.0035.
        np.testing.assert_allclose(share, [0.4, 0.4, 0, 0.4, 0.4, 0.4], atol=0.015)
