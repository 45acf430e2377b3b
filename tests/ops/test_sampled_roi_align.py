"""RoIAlign with several samples a bin, against single samples and against torchvision."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcnn.ops import sampled_roi_align as ours
from mrcnn.ops import torch_roi_align
from tests.ops import naive
from tests.ops.variants import quick, whole
from tests.support import gradient

on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the kernels are TensorFlow's"
)
either = pytest.mark.parametrize("use_tf_kernels", [False, pytest.param(True, marks=on_tensorflow)])
SIDE = 128
SIZE = (3, 2)


@pytest.fixture(autouse=True, params=[False, True] if torch_roi_align.kernel() else [False])
def without_torchvision(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """On PyTorch, with torchvision's kernel and without."""
    if request.param:
        monkeypatch.setattr(torch_roi_align, "kernel", lambda: None)


def pyramid(seed: int, batch: int = 2, channels: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    sides = [SIDE // 2**level for level in (2, 3, 4, 5)]
    return [rng.normal(size=(batch, side, side, channels)).astype(np.float32) for side in sides]


def random_rois(seed: int, count: int, batch: int = 2) -> np.ndarray:
    """Boxes of all sizes inside the image: thin ones, ones at its border, and all of it."""
    rng = np.random.default_rng(seed)
    rois = np.sort(rng.uniform(0, SIDE, (batch, count, 2, 2)), axis=2).reshape(batch, count, 4)
    rois[:, 0] = [0, 0, SIDE, SIDE]
    rois[:, 1] = [SIDE - 2, 5, SIDE, 9]
    rois[:, 2, 2] = rois[:, 2, 0] + 0.3
    return rois.astype(np.float32)


@either
@pytest.mark.parametrize("aligned", [False, True])
def test_each_bin_is_the_mean_of_its_samples(use_tf_kernels: bool, aligned: bool):
    maps, rois = pyramid(0), random_rois(1, 6)

    def align(rois, *maps):
        return ours.sampled_pyramid_roi_align(
            maps, rois, SIZE, 2, aligned, use_tf_kernels=use_tf_kernels
        )

    levels = keras.ops.convert_to_numpy(ours.level_of_side(rois))
    expected = [
        [
            naive.sampled_roi_align(maps[level][image], roi, SIZE, 2, 4 * 2**level, aligned)
            for roi, level in zip(rois[image], levels[image], strict=True)
        ]
        for image in range(2)
    ]
    runs = [("quick", quick(align))] if use_tf_kernels else whole(align)
    for name, run in runs:
        np.testing.assert_allclose(run(rois, *maps), expected, atol=1e-4, err_msg=name)


def test_the_gradient_is_that_of_the_samples():
    maps, rois = pyramid(2, batch=1, channels=1), random_rois(3, 3, batch=1)
    weights = np.random.default_rng(4).normal(size=(1, 3, *SIZE, 1)).astype(np.float32)

    def total(first):
        crops = ours.sampled_pyramid_roi_align([first, *maps[1:]], rois, SIZE, 2)
        return keras.ops.sum(keras.ops.multiply(crops, weights))

    slope = gradient(total, maps[0])
    step = np.zeros_like(maps[0])
    step[0, -1, 1:3] = 1.0
    up, down = (float(total(maps[0] + sign * step)) for sign in (1, -1))
    assert up != down
    np.testing.assert_allclose((slope * step).sum(), (up - down) / 2, rtol=1e-3)


def test_the_side_in_pixels_decides_the_level_and_a_limit_belongs_above():
    sides = np.array([1, 111.9, 112, 223.9, 224, 447.9, 448, 3000], np.float32)
    boxes = np.stack([0 * sides, 0 * sides, sides, sides], axis=-1)
    levels = keras.ops.convert_to_numpy(ours.level_of_side(boxes))
    assert levels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert keras.ops.convert_to_numpy(ours.level_of_side(np.zeros((1, 4), np.float32))) == [0]


class TestAgainstTorchvision:
    @pytest.fixture(autouse=True)
    def torchvision(self):
        self.torch = pytest.importorskip("torch", reason="the oracle: pip install '.[bench]'")
        self.torchvision = pytest.importorskip("torchvision")

    @given(st.integers(0, 10**6), st.sampled_from([1, 2, 3]), st.booleans())
    @settings(max_examples=15, deadline=None)
    def test_one_map(self, seed: int, samples: int, aligned: bool):
        maps, rois = pyramid(seed), random_rois(seed, 5)
        levels = keras.ops.convert_to_numpy(ours.level_of_side(rois))
        found = ours.sampled_pyramid_roi_align(maps, rois, SIZE, samples, aligned)
        found = keras.ops.convert_to_numpy(found)
        for image, row in np.ndindex(levels.shape):
            level = levels[image, row]
            features = self.torch.from_numpy(maps[level][image].transpose(2, 0, 1)[None])
            box = self.torch.from_numpy(rois[image, row, [1, 0, 3, 2]][None])
            expected = self.torchvision.ops.roi_align(
                features, [box], SIZE, 1 / (4 * 2**level), samples, aligned
            )
            np.testing.assert_allclose(
                found[image, row], expected[0].permute(1, 2, 0).numpy(), atol=1e-4
            )

    @given(st.integers(0, 10**6))
    @settings(max_examples=15, deadline=None)
    def test_the_pyramid(self, seed: int):
        maps, rois = pyramid(seed), random_rois(seed, 8)
        rois[:, 3] = [0, 0, 112, 112]  # between two levels
        align = self.torchvision.ops.MultiScaleRoIAlign(["0", "1", "2", "3"], SIZE, 2)
        features = {
            str(n): self.torch.from_numpy(m.transpose(0, 3, 1, 2).copy())
            for n, m in enumerate(maps)
        }
        boxes = [self.torch.from_numpy(of_image[:, [1, 0, 3, 2]].copy()) for of_image in rois]
        expected = align(features, boxes, [(SIDE, SIDE)] * 2).permute(0, 2, 3, 1).numpy()
        found = keras.ops.convert_to_numpy(ours.sampled_pyramid_roi_align(maps, rois, SIZE, 2))
        np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=1e-4)
