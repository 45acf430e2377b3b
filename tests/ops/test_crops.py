"""Bilinear crops and RoIAlign over the pyramid."""

from __future__ import annotations

import math
import time

import keras
import numpy as np
import pytest
from keras import ops

from mrcnn.ops import crops
from tests.ops import naive
from tests.ops.variants import quick, whole
from tests.support import compiled, gradient

on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the kernels are TensorFlow's"
)
either = pytest.mark.parametrize("use_tf_kernels", [False, pytest.param(True, marks=on_tensorflow)])
SIZE = (3, 4)
IMAGE_AREA = 256.0**2

AWKWARD = np.array(
    [
        [0, 0, 0, 0],  # padding
        [0, 0, 1, 1],
        [0.1, 0.2, 0.9, 0.7],
        [0.8, 0.7, 0.1, 0.2],  # upside down: the crop is, too
        [-0.2, -0.2, 0.5, 0.5],
        [0.5, 0.5, 1.5, 1.5],
        [1.5, 1.5, 2, 2],  # outside
        [0.3, 0.3, 0.3, 0.3],
        [0.3, 0.1, 0.3, 0.9],
        [1, 1, 1, 1],
        [-1e6, -1e6, 1e6, 1e6],
        [1 / 3, 0.123, 1, 1],
    ],
    np.float32,
)


@pytest.fixture(scope="module")
def vectors(fixtures):
    return np.load(fixtures / "loss_vectors.npz")


def random_boxes(seed: int, count: int) -> np.ndarray:
    """Boxes within the image, every other one ending at exactly 1."""
    rng = np.random.default_rng(seed)
    boxes = np.sort(rng.uniform(0, 1, (count, 2, 2)), axis=1).reshape(count, 4)
    boxes[::2, 2:] = 1
    return boxes.astype(np.float32)


def random_maps(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Maps without a zero, so that a zero in a crop is a sample outside."""
    return np.random.default_rng(seed).uniform(1, 2, shape).astype(np.float32)


def test_sample_positions_are_those_of_float32():
    # One ulp decides whether the last sample of a box that ends at 1 lies inside. A
    # compiler rounds otherwise when it knows the map's side, so try that, too.
    samples = (1, 2, 7, 14, 28)
    boxes = random_boxes(0, 4000)
    given = np.random.default_rng(1).choice([1, 2, 3, 8, 25, 32, 56, 100, 256], 4000)

    def taps(start, end, side):
        known = ops.full((4000,), 56, dtype="int32")
        return [crops._taps(start, end, s, n) for s in (side, known) for n in samples]

    outside = 0
    for name, run in compiled(taps):
        got = iter(run(boxes[:, 0], boxes[:, 2], given.astype(np.int32)))
        start, end = boxes[:, :1], boxes[:, 2:3]
        for side in (given[:, None], np.array([[56]])):
            last = (side - 1).astype(np.float32)
            for number in samples:
                if number == 1:
                    position = np.float32(0.5) * (start + end) * last
                else:
                    step = (end - start) * last / np.float32(number - 1)
                    position = start * last + np.arange(number, dtype=np.float32) * step
                assert position.dtype == np.float32
                inside = (position >= 0) & (position <= last)
                position = np.where(inside, position, np.float32(0))
                low, high = np.floor(position), np.ceil(position)
                expected = (low, high, position - low, inside)
                for part, value in zip(next(got), expected, strict=True):
                    np.testing.assert_array_equal(part, value, err_msg=f"{name} {number}")
                outside += (~inside).sum()
    assert outside > 0  # else this proves nothing


class TestCropAndResize:
    MAPS = random_maps(2, (3, 5, 6, 2))
    BOXES = np.concatenate([AWKWARD, random_boxes(3, 20)])
    INDEX = np.random.default_rng(4).integers(0, 3, len(BOXES)).astype(np.int32)

    @pytest.mark.parametrize("size", [SIZE, (1, 2)])
    def test_like_the_loops(self, size):
        expected = [
            naive.crop(self.MAPS[i], box, size)
            for i, box in zip(self.INDEX, self.BOXES, strict=True)
        ]
        for name, run in compiled(lambda *args: crops.crop_and_resize(*args, size)):
            got = run(self.MAPS, self.BOXES, self.INDEX)
            np.testing.assert_allclose(got, expected, atol=2e-6, err_msg=name)

    def test_a_map_of_one_pixel(self):
        maps = np.full((1, 1, 1, 1), 7, np.float32)
        run = quick(lambda *args: crops.crop_and_resize(*args, (2, 2)))
        got = run(maps, AWKWARD, np.zeros(len(AWKWARD), np.int32))
        expected = [naive.crop(maps[0], box, (2, 2)) for box in AWKWARD]
        np.testing.assert_array_equal(got, expected)

    @either
    def test_no_boxes(self, use_tf_kernels):
        none = np.zeros((0, 4), np.float32)
        got = crops.crop_and_resize(
            self.MAPS, none, np.zeros(0, np.int32), SIZE, use_tf_kernels=use_tf_kernels
        )
        assert tuple(got.shape) == (0, *SIZE, 2)

    @either
    def test_maps_of_any_number_type(self, use_tf_kernels):
        masks = self.MAPS > 1.5
        expected = crops.crop_and_resize(masks.astype(np.float32), self.BOXES, self.INDEX, SIZE)
        for kind in (bool, np.uint8):
            got = crops.crop_and_resize(
                ops.convert_to_tensor(masks.astype(kind)),
                ops.convert_to_tensor(self.BOXES),
                ops.convert_to_tensor(self.INDEX),
                SIZE,
                use_tf_kernels=use_tf_kernels,
            )
            np.testing.assert_allclose(got, expected, atol=1e-6)

    @either
    def test_gradient_like_finite_differences(self, use_tf_kernels):
        maps, boxes, index = self.MAPS[:2, :3, :4, :1], self.BOXES[:18], self.INDEX[:18] % 2
        factors = np.random.default_rng(5).normal(size=(18, *SIZE, 1)).astype(np.float32)

        def total(m):
            crop = crops.crop_and_resize(
                m,
                ops.convert_to_tensor(boxes),
                ops.convert_to_tensor(index),
                SIZE,
                use_tf_kernels=use_tf_kernels,
            )
            return ops.sum(ops.multiply(factors, crop))

        slope = gradient(total, maps, jit=not use_tf_kernels)
        for place in np.ndindex(maps.shape):  # linear: one step of 1 is exact
            unit = np.zeros(maps.shape)
            unit[place] = 1
            rise = [naive.crop(unit[i], box, SIZE) for i, box in zip(index, boxes, strict=True)]
            assert slope[place] == pytest.approx((factors * rise).sum(), abs=2e-5)

    @either
    def test_no_gradient_to_the_boxes(self, use_tf_kernels):
        boxes = random_boxes(6, 5)
        index = ops.zeros(5, "int32")
        maps = ops.convert_to_tensor(self.MAPS)
        slope = gradient(
            lambda b: ops.sum(
                crops.crop_and_resize(maps, b, index, SIZE, use_tf_kernels=use_tf_kernels)
            ),
            boxes,
            jit=not use_tf_kernels,
        )
        assert not slope.any()

    @on_tensorflow
    @pytest.mark.parametrize("size", [(1, 1), (7, 7), (14, 28)])
    @pytest.mark.parametrize("shape", [(5, 6), (33, 20), (1, 9)])
    def test_the_twins_agree(self, size, shape):
        maps = random_maps(7, (2, *shape, 1))
        boxes = np.concatenate([AWKWARD, random_boxes(8, 600)])
        index = np.random.default_rng(9).integers(0, 2, len(boxes)).astype(np.int32)
        tensors = [ops.convert_to_tensor(array) for array in (maps, boxes, index)]
        pure = ops.convert_to_numpy(crops.crop_and_resize(*tensors, size))
        by_kernel = ops.convert_to_numpy(crops.crop_and_resize(*tensors, size, use_tf_kernels=True))
        np.testing.assert_array_equal(pure == 0, by_kernel == 0)  # the same samples are outside
        np.testing.assert_allclose(pure, by_kernel, atol=1e-6)


class TestPyramidLevel:
    def naive(self, box, levels):
        height, width = float(box[2]) - float(box[0]), float(box[3]) - float(box[1])
        if height * width <= 0:
            return 0
        canonical = 224 / math.sqrt(IMAGE_AREA)
        level = 4 + round(math.log2(math.sqrt(height * width) / canonical))
        return min(max(level, 2), levels + 1) - 2

    def test_like_the_loops(self):
        rng = np.random.default_rng(10)
        sides = 2.0 ** rng.uniform(-9, 3, (300, 2))
        boxes = np.concatenate([np.zeros((300, 2)), sides], axis=1).astype(np.float32)
        boxes = np.concatenate([AWKWARD, boxes])
        for levels in (1, 4):
            expected = [self.naive(box, levels) for box in boxes]
            assert len(set(expected)) == levels
            for name, run in compiled(lambda b, n=levels: crops.pyramid_level(b, IMAGE_AREA, n)):
                got = run(boxes)
                np.testing.assert_array_equal(got, expected, err_msg=name)
                assert got.dtype == np.int32

    @pytest.mark.parametrize("side, level", [(28, 0), (112, 1), (224, 2), (448, 3), (1024, 3)])
    def test_by_hand(self, side, level):
        box = np.array([0, 0, side / 1024, side / 1024], np.float32)
        assert int(crops.pyramid_level(box, 1024.0**2)) == level


class TestPyramidRoiAlign:
    MAPS = [random_maps(20 + i, (2, 16 >> i, 8 >> i or 1, 2)) for i in range(4)]
    # Without the boxes whose level depends on the rounding of a logarithm.
    ROIS = np.stack([AWKWARD, random_boxes(11, len(AWKWARD))])

    @staticmethod
    def rois(seed: int, count: int) -> np.ndarray:
        """[2, count, 4] of all levels."""
        rng = np.random.default_rng(seed)
        sides = 2.0 ** rng.uniform(-5, 0, (2, count, 1)) * rng.uniform(0.7, 1, (2, count, 2))
        corner = rng.uniform(0, 1 - sides)
        boxes = np.concatenate([corner, corner + sides], axis=-1)
        boxes[:, ::3, 2:] = 1
        return boxes.astype(np.float32)

    def test_like_the_loops(self):
        rois = np.concatenate([self.ROIS, self.rois(12, 12)], axis=1)
        level = ops.convert_to_numpy(crops.pyramid_level(rois, IMAGE_AREA))
        assert set(level.ravel()) == {0, 1, 2, 3}
        expected = [
            [
                naive.crop(self.MAPS[k][b], roi, SIZE)
                for k, roi in zip(level[b], rois[b], strict=True)
            ]
            for b in range(2)
        ]

        def align(rois, *maps):
            return crops.pyramid_roi_align(maps, rois, IMAGE_AREA, SIZE)

        for name, run in whole(align):
            np.testing.assert_allclose(run(rois, *self.MAPS), expected, atol=2e-6, err_msg=name)

    @on_tensorflow
    def test_the_twins_agree(self):
        import tensorflow as tf

        def by_kernel(rois, *maps):
            return crops.pyramid_roi_align(maps, rois, IMAGE_AREA, (7, 7), use_tf_kernels=True)

        maps = [tf.constant(features) for features in self.MAPS]
        rois = np.concatenate([self.ROIS, self.rois(13, 200)], axis=1)
        pure = crops.pyramid_roi_align(maps, rois, IMAGE_AREA, (7, 7)).numpy()
        for run in (by_kernel, tf.function(by_kernel, jit_compile=False)):
            got = run(tf.constant(rois), *maps).numpy()
            np.testing.assert_array_equal(pure == 0, got == 0)
            np.testing.assert_allclose(pure, got, atol=1e-6)

    @on_tensorflow
    def test_the_gradients_of_the_twins_agree(self):
        rois = ops.convert_to_tensor(self.rois(14, 20))
        rest = [ops.convert_to_tensor(features) for features in self.MAPS[1:]]
        slopes = [
            gradient(
                lambda m, kernel=use_tf_kernels: ops.sum(
                    ops.square(
                        crops.pyramid_roi_align(
                            [m, *rest], rois, IMAGE_AREA, SIZE, use_tf_kernels=kernel
                        )
                    )
                ),
                self.MAPS[0],
            )
            for use_tf_kernels in (False, True)
        ]
        assert slopes[0].any()
        np.testing.assert_allclose(*slopes, atol=1e-5)

    def test_every_level_gets_its_gradient(self):
        rois = self.rois(15, 20)
        level = ops.convert_to_numpy(crops.pyramid_level(rois, IMAGE_AREA))

        def total(scales):
            maps = [ops.multiply(scales[k], features) for k, features in enumerate(self.MAPS)]
            return ops.sum(crops.pyramid_roi_align(maps, rois, IMAGE_AREA, SIZE))

        expected = [0.0] * 4
        for b, k in np.ndindex(2, 4):
            for roi in rois[b, level[b] == k]:
                expected[k] += naive.crop(self.MAPS[k][b], roi, SIZE).sum()
        slope = gradient(total, np.ones(4), jit=True)
        np.testing.assert_allclose(slope, expected, rtol=1e-5)

    def test_a_low_precision_pyramid(self):
        def both(rois, *maps):
            low = [ops.cast(features, "bfloat16") for features in maps]
            return [crops.pyramid_roi_align(m, rois, IMAGE_AREA, SIZE) for m in (low, maps)]

        got, expected = quick(both)(self.rois(16, 4), *self.MAPS)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, expected, atol=1e-2)


@on_tensorflow
def test_gradients_are_summed_in_the_order_of_the_graph_not_of_the_threads():
    """Whichever level waits longest for the gradient of its other user, nothing changes."""
    import tensorflow as tf

    random = np.random.default_rng(0)
    maps = [tf.constant(random.normal(size=(2, n, n, 16)), tf.float32) for n in (16, 8, 4, 2)]
    rois = random_boxes(17, 80).reshape(2, 40, 4)

    def wait(upstream: np.ndarray, level: int, last: int) -> np.ndarray:
        time.sleep(0.3 * (level == last))
        return upstream

    @tf.function
    def slopes(maps: list, last: tf.Tensor) -> list:
        @tf.custom_gradient
        def other_user(features, level):
            def slope(upstream):
                upstream = tf.numpy_function(
                    wait, [upstream, level, last], tf.float32, stateful=False
                )
                return tf.ensure_shape(upstream, ()) * 2.0 * features, None

            return tf.reduce_sum(tf.square(features)), slope

        with tf.GradientTape() as tape:
            tape.watch(maps)
            total = sum(other_user(features, level) for level, features in enumerate(maps))
            for size in (SIZE, (5, 5)):
                crop = crops.pyramid_roi_align(maps, rois, IMAGE_AREA, size, use_tf_kernels=True)
                total += tf.reduce_sum(tf.square(crop))
        return tape.gradient(total, maps)

    first = [slope.numpy() for slope in slopes(maps, tf.constant(0))]
    for last in (1, 2, 3):
        for slope, expected in zip(slopes(maps, tf.constant(last)), first, strict=True):
            assert np.array_equal(slope, expected)


@either
class TestParity:
    @pytest.mark.parametrize("size", [(1, 1), (3, 5), (7, 7), (28, 28)])
    def test_crop_and_resize(self, vectors, size, use_tf_kernels):
        run = quick(lambda *args: crops.crop_and_resize(*args, size, use_tf_kernels=use_tf_kernels))
        boxes = vectors["car_boxes"]
        got = run(vectors["car_img"], boxes, np.zeros(len(boxes), np.int32))
        np.testing.assert_allclose(got, vectors[f"car_{size[0]}x{size[1]}"], atol=1e-5)

    @pytest.mark.parametrize(
        "key, side, area", [("out7", 7, 128), ("out14", 14, 128), ("out7_1024", 7, 1024)]
    )
    def test_roi_align(self, vectors, key, side, area, use_tf_kernels):
        def align(rois, *maps):
            size = (side, side)
            return crops.pyramid_roi_align(
                maps, rois, float(area**2), size, use_tf_kernels=use_tf_kernels
            )

        maps = [vectors[f"roi_P{level}"] for level in range(2, 6)]
        got = quick(align)(vectors["roi_boxes"], *maps)
        np.testing.assert_allclose(got, vectors[f"roi_{key}"], atol=1e-5)
