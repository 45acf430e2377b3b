"""RoIPool over the pyramid, compared with loops over single cells."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from mrcnn.ops import crops, roi_pool
from tests.ops import naive
from tests.ops.variants import quick, whole
from tests.support import gradient

SIZE = (3, 4)
IMAGE_AREA = 256.0**2
STRIDES = (4, 8, 16, 32)
AWKWARD = np.array(
    [
        [0, 0, 0, 0],  # padding
        [0, 0, 1, 1],
        [0.1, 0.2, 0.9, 0.7],
        [0.8, 0.7, 0.1, 0.2],  # upside down: one cell on each axis
        [-0.2, -0.2, 0.5, 0.5],
        [0.5, 0.5, 1.5, 1.5],
        [1.5, 1.5, 2, 2],  # outside
        [0.3, 0.3, 0.3, 0.3],
        [0.3, 0.1, 0.3, 0.9],
        [1, 1, 1, 1],
        [-1e9, -1e9, 1e9, 1e9],
        [1 / 3, 0.123, 1, 1],
    ],
    np.float32,
)


def random_maps(seed: int) -> list[np.ndarray]:
    """Maps P2 … P5 of two images of 64 x 32 pixels."""
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(2, 64 // s, 32 // s, 3)).astype(np.float32) for s in STRIDES]


def random_rois(seed: int, count: int) -> np.ndarray:
    """[2, count, 4] of all levels, every third one ending at exactly 1."""
    rng = np.random.default_rng(seed)
    sides = 2.0 ** rng.uniform(-5, 0, (2, count, 1)) * rng.uniform(0.7, 1, (2, count, 2))
    corner = rng.uniform(0, 1 - sides)
    boxes = np.concatenate([corner, corner + sides], axis=-1)
    boxes[:, ::3, 2:] = 1
    return boxes.astype(np.float32)


def pool(rois, *maps):
    return roi_pool.pyramid_roi_pool(maps, rois, IMAGE_AREA, SIZE)


def naive_pool(rois, maps) -> tuple[np.ndarray, list]:
    """Values [2, R, *SIZE, C], and (image, roi, level, cells of the values)."""
    level = ops.convert_to_numpy(crops.pyramid_level(rois, IMAGE_AREA))
    values, cells = [], []
    for b in range(len(rois)):
        for r, (k, roi) in enumerate(zip(level[b], rois[b], strict=True)):
            found, of_values = naive.pool(maps[k][b], roi, SIZE, STRIDES[k])
            values.append(found)
            cells.append((b, r, k, of_values))
    return np.reshape(values, (*rois.shape[:2], *SIZE, -1)), cells


def test_like_the_loops():
    rois = np.concatenate([np.stack([AWKWARD] * 2), random_rois(0, 20)], axis=1)
    level = ops.convert_to_numpy(crops.pyramid_level(rois, IMAGE_AREA))
    assert set(level.ravel()) == {0, 1, 2, 3}
    maps = random_maps(1)
    expected, cells = naive_pool(rois, maps)
    assert any(len(found) == 0 for *_, found in cells)  # a RoI outside of the map
    for name, run in whole(pool):
        got = run(rois, *maps)
        np.testing.assert_array_equal(got, expected.astype(np.float32), err_msg=name)


def test_by_hand():
    """Stride 4, 8 x 8 cells: pixels 6 to 21 are cells 2 (1.5) to 5 (5.25)."""
    features = np.arange(64, dtype=np.float32).reshape(1, 8, 8, 1)
    roi = np.array([[[6 / 31, 6 / 31, 21 / 31, 21 / 31]]], np.float32)
    run = quick(lambda rois, maps: roi_pool.pyramid_roi_pool([maps], rois, 32.0**2, (2, 3)))
    got = run(roi, features)[0, 0, :, :, 0]
    # Rows 2 to 3 and 4 to 5; of four columns in three bins: 2 to 3, 3 to 4, 4 to 5.
    np.testing.assert_array_equal(got, [[27, 28, 29], [43, 44, 45]])


@pytest.mark.parametrize(
    ("start", "end", "cells"),
    [
        (0, 31, (0, 8)),  # 7.75 is nearest to a cell that is not on the map
        (1.9, 30, (0, 8)),
        (2, 29.9, (1, 7)),  # a half, away from zero
        (-2, 5, (-1, 1)),
        (-1.9, -1.9, (0, 0)),
    ],
)
def test_pixels_are_rounded_to_the_nearest_cell(start, end, cells):
    pixels = np.array([start, end], np.float32) / 31
    run = quick(
        lambda first, last: roi_pool.roi_cells(
            first, last, ops.full((1,), 8, "int32"), ops.full((1,), 4, "int32")
        )
    )
    assert tuple(int(found[0]) for found in run(pixels[:1], pixels[1:])) == cells


def test_the_gradient_goes_to_the_largest_value():
    maps, rois = random_maps(2), np.concatenate([random_rois(3, 12), np.stack([AWKWARD] * 2)], 1)
    factors = np.random.default_rng(4).normal(size=(2, 24, *SIZE, 3)).astype(np.float32)
    _, cells = naive_pool(rois, maps)
    for level in range(4):
        expected = np.zeros_like(maps[level])
        for b, r, k, of_values in cells:
            for (i, j, c), (y, x) in of_values.items():
                if k == level:
                    expected[b, y, x, c] += factors[b, r, i, j, c]

        def total(features, level=level):
            others = [ops.convert_to_tensor(other) for other in maps]
            others[level] = features
            return ops.sum(ops.multiply(factors, pool(ops.convert_to_tensor(rois), *others)))

        assert expected.any()
        slope = gradient(total, maps[level], jit=level < 2)
        np.testing.assert_allclose(slope, expected, atol=1e-5)


def test_of_equal_values_the_first_gets_the_gradient():
    features = np.ones((1, 8, 8, 1), np.float32)
    rois = ops.convert_to_tensor(np.array([[[0, 0, 27 / 31, 27 / 31]]], np.float32))  # 0 to 7
    slope = gradient(
        lambda maps: ops.sum(roi_pool.pyramid_roi_pool([maps], rois, 32.0**2, (2, 2))), features
    )
    expected = np.zeros((8, 8))
    expected[::4, ::4] = 1
    np.testing.assert_array_equal(slope[0, :, :, 0], expected)


def test_no_gradient_to_the_boxes():
    maps = [ops.convert_to_tensor(features) for features in random_maps(5)]
    assert not gradient(lambda rois: ops.sum(pool(rois, *maps)), random_rois(6, 3)).any()


@given(
    roi=st.tuples(*[st.integers(0, 56)] * 2, *[st.integers(1, 40)] * 2),
    shift=st.tuples(*[st.integers(0, 3)] * 2),
)
@settings(max_examples=25)
def test_only_whole_cells_count(roi, shift):
    """Moving a RoI within the cells that it is rounded to changes nothing: the misalignment."""
    y, x, height, width = roi
    # From the pixel that is rounded up to a cell on, and the three after it.
    y, x = 4 * (y // 4) + 2, 4 * (x // 4) + 2
    height, width = 4 * (height // 4 + 1), 4 * (width // 4 + 1)
    moved = np.array([y, x, y + height, x + width]) + [*shift, *shift]
    boxes = np.array([[[y, x, y + height, x + width], moved]], np.float32) / 127
    features = np.random.default_rng(y * 64 + x).normal(size=(1, 32, 32, 1)).astype(np.float32)
    # One level only, so that the size of the RoI decides nothing else.
    got = roi_pool.pyramid_roi_pool(
        [ops.convert_to_tensor(features)], ops.convert_to_tensor(boxes), 128.0**2, (2, 2)
    )
    first, second = ops.convert_to_numpy(got)[0]
    np.testing.assert_array_equal(first, second)


def test_a_low_precision_pyramid():
    maps, rois = random_maps(7), random_rois(8, 4)
    low = [ops.cast(features, "bfloat16") for features in maps]
    got = pool(ops.convert_to_tensor(rois), *low)
    assert keras.backend.standardize_dtype(got.dtype) == "float32"
    rounded = [ops.convert_to_numpy(ops.cast(features, "float32")) for features in low]
    np.testing.assert_array_equal(got, naive_pool(rois, rounded)[0].astype(np.float32))


def test_no_rois():
    got = pool(ops.zeros((2, 0, 4)), *random_maps(9))
    assert tuple(got.shape) == (2, 0, *SIZE, 3)


def test_more_values_than_can_be_counted_are_refused():
    maps = [keras.KerasTensor((100, 1024 // s, 1024 // s, 256)) for s in STRIDES]
    with pytest.raises(ValueError, match=r"at most 2147483647 values.*received 2228224000"):
        roi_pool.pyramid_roi_pool(maps, keras.KerasTensor((100, 5, 4)), 1024.0**2, SIZE)
