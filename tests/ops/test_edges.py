"""Edge filters, smoothing, and the edge agreement loss.

`naive_maps` and `naive_loss` are the twins: explicit loops, float64.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from mrcnn.ops import edge_filters, edges
from mrcnn.ops.edge_settings import EdgeSettings
from tests.support import compiled, gradient

PAIRS = ("sobel", "prewitt", "roberts")
seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=8, deadline=None)


def random_masks(seed: int, shape=(2, 7, 6)) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32)


def random_targets(seed: int, shape=(2, 7, 6)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, shape).astype(np.float32)


def correlate(mask: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """One mask, one kernel of any size; SAME padding puts the odd zero last."""
    height, width = mask.shape
    rows, columns = kernel.shape
    result = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            for i in range(rows):
                for j in range(columns):
                    v, u = y + i - (rows - 1) // 2, x + j - (columns - 1) // 2
                    if 0 <= v < height and 0 <= u < width:
                        result[y, x] += kernel[i, j] * mask[v, u]
    return result


def naive_maps(masks, names, magnitude=False) -> np.ndarray:
    channels = [
        [correlate(np.asarray(mask, float), np.array(edge_filters.FILTERS[name])) for mask in masks]
        for name in names
    ]
    if magnitude:
        gx, gy = np.array(channels[0]), np.array(channels[1])
        length = np.sqrt(gx**2 + gy**2 + edges.MAGNITUDE_EPSILON)
        channels = [length] if magnitude == "only" else [*channels, length]
    return np.moveaxis(np.array(channels), 0, -1)


def naive_loss(
    predicted,
    target,
    filters=("sobel-x", "sobel-y"),
    norm=2.0,
    weight_factor=1.0,
    smoothing_gt=False,
    smoothing_predictions=False,
    weight_entropy=False,
    entropy_divisor=16.0,
    magnitude=False,
) -> float:
    predicted, target = np.asarray(predicted, float), np.asarray(target, float)
    kernel = edges.gaussian_kernel().astype(float)
    if smoothing_predictions:
        predicted = np.array([correlate(mask, kernel) for mask in predicted])
    if smoothing_gt:
        target = np.array([correlate(mask, kernel) for mask in target])
    maps = naive_maps(predicted, filters, magnitude)
    difference = maps - naive_maps(target, filters, magnitude)
    error = weight_factor * (np.abs(difference) ** norm).mean(-1)
    if weight_entropy:
        p = np.clip(predicted, 1e-7, 1 - 1e-7)
        entropy = -(target * np.log(p + 1e-7) + (1 - target) * np.log(1 - p + 1e-7))
        if weight_entropy == "product":
            error = entropy * error
        else:
            error = entropy * np.exp(np.minimum(error / entropy_divisor, edges.EXPONENT_LIMIT))
    return float(error.mean())


def loss(predicted, target, valid=None, **options):
    valid = ops.ones(predicted.shape[0], "bool") if valid is None else ops.convert_to_tensor(valid)
    target = ops.convert_to_tensor(target)
    return edges.edge_agreement(predicted, target, valid, EdgeSettings(**options))


class TestNames:
    @pytest.mark.parametrize("name", edge_filters.FILTERS)
    def test_a_filter_is_itself(self, name):
        assert edge_filters.resolve_filters(name) == (name,)

    def test_shorthands(self):
        assert edge_filters.resolve_filters("sobel") == ("sobel-x", "sobel-y")
        assert edge_filters.resolve_filters("sobel+laplace") == ("sobel-x", "sobel-y", "laplace")
        assert edge_filters.resolve_filters(["laplace-4", "kayyali", "roberts-y"]) == (
            "laplace-4",
            "kayyali-senw",
            "kayyali-nesw",
            "roberts-y",
        )

    @pytest.mark.parametrize("names", ["scharr", ["sobel", "Sobel-x"], [3], [None]])
    def test_an_unknown_name_lists_all_valid_ones(self, names):
        with pytest.raises(ValueError, match="unknown") as error:
            edge_filters.resolve_filters(names)
        for name in (*edge_filters.FILTERS, *edge_filters.SHORTHANDS):
            assert name in str(error.value)

    @pytest.mark.parametrize("names", [["laplace", "laplace"], ["sobel", "sobel-x"]])
    def test_a_filter_twice_is_refused(self, names):
        with pytest.raises(ValueError, match="more than once"):
            edge_filters.resolve_filters(names)

    @pytest.mark.parametrize("names", [(), []])
    def test_no_filter_is_refused(self, names):
        with pytest.raises(ValueError, match="at least one"):
            edge_filters.resolve_filters(names)

    def test_norms(self):
        assert [edge_filters.parse_norm(f"l{p}") for p in range(1, 6)] == [1.0, 2.0, 3.0, 4.0, 5.0]
        assert edge_filters.parse_norm(2) == edge_filters.parse_norm("2") == 2.0
        assert edge_filters.parse_norm("2.5") == 2.5
        assert edge_filters.parse_norm(np.float32(2.5)) == 2.5

    @pytest.mark.parametrize(
        "norm", ["l6", "L2", "0", "", 0.5, -1, True, None, np.nan, np.inf, 1e3]
    )
    def test_another_norm_is_refused(self, norm):
        with pytest.raises(ValueError, match="l1, l2, l3, l4, l5.*number") as error:
            edge_filters.parse_norm(norm)
        assert repr(norm) in str(error.value)

    def test_entropy_weighting(self):
        assert edge_filters.parse_weight_entropy(False) is None
        assert (
            edge_filters.parse_weight_entropy(True)
            == edge_filters.parse_weight_entropy("exp")
            == "exp"
        )
        assert edge_filters.parse_weight_entropy("product") == "product"
        with pytest.raises(ValueError, match="'sum'"):
            edge_filters.parse_weight_entropy("sum")

    @pytest.mark.parametrize("names", [["laplace"], ["kayyali"], ["sobel-x", "prewitt-y"]])
    def test_a_magnitude_needs_a_pair(self, names):
        with pytest.raises(ValueError, match="sobel, prewitt or roberts"):
            edges.edge_maps(random_masks(0), names, magnitude=True)


class TestKernels:
    def test_shape_and_order(self):
        kernel = edges.edge_kernel(["laplace", "sobel"])
        assert kernel.shape == (3, 3, 1, 3)
        assert kernel.dtype == np.float32
        np.testing.assert_array_equal(kernel[:, :, 0, 0], edge_filters.LAPLACE)
        np.testing.assert_array_equal(kernel[:, :, 0, 1], edge_filters.SOBEL_X)
        np.testing.assert_array_equal(kernel[:, :, 0, 2], edge_filters.SOBEL_Y)

    @pytest.mark.parametrize("name", edge_filters.FILTERS)
    def test_a_flat_mask_has_no_edge(self, name):
        assert np.sum(edge_filters.FILTERS[name]) == 0

    @pytest.mark.parametrize("name", PAIRS[:2])
    def test_x_and_y_are_transposes(self, name):
        x, y = edge_filters.SHORTHANDS[name]
        np.testing.assert_array_equal(
            np.transpose(edge_filters.FILTERS[x]), edge_filters.FILTERS[y]
        )

    def test_gaussian(self):
        kernel = edges.gaussian_kernel()
        expected = [[0.0778, 0.1233, 0.0778], [0.1233, 0.1953, 0.1233], [0.0778, 0.1233, 0.0778]]
        np.testing.assert_allclose(kernel, expected, atol=5e-5)
        assert kernel.sum(dtype=float) == pytest.approx(1, abs=1e-3)
        x = np.arange(-1, 2)
        bell = np.exp(-(x[:, None] ** 2 + x**2) / (2 * 1.042557**2))
        np.testing.assert_allclose(kernel, bell * kernel[1, 1], rtol=5e-6)


class TestEdgeMaps:
    @pytest.mark.parametrize("names", [*edge_filters.FILTERS, *edge_filters.SHORTHANDS])
    def test_like_the_loops(self, names):
        masks = random_masks(1)
        maps = ops.convert_to_numpy(edges.edge_maps(masks, names))
        expected = naive_maps(masks, edge_filters.resolve_filters(names))
        assert maps.shape == expected.shape
        np.testing.assert_allclose(maps, expected, atol=1e-5)

    @pytest.mark.parametrize(
        "name, small", [("roberts-x", [[1, 0], [0, -1]]), ("roberts-y", [[0, -1], [1, 0]])]
    )
    def test_roberts_is_its_2x2_kernel(self, name, small):
        masks = random_masks(2)
        maps = ops.convert_to_numpy(edges.edge_maps(masks, name))[..., 0]
        expected = [correlate(mask, np.array(small)) for mask in masks]
        np.testing.assert_allclose(maps, expected, atol=1e-6)

    def test_responses_by_hand(self):
        step = np.zeros((1, 5, 5), np.float32)
        step[:, :, 3:] = 1  # rises along x between columns 2 and 3
        names = ["sobel-x", "sobel-y", "prewitt-x", "laplace", "laplace-4"]
        at_the_step = ops.convert_to_numpy(edges.edge_maps(step, names))[0, 2, 2]
        np.testing.assert_allclose(at_the_step, [-4, 0, -3, 3, 1], atol=1e-6)

    def test_filters_together_are_the_filters_apart(self):
        masks = random_masks(3)
        together = edges.edge_maps(masks, ["roberts", "sobel", "laplace"])
        apart = [edges.edge_maps(masks, name) for name in ("roberts", "sobel", "laplace")]
        np.testing.assert_allclose(together, ops.concatenate(apart, axis=-1), atol=1e-5)

    @pytest.mark.parametrize("name", PAIRS)
    def test_magnitude(self, name):
        masks = random_masks(4)
        maps = ops.convert_to_numpy(edges.edge_maps(masks, name, magnitude=True))
        expected = naive_maps(masks, edge_filters.SHORTHANDS[name], magnitude=True)
        np.testing.assert_allclose(maps, expected, atol=1e-5)

    @pytest.mark.parametrize("name", PAIRS)
    def test_a_magnitude_alone(self, name):
        masks = random_masks(4)
        maps = ops.convert_to_numpy(edges.edge_maps(masks, name, magnitude="only"))
        expected = naive_maps(masks, edge_filters.SHORTHANDS[name], magnitude="only")
        assert maps.shape[-1] == 1
        np.testing.assert_allclose(maps, expected, atol=1e-5)
        with pytest.raises(ValueError, match="'only'; received 'alone'"):
            edges.edge_maps(masks, name, magnitude="alone")

    def test_a_magnitude_for_each_pair(self):
        masks = random_masks(4)
        names = ["sobel-y", "laplace", "roberts", "sobel-x"]
        maps = ops.convert_to_numpy(edges.edge_maps(masks, names, magnitude=True))
        assert maps.shape[-1] == 5 + 2
        np.testing.assert_allclose(maps[..., 5], np.hypot(maps[..., 0], maps[..., 4]), atol=1e-3)
        np.testing.assert_allclose(maps[..., 6], np.hypot(maps[..., 2], maps[..., 3]), atol=1e-3)

    @pytest.mark.parametrize("jit", [False, True])
    def test_the_magnitude_of_flat_masks_has_a_gradient(self, jit):
        flat = np.ones((1, 5, 5), np.float32)
        slope = gradient(lambda m: ops.sum(edges.edge_maps(m, "sobel", True)[..., 2]), flat, jit)
        assert np.isfinite(slope).all()

    @given(seed=seeds, dy=st.integers(0, 2), dx=st.integers(0, 2))
    @few
    def test_a_shifted_mask_has_shifted_edges(self, seed, dy, dx):
        masks = random_masks(seed, (2, 9, 9))
        names = list(edge_filters.FILTERS)
        maps = ops.convert_to_numpy(edges.edge_maps(masks, names))
        shifted = np.roll(masks, (dy, dx), axis=(1, 2))
        moved = ops.convert_to_numpy(edges.edge_maps(shifted, names))
        inside = slice(3, 8)
        back = slice(3 - dy, 8 - dy), slice(3 - dx, 8 - dx)
        np.testing.assert_allclose(moved[:, inside, inside], maps[:, *back], atol=2e-5)

    @given(level=st.floats(0, 1, width=32))
    @few
    def test_a_constant_mask_has_no_edge_inside(self, level):
        masks = np.full((2, 6, 7), level, np.float32)
        maps = ops.convert_to_numpy(edges.edge_maps(masks, list(edge_filters.FILTERS)))
        np.testing.assert_allclose(maps[:, 1:-1, 1:-1], 0, atol=1e-5)

    def test_a_mask_does_not_reach_into_another(self):
        masks = random_masks(5, (3, 7, 6))
        alone = edges.edge_maps(masks[1:2], "laplace")
        np.testing.assert_allclose(edges.edge_maps(masks, "laplace")[1], alone[0], atol=1e-6)

    def test_smooth_like_the_loops(self):
        masks = random_masks(6)
        kernel = edges.gaussian_kernel()
        expected = [correlate(mask, kernel) for mask in masks]
        np.testing.assert_allclose(edges.smooth(masks), expected, atol=1e-6)

    def test_one_pixel_and_no_roi(self):
        one = ops.convert_to_numpy(edges.edge_maps(np.ones((1, 1, 1), np.float32), "laplace"))
        assert one.ravel().tolist() == [-8]
        none = edges.edge_maps(np.zeros((0, 28, 28), np.float32), "sobel")
        assert tuple(none.shape) == (0, 28, 28, 2)


class TestDistance:
    @pytest.mark.parametrize("p", [1, 1.5, 2, 2.5, 3, 4, 5, 10])
    def test_value(self, p):
        a, b = random_masks(7), random_masks(8)
        expected = np.abs(a.astype(float) - b) ** p
        np.testing.assert_allclose(edges.lp_distance(a, b, p), expected, rtol=1e-4, atol=1e-7)

    def test_the_square_is_exact(self):
        a, b = random_masks(7), random_masks(8)
        np.testing.assert_array_equal(edges.lp_distance(a, b, 2.0), np.square(a - b))

    @pytest.mark.parametrize("p", [1, 1.0625, 1.5, 2, 3, 4, 5])
    @pytest.mark.parametrize("jit", [False, True])
    def test_the_slope_is_finite_and_zero_where_they_agree(self, p, jit):
        a = np.array([0, 1, 0.5, 1, -2], np.float32)
        b = np.array([0, 1, 0.5, 0.75, 2], np.float32)
        slope = gradient(lambda x: ops.sum(edges.lp_distance(x, b, p)), a, jit)
        expected = p * np.abs(a - b) ** (p - 1) * np.sign(a - b)
        np.testing.assert_allclose(slope, expected, rtol=1e-4)

    @pytest.mark.parametrize("p", [1.0625, 2.7, 10, 12.5, 100])
    @pytest.mark.parametrize("jit", [False, True])
    def test_any_exponent_is_finite_for_every_mask(self, p, jit):
        """The largest responses that two masks can have, and their squared gradient."""
        predicted = np.zeros((1, 6, 6), np.float32)
        predicted[:, ::2, ::2] = predicted[:, 1::2, 1::2] = 1
        options = {"filters": list(edge_filters.FILTERS), "norm": p}
        assert np.isfinite(float(loss(predicted, 1 - predicted, **options)))
        slope = gradient(lambda x: loss(x, 1 - predicted, **options), predicted, jit)
        assert np.isfinite(np.sum(np.square(slope)))

    def test_a_large_exponent_like_numpy(self):
        a, b = np.float32([0, 1, 2.5, 24]), np.float32([0, 0, 0, 0])
        found = ops.convert_to_numpy(edges.lp_distance(a, b, 12.5))
        np.testing.assert_allclose(found, [0, 1, 2.5**12.5, edges.LARGEST_POWER], rtol=1e-4)


SETTINGS = [
    {},
    {"norm": 1.0, "weight_factor": 8.0},
    {"norm": 2.5, "filters": ("roberts-x", "laplace")},
    {"norm": 3.0, "smoothing_gt": True, "smoothing_predictions": True},
    {"norm": 4.0, "smoothing_predictions": True, "filters": ("laplace-4",)},
    {"magnitude": True, "filters": ("prewitt-x", "prewitt-y")},
    {"magnitude": "only", "filters": ("sobel-x", "sobel-y"), "norm": 2.0},
    {"weight_entropy": "product", "smoothing_gt": True},
    {"weight_entropy": "exp", "entropy_divisor": 4.0, "weight_factor": 0.5},
    {"weight_entropy": "exp", "filters": ("laplace",), "norm": 4.0, "weight_factor": 0.1},
]


class TestLoss:
    @pytest.mark.parametrize("options", SETTINGS, ids=str)
    def test_like_the_loops_eager_and_compiled(self, options):
        predicted, target = random_masks(9), random_targets(10)
        expected = naive_loss(predicted, target, **options)
        for name, run in compiled(lambda p, t: loss(p, t, **options)):
            assert run(predicted, target) == pytest.approx(expected, rel=2e-5), name

    @pytest.mark.parametrize("options", SETTINGS, ids=str)
    def test_gradient_like_finite_differences(self, options):
        predicted, target = random_masks(11, (2, 4, 4)), random_targets(12, (2, 4, 4))
        slope = gradient(lambda p: loss(p, target, **options), predicted, jit=True)
        step = 1e-5
        for index in np.ndindex(predicted.shape):
            above, below = predicted.astype(float), predicted.astype(float)
            above[index] += step
            below[index] -= step
            rise = naive_loss(above, target, **options) - naive_loss(below, target, **options)
            assert abs(slope[index] - rise / (2 * step)) <= 1e-4 * max(1, np.abs(slope).max())

    @given(seed=seeds, norm=st.sampled_from([1, 2, 3.5]))
    @few
    def test_no_loss_where_the_masks_agree(self, seed, norm):
        masks = random_masks(seed)
        assert float(loss(masks, masks, norm=norm)) == 0
        assert not gradient(lambda p: loss(p, masks, norm=norm), masks).any()

    @given(seed=seeds, y=st.integers(0, 6), x=st.integers(0, 5))
    @few
    def test_a_loss_where_one_pixel_differs(self, seed, y, x):
        # With zeros outside, no two masks have the same Sobel maps.
        masks = random_masks(seed)
        other = masks.copy()
        other[0, y, x] = np.where(masks[0, y, x] > 0.5, 0.0, 1.0)
        assert float(loss(masks, other)) > 1e-3

    def test_both_kayyali_filters_are_one(self):
        predicted, target = random_masks(13), random_targets(14)
        both = float(loss(predicted, target, filters="kayyali", norm="l3"))
        one = float(loss(predicted, target, filters="kayyali-nesw", norm="l3"))
        assert both == pytest.approx(one, rel=1e-5)

    def test_roberts_with_sobel_is_the_mean_of_both(self):
        predicted, target = random_masks(13), random_targets(14)
        both = float(loss(predicted, target, filters=["roberts", "sobel"]))
        apart = [float(loss(predicted, target, filters=name)) for name in ("roberts", "sobel")]
        assert both == pytest.approx(np.mean(apart), rel=1e-5)

    @pytest.mark.parametrize("garbage", [0.3, -1e30, np.nan])
    @pytest.mark.parametrize("options", [SETTINGS[i] for i in (1, 2, 5, 7)], ids=str)
    def test_padding_does_not_matter(self, garbage, options):
        predicted, target = random_masks(15), random_targets(16)
        order = [2, 0, 3, 1]  # the two RoIs among two empty slots
        padding = np.full((2, 7, 6), garbage, np.float32)
        valid = np.array([1, 1, 0, 0], bool)[order]
        many = np.concatenate([predicted, padding])[order]
        targets = np.concatenate([target, padding])[order]
        value = float(loss(many, targets, valid, **options))
        assert value == pytest.approx(float(loss(predicted, target, **options)), rel=1e-5)
        slope = gradient(lambda p: loss(p, targets, valid, **options), many)
        expected = gradient(lambda p: loss(p, target, **options), predicted)
        np.testing.assert_allclose(slope[valid], expected[[0, 1]], rtol=1e-4, atol=1e-6)
        assert not slope[~valid].any()

    @pytest.mark.parametrize("options", SETTINGS, ids=str)
    @pytest.mark.parametrize("jit", [False, True])
    def test_no_valid_roi_is_zero_with_zero_gradient(self, options, jit):
        predicted, target = random_masks(17), random_targets(18)
        valid = np.zeros(2, bool)
        assert float(loss(predicted, target, valid, **options)) == 0
        slope = gradient(lambda p: loss(p, target, valid, **options), predicted, jit)
        np.testing.assert_array_equal(slope, 0)

    def test_no_roi_at_all(self):
        none = np.zeros((0, 28, 28), np.float32)
        assert float(loss(none, none)) == 0

    def test_masks_of_any_number_type(self):
        predicted = random_masks(19)
        target = random_targets(20)
        expected = float(loss(predicted, target))
        assert float(loss(predicted, target.astype(np.uint8))) == pytest.approx(expected)
        half = edges.edge_agreement(
            ops.cast(predicted, "bfloat16"), target.astype(bool), ops.ones(2, "bool")
        )
        assert half.dtype == ops.zeros(1, "float32").dtype
        assert float(half) == pytest.approx(expected, rel=1e-2)

    def test_mean_over_rois(self):
        predicted, target = random_masks(21), random_targets(22)
        each = ops.convert_to_numpy(edges.roi_edge_agreement(predicted, target))
        assert each.shape == (2,)
        factors = np.array([0.5, 3], np.float32)
        weighted = edges.roi_edge_agreement(predicted, target, roi_factors=factors)
        np.testing.assert_allclose(weighted, each * [0.5, 3], rtol=1e-6)
        assert each[1] == pytest.approx(naive_loss(predicted[1:], target[1:]), rel=1e-5)
        assert float(loss(predicted, target)) == pytest.approx(each.mean(), rel=1e-6)

    @pytest.mark.parametrize("jit", [False, True])
    def test_exponents_out_of_range_stay_finite(self, jit):
        predicted, target = 1 - random_targets(23), random_targets(23)  # all wrong
        options = {"filters": "kayyali", "norm": "l5", "weight_factor": 16.0}
        value = float(loss(predicted, target, weight_entropy=True, **options))
        assert 0 < value <= 17 * np.exp(edges.EXPONENT_LIMIT)
        predicted = np.clip(predicted, 0.1, 0.9)
        slope = gradient(lambda p: loss(p, target, weight_entropy=True, **options), predicted, jit)
        assert np.isfinite(np.sum(np.square(slope)))
        assert slope.any()
