"""Masks of a share of the objects: which, how many, and what a sample makes of the others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcnn.batch import BOX_ONLY_MASK
from mrcnn.data.dataset import Dataset
from mrcnn.data.few_masks import without_mask
from mrcnn.data.sample import Sample, load_sample
from tests.tiny import tiny_config

shares = st.floats(0, 1)


@given(st.text(max_size=8), st.integers(0, 30), shares, shares, st.integers(0, 2**32 - 2))
def test_a_larger_share_keeps_what_a_smaller_one_has(name, count, one, other, seed):
    small, large = sorted((one, other))
    few, many = (without_mask(name, count, share, seed) for share in (small, large))
    assert few.shape == many.shape == (count,) and few.dtype == bool
    assert not (many & ~few).any()
    np.testing.assert_array_equal(few, without_mask(name, count, small, seed))


def test_the_share_is_met_on_average_and_seeds_differ():
    drawn = [
        np.stack([without_mask(f"a {k}", 5, 0.25, seed) for k in range(2000)]) for seed in (0, 1)
    ]
    for masks in drawn:
        assert 1 - masks.mean() == pytest.approx(0.25, abs=0.02)
        assert abs(np.corrcoef(masks[:, 0], masks[:, 1])[0, 1]) < 0.1
    assert (drawn[0] != drawn[1]).any()


class Grids(Dataset):
    """Twelve images of nine squares each."""

    def __init__(self) -> None:
        super().__init__()
        self.add_class("grids", 1, "square")
        for number in range(12):
            self.add_image("grids", number, None)
        self.prepare()

    def load_image(self, image_id: int) -> np.ndarray:
        return np.full((64, 64, 3), 10 * image_id, np.uint8)

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        masks = np.zeros((64, 64, 9), bool)
        for k in range(9):
            y, x = 20 * (k // 3), 20 * (k % 3)
            masks[y : y + 12, x : x + 14, k] = True
        return masks, np.ones(9, np.int32)


def test_a_sample_marks_the_objects_without_a_mask():
    dataset = Grids()

    def samples(**settings) -> list[Sample]:
        config = tiny_config(NUM_CLASSES=2, MAX_GT_INSTANCES=9, **settings)
        return [load_sample(dataset, k, config, np.random.default_rng(0)) for k in range(12)]

    def values(found: list[Sample]) -> np.ndarray:
        return np.concatenate([sample.masks.max(axis=(1, 2)) for sample in found])

    whole, few = samples(), samples(MASK_SHARE=0.3)
    assert (values(whole) == 1).all()
    assert set(values(few)) == {1, BOX_ONLY_MASK}
    assert (values(few) == 1).mean() == pytest.approx(0.3, abs=0.15)
    for one, other in zip(whole, few, strict=True):  # and nothing else changes
        np.testing.assert_array_equal(one.boxes, other.boxes)
        np.testing.assert_array_equal(one.class_ids, other.class_ids)
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.masks > 0, other.masks > 0)
    assert (values(samples(MASK_SHARE=0.0)) == BOX_ONLY_MASK).all()
    assert (values(samples(MASK_SHARE=0.3, SEED=5)) != values(few)).any()
