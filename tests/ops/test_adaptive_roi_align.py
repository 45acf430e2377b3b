"""RoIAlign with as many samples as a bin has cells, against single samples and torchvision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcnn.ops import sampled_roi_align as ours
from mrcnn.ops.adaptive_roi_align import CHUNK
from tests.ops import naive
from tests.support import compiled, gradient

SIDE = 320  # so that three levels have RoIs
SIZE = (3, 2)
on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the layout is for TensorFlow's graphs"
)
either = pytest.mark.parametrize("use_tf_kernels", [False, pytest.param(True, marks=on_tensorflow)])


def pyramid(seed: int, batch: int = 2, channels: int = 2) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    sides = [SIDE // 2**level for level in (2, 3, 4, 5)]
    return [rng.normal(size=(batch, side, side, channels)).astype(np.float32) for side in sides]


def random_rois(seed: int, count: int, batch: int = 2) -> np.ndarray:
    """Boxes of all sizes inside the image: thin ones, ones at its border, and all of it."""
    rng = np.random.default_rng(seed)
    rois = np.sort(rng.uniform(0, SIDE, (batch, count, 2, 2)), axis=2).reshape(batch, count, 4)
    special = (
        *([0, 0, SIDE, SIDE], [SIDE - 2, 5, SIDE, 9], [0, 7.5, SIDE, 9], [200, 0, 203, SIDE]),
        *([8, 8, 8 + 4 * 3, 8 + 4 * 2], [0, 0, 0, 0], [50, 60, 50, 90], [9, 9, 9.2, 9.1]),
    )
    rois[:, : len(special)] = np.array(special)[:count]
    return rois.astype(np.float32)


def align(rois: Any, *maps: Any, use_tf_kernels: bool = False, training: bool = True) -> Any:
    return ours.sampled_pyramid_roi_align(
        maps, rois, SIZE, ours.ADAPTIVE, True, use_tf_kernels=use_tf_kernels, training=training
    )


def graph(fn: Callable[..., Any]) -> Callable[..., Any]:
    """`fn` in one piece: step by step its loops take long."""
    ways = dict(compiled(fn))
    return ways.get("graph") or ways.get("xla") or ways["eager"]


def one_by_one(maps: list[np.ndarray], rois: np.ndarray) -> np.ndarray:
    levels = keras.ops.convert_to_numpy(ours.level_of_side(rois))
    found = [
        naive.sampled_roi_align(maps[level][image], rois[image, row], SIZE, -1, 4 * 2**level, True)
        for (image, row), level in np.ndenumerate(levels)
    ]
    return np.reshape(found, (*levels.shape, *SIZE, maps[0].shape[-1]))


def test_each_bin_is_the_mean_of_its_samples():
    maps, rois = pyramid(0), random_rois(1, 9)
    expected = one_by_one(maps, rois)
    assert np.abs(expected).max() > 1
    ways = compiled(align)
    for name, run in ways[1:] or ways:  # eagerly it takes long
        np.testing.assert_allclose(run(rois, *maps), expected, atol=2e-4, err_msg=name)


@either
def test_the_gradient_is_that_of_the_samples(use_tf_kernels: bool):
    # Linear in the features: for weights w and features f, w · crops(f) is f · gradient(w).
    maps, rois = pyramid(2, batch=1), random_rois(3, 9, batch=1)
    weights = np.random.default_rng(4).normal(size=(1, 9, *SIZE, 2)).astype(np.float32)
    total = 0.0
    for number, features in enumerate(maps[:3]):

        def weighted(own: Any, number: int = number) -> Any:
            own_maps = [*maps[:number], own, *maps[number + 1 :]]
            crops = align(rois, *own_maps, use_tf_kernels=use_tf_kernels)
            return keras.ops.sum(keras.ops.multiply(crops, weights))

        slope = gradient(weighted, features, jit=not use_tf_kernels, graph=True)
        assert slope.any()
        total += (slope.astype(np.float64) * features).sum()
    np.testing.assert_allclose(total, (weights * one_by_one(maps, rois)).sum(), rtol=1e-3)


@on_tensorflow
def test_without_training_the_gradient_is_the_same():
    maps, rois = pyramid(5, batch=1), random_rois(6, 3, batch=1)

    def total(first: Any, training: bool) -> Any:
        return keras.ops.sum(align(rois, first, *maps[1:], training=training) ** 2)

    slopes = [
        gradient(lambda x, t=training: total(x, t), maps[0], graph=True)
        for training in (True, False)
    ]
    np.testing.assert_allclose(*slopes, atol=1e-4)


@pytest.mark.parametrize("count", [1, CHUNK - 1, CHUNK, CHUNK + 1])
def test_neither_their_number_nor_their_order_matters(count: int):
    maps, rois = pyramid(7, batch=1), random_rois(8, count, batch=1)
    order = np.random.default_rng(9).permutation(count)
    run = graph(align)
    one, other = (np.asarray(run(values, *maps)) for values in (rois, rois[:, order]))
    np.testing.assert_allclose(one[:, order], other, atol=1e-5)


def test_samples_of_their_own_number_need_alignment():
    with pytest.raises(ValueError, match="samples: expected aligned"):
        ours.sampled_pyramid_roi_align(pyramid(0), random_rois(0, 2), SIZE, ours.ADAPTIVE, False)


@given(st.integers(0, 10**6))
@settings(max_examples=5, deadline=None)
def test_against_torchvision(seed: int):
    torch = pytest.importorskip("torch", reason="the oracle: pip install '.[bench]'")
    roi_align = pytest.importorskip("torchvision.ops").roi_align
    maps, rois = pyramid(seed), random_rois(seed, 20)
    levels = keras.ops.convert_to_numpy(ours.level_of_side(rois))
    found = RUN(rois, *maps)
    for image, row in np.ndindex(levels.shape):
        level = levels[image, row]
        features = torch.from_numpy(maps[level][image].transpose(2, 0, 1)[None].copy())
        box = torch.from_numpy(rois[image, row, [1, 0, 3, 2]][None].copy())
        expected = roi_align(features, [box], SIZE, 1 / (4 * 2**level), 0, True)
        expected = expected[0].permute(1, 2, 0).numpy()
        np.testing.assert_allclose(found[image, row], expected, atol=2e-4)


RUN = graph(align)
