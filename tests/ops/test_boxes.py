"""The box format: area, IoU, encode, decode, clip, normalize."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from mrcnn.ops import boxes as box_ops
from tests.ops import naive
from tests.support import compiled, gradient

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=10, deadline=None)

SHAPE = (100, 60)
AWKWARD = np.array(
    [
        [0, 0, 0, 0],  # padding
        [0, 0, 1, 1],
        [0, 0, 1, 1],  # the same again
        [0.5, 0, 1, 1],  # inside
        [0, 0, 0.5, 1],  # touches it
        [0.2, 0.2, 0.2, 0.8],  # no height
        [0.2, 0.2, 0.8, 0.2],  # no width
        [0.8, 0.1, 0.3, 0.9],  # upside down
        [0.8, 0.9, 0.3, 0.1],  # both
        [-0.5, 0.9, 0.1, 1.7],  # partly outside
    ],
    np.float32,
)


@pytest.fixture(scope="module")
def vectors(fixtures):
    return np.load(fixtures / "loss_vectors.npz")


def random_boxes(seed: int, count: int = 10) -> np.ndarray:
    corners = np.random.default_rng(seed).uniform(-0.1, 1.1, (count, 2, 2))
    return np.sort(corners, axis=1).reshape(count, 4).astype(np.float32)


def both(seed: int) -> np.ndarray:
    """[2, 10, 4]: awkward boxes and random ones."""
    return np.stack([AWKWARD, random_boxes(seed)])


def everything(boxes1, boxes2, deltas, window):
    return {
        "area": box_ops.area(boxes1),
        "iou": box_ops.iou(boxes1, boxes2),
        "encode": box_ops.encode(boxes1, boxes2),
        "decode": box_ops.decode(boxes1, deltas),
        "clip": box_ops.clip(boxes1, window[:, None, :]),
        "normalize": box_ops.normalize(ops.round(boxes1 * 50), SHAPE),
        "denormalize": box_ops.denormalize(boxes1, SHAPE),
    }


EVERYTHING = compiled(everything)


def clipped(box, window) -> list[float]:
    return [
        max(min(float(side), float(window[2 + i % 2])), float(window[i % 2]))
        for i, side in enumerate(box)
    ]


def test_like_the_loops():
    boxes1, boxes2 = both(1), both(2)[:, ::-1].copy()
    deltas = np.random.default_rng(3).normal(0, 0.5, boxes1.shape).astype(np.float32)
    window = np.array([[0.1, 0, 0.9, 1], [0, 0.25, 1, 0.75]], np.float32)
    pixels = np.round(boxes1 * 50).astype(float)
    scale, shift = np.array([99, 59, 99, 59]), np.array([0, 0, 1, 1])
    expected = {
        "area": [[naive.area(box) for box in row] for row in boxes1],
        "iou": [naive.overlaps(a, b) for a, b in zip(boxes1, boxes2, strict=True)],
        "encode": [
            [naive.encode(*pair) for pair in zip(*rows, strict=True)]
            for rows in zip(boxes1, boxes2, strict=True)
        ],
        "decode": [
            [naive.decode(*pair) for pair in zip(*rows, strict=True)]
            for rows in zip(boxes1, deltas, strict=True)
        ],
        "clip": [
            [clipped(box, frame) for box in row] for row, frame in zip(boxes1, window, strict=True)
        ],
        "normalize": (pixels - shift) / scale,
        "denormalize": np.round(boxes1.astype(float) * scale + shift).astype(np.int32),
    }
    for name, run in EVERYTHING:
        got = run(boxes1, boxes2, deltas, window)
        for key, value in expected.items():
            np.testing.assert_allclose(
                got[key], value, rtol=1e-5, atol=1e-6, err_msg=f"{name} {key}"
            )
        assert got["denormalize"].dtype == np.int32, name


class TestIou:
    def test_by_hand(self):
        whole = [[0, 0, 1, 1]]
        others = [
            [0, 0, 1, 1],
            [0, 0, 0.5, 1],
            [0, 0, 0.5, 0.5],
            [1, 1, 2, 2],
            [0.5, 0.5, 1.5, 1.5],
        ]
        got = box_ops.iou(np.array(whole, np.float32), np.array(others, np.float32))
        np.testing.assert_allclose(got, [[1, 0.5, 0.25, 0, 1 / 7]], rtol=1e-6)

    @given(seed=seeds)
    @few
    def test_symmetric_and_between_0_and_1(self, seed):
        a, b = both(seed), both(seed + 1)
        there = ops.convert_to_numpy(box_ops.iou(a, b))
        back = ops.convert_to_numpy(box_ops.iou(b, a))
        np.testing.assert_allclose(there, np.swapaxes(back, 1, 2), atol=1e-6)
        assert (there >= 0).all() and (there <= 1).all()

    @given(seed=seeds)
    @few
    def test_a_box_covers_itself_unless_it_has_no_area(self, seed):
        boxes = both(seed)
        own = np.diagonal(ops.convert_to_numpy(box_ops.iou(boxes, boxes)), axis1=1, axis2=2)
        has_area = (boxes[..., 2] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 1])
        np.testing.assert_allclose(own, has_area, atol=1e-6)

    def test_no_boxes(self):
        none = np.zeros((0, 4), np.float32)
        assert tuple(box_ops.iou(none, AWKWARD).shape) == (0, 10)
        assert tuple(box_ops.iou(AWKWARD, none).shape) == (10, 0)


class TestDeltas:
    def test_by_hand(self):
        box, target = np.array([[0, 0, 2, 4]], np.float32), np.array([[2, 0, 4, 8]], np.float32)
        deltas = ops.convert_to_numpy(box_ops.encode(box, target))
        np.testing.assert_allclose(deltas, [[1, 0.5, 0, np.log(2)]], rtol=1e-6)

    @given(seed=seeds)
    @few
    def test_decode_undoes_encode(self, seed):
        boxes, targets = random_boxes(seed), random_boxes(seed + 1)
        sides = np.concatenate([boxes[:, 2:] - boxes[:, :2], targets[:, 2:] - targets[:, :2]], 1)
        large = (sides > 0.01).all(1)
        moved = ops.convert_to_numpy(box_ops.decode(boxes, box_ops.encode(boxes, targets)))
        np.testing.assert_allclose(moved[large], targets[large], atol=1e-5)

    @given(seed=seeds)
    @few
    def test_no_delta_moves_nothing(self, seed):
        boxes = both(seed)
        np.testing.assert_allclose(box_ops.decode(boxes, np.zeros_like(boxes)), boxes, atol=1e-6)
        np.testing.assert_allclose(box_ops.encode(boxes, boxes), 0, atol=1e-6)

    @pytest.mark.parametrize("delta", [1e3, -1e3, 1e6])
    def test_wild_deltas_give_finite_boxes(self, delta):
        deltas = np.full((2, 10, 4), delta, np.float32)
        window = np.array([[0, 0, 1, 1]] * 2, np.float32)
        for name, run in EVERYTHING:
            moved = run(both(4), both(5), deltas, window)["decode"]
            assert np.isfinite(moved).all(), name

    def test_gradient_to_the_deltas(self):
        boxes, factors = both(6), np.random.default_rng(7).normal(size=(2, 10, 4))
        deltas = np.random.default_rng(8).normal(0, 0.5, (2, 10, 4)).astype(np.float32)
        factors = factors.astype(np.float32)
        slope = gradient(
            lambda d: ops.sum(ops.multiply(factors, box_ops.decode(boxes, d))), deltas, jit=True
        )
        step = 1e-6
        for index in np.ndindex(2, 10):
            for i in range(4):
                above, below = deltas[index].astype(float), deltas[index].astype(float)
                above[i] += step
                below[i] -= step
                rise = np.subtract(
                    naive.decode(boxes[index], above), naive.decode(boxes[index], below)
                )
                expected = (factors[index] * rise).sum() / (2 * step)
                assert slope[(*index, i)] == pytest.approx(expected, abs=1e-4)

    @pytest.mark.parametrize("side", ["boxes", "targets"])
    def test_the_gradient_of_encode_is_finite_for_padding(self, side):
        fixed = np.ascontiguousarray(both(9)[:, ::-1])

        def total(moving):
            pair = (moving, fixed) if side == "boxes" else (fixed, moving)
            return ops.sum(ops.square(box_ops.encode(*pair)))

        slope = gradient(total, both(10))
        assert np.isfinite(slope).all()
        assert slope.any()
        assert not slope[0, [0, 5, 6, 7, 8]].any()  # no area, no slope

    def test_the_gradient_of_decode_is_finite_for_padding(self):
        deltas = np.full((2, 10, 4), 1e3, np.float32)
        slope = gradient(lambda d: ops.sum(box_ops.decode(both(11), d)), deltas)
        assert np.isfinite(slope).all()


class TestClip:
    @given(seed=seeds)
    @few
    def test_inside_the_window_and_idempotent(self, seed):
        window = np.array([0.1, 0.2, 0.7, 0.9], np.float32)
        once = ops.convert_to_numpy(box_ops.clip(both(seed), window))
        assert (once >= window[[0, 1, 0, 1]]).all() and (once <= window[[2, 3, 2, 3]]).all()
        np.testing.assert_array_equal(box_ops.clip(once, window), once)


class TestNormalize:
    def test_the_whole_image_is_the_unit_square(self):
        whole = np.array([0, 0, 100, 60], np.int32)
        np.testing.assert_array_equal(box_ops.normalize(whole, SHAPE), [0, 0, 1, 1])

    @given(seed=seeds, height=st.integers(2, 2000), width=st.integers(2, 2000))
    @few
    def test_denormalize_undoes_normalize(self, seed, height, width):
        pixels = np.random.default_rng(seed).integers(-50, 2050, (20, 4)).astype(np.int32)
        back = box_ops.denormalize(box_ops.normalize(pixels, (height, width)), (height, width))
        np.testing.assert_array_equal(back, pixels)

    def test_rounds_half_to_even(self):
        boxes = np.array([0.5, 1.5, 0.5, 1.5], np.float32)
        np.testing.assert_array_equal(box_ops.denormalize(boxes, (2, 2)), [0, 2, 2, 2])


class TestParity:
    def test_deltas_and_overlaps(self, vectors):
        boxes = vectors["g_boxes"]
        moved = ops.convert_to_numpy(box_ops.decode(boxes, vectors["g_deltas"]))
        np.testing.assert_allclose(moved, vectors["g_apply"], atol=1e-6)
        clipped_boxes = box_ops.clip(moved, vectors["g_window"])
        np.testing.assert_allclose(clipped_boxes, vectors["g_clip"], atol=1e-6)
        targets = vectors["g_boxes2"]
        np.testing.assert_allclose(box_ops.iou(boxes, targets), vectors["g_overlaps"], atol=1e-6)
        np.testing.assert_allclose(
            box_ops.encode(boxes[: len(targets)], targets), vectors["g_refine"], rtol=1e-5
        )

    def test_units(self, vectors):
        shape = (128, 192)
        normal = ops.convert_to_numpy(box_ops.normalize(vectors["g_px"], shape))
        np.testing.assert_allclose(normal, vectors["g_norm"], atol=1e-7)
        np.testing.assert_array_equal(box_ops.denormalize(normal, shape), vectors["g_denorm"])


class TestAsTorchvision:
    """Boxes in pixels, whose growth by a delta ends early."""

    GROWTH = float(np.log(1000 / 16))

    @given(seed=seeds)
    @few
    def test_edges_are_the_inverse_of_normalize(self, seed: int):
        pixels = np.random.default_rng(seed).uniform(-20, 120, (5, 4)).astype(np.float32)
        there = box_ops.to_edges(box_ops.normalize(pixels, SHAPE), SHAPE)
        np.testing.assert_allclose(ops.convert_to_numpy(there), pixels, atol=1e-4)

    def test_growth_ends_where_it_is_told(self):
        box = np.array([10.0, 10.0, 12.0, 14.0], np.float32)
        found = box_ops.decode(box, np.array([0, 0, 50, 50], np.float32), np.log(3.0))
        np.testing.assert_allclose(ops.convert_to_numpy(found), [8, 6, 14, 18], rtol=1e-5)

    @given(seed=seeds)
    @few
    def test_the_box_coder(self, seed: int):
        torch = pytest.importorskip("torch", reason="the oracle: pip install '.[bench]'")
        coder = pytest.importorskip("torchvision.models.detection._utils")
        rng, flip = np.random.default_rng(seed), [1, 0, 3, 2]
        boxes = np.sort(rng.uniform(0, 200, (2, 6, 2, 2)), axis=2).reshape(2, 6, 4)
        boxes, targets = boxes.astype(np.float32)
        weights = np.array([10, 10, 5, 5], np.float32)
        theirs = coder.BoxCoder((10.0, 10.0, 5.0, 5.0))
        deltas = theirs.encode_single(
            torch.from_numpy(targets[:, flip].copy()), torch.from_numpy(boxes[:, flip].copy())
        ).numpy()
        own = ops.convert_to_numpy(box_ops.encode(boxes, targets)) * weights
        np.testing.assert_allclose(own[:, flip], deltas, rtol=1e-3, atol=1e-3)
        deltas[0] = [1, -1, 40, 3]
        expected = theirs.decode_single(
            torch.from_numpy(deltas), torch.from_numpy(boxes[:, flip].copy())
        ).numpy()
        found = box_ops.decode(boxes, deltas[:, flip] / weights, self.GROWTH)
        np.testing.assert_allclose(
            ops.convert_to_numpy(found)[:, flip], expected, rtol=1e-5, atol=1e-3
        )
