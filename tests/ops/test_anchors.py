"""Anchors of the feature pyramid."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcnn.ops import anchors as anchor_ops

few = settings(max_examples=20, deadline=None)


def naive_anchors(scale, ratios, shape, step, anchor_stride) -> list[list[float]]:
    result = []
    for row in range(0, shape[0], anchor_stride):
        for column in range(0, shape[1], anchor_stride):
            for ratio in ratios:
                height, width = scale / ratio**0.5, scale * ratio**0.5
                y, x = row * step, column * step
                result.append([y - height / 2, x - width / 2, y + height / 2, x + width / 2])
    return result


class TestLevel:
    @given(
        scale=st.integers(1, 512),
        ratios=st.lists(st.sampled_from([0.25, 0.5, 1, 2, 3.5]), min_size=1, max_size=3),
        shape=st.tuples(st.integers(1, 5), st.integers(1, 5)),
        step=st.sampled_from([4, 16]),
        anchor_stride=st.integers(1, 3),
    )
    @few
    def test_like_the_loops(self, scale, ratios, shape, step, anchor_stride):
        got = anchor_ops.level_anchors(scale, ratios, shape, step, anchor_stride)
        expected = naive_anchors(scale, ratios, shape, step, anchor_stride)
        assert got.dtype == np.float64
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-9)

    def test_by_hand(self):
        got = anchor_ops.level_anchors(16, [1, 4], (1, 2), 8)
        first = [[-8, -8, 8, 8], [-4, -16, 4, 16]]  # a ratio of 4 is wide
        np.testing.assert_allclose(got, first + [[y, x + 8, v, u + 8] for y, x, v, u in first])

    @given(scale=st.floats(1, 512), ratio=st.floats(0.1, 10))
    @few
    def test_area_and_shape(self, scale, ratio):
        y1, x1, y2, x2 = anchor_ops.level_anchors(scale, [ratio], (1, 1), 4)[0]
        assert (y2 - y1) * (x2 - x1) == pytest.approx(scale**2)
        assert (x2 - x1) / (y2 - y1) == pytest.approx(ratio)
        assert (y1 + y2, x1 + x2) == pytest.approx((0, 0))

    def test_no_cells(self):
        assert anchor_ops.level_anchors(32, [0.5, 1, 2], (0, 3), 4).shape == (0, 4)


class TestPyramid:
    def test_levels_follow_one_another(self):
        scales, ratios, shapes, strides = [8, 16], [0.5, 1], [(4, 3), (2, 2)], [4, 8]
        got = anchor_ops.pyramid_anchors(scales, ratios, shapes, strides)
        fine = anchor_ops.level_anchors(8, ratios, (4, 3), 4)
        coarse = anchor_ops.level_anchors(16, ratios, (2, 2), 8)
        np.testing.assert_array_equal(got, np.concatenate([fine, coarse]))

    def test_levels_must_be_of_one_number(self):
        with pytest.raises(ValueError):
            anchor_ops.pyramid_anchors([8, 16], [1], [(4, 4)], [4, 8])

    def test_feature_shapes_round_up(self):
        got = anchor_ops.feature_shapes((100, 130, 3), [4, 8, 64])
        assert got.tolist() == [[25, 33], [13, 17], [2, 3]]


@pytest.mark.parametrize("case", range(4))
def test_parity(fixtures, case):
    vectors = np.load(fixtures / "util_vectors.npz")
    facts = json.loads((fixtures / "util_vectors.json").read_text())[f"anch{case}"]
    shapes = anchor_ops.feature_shapes(facts["image_shape"], facts["strides"])
    np.testing.assert_array_equal(shapes, vectors[f"anch{case}_shapes"])
    anchors = anchor_ops.pyramid_anchors(
        facts["scales"], facts["ratios"], shapes, facts["strides"], facts["anchor_stride"]
    )
    assert len(anchors) == vectors[f"anch{case}_count"]
    np.testing.assert_allclose(anchors.sum(axis=0), vectors[f"anch{case}_sum"], rtol=1e-9)
    if facts["sampled"] != "all":
        anchors = np.concatenate([anchors[:200], anchors[::997], anchors[-200:]])
    np.testing.assert_allclose(anchors, vectors[f"anch{case}"], rtol=1e-9, atol=1e-9)


class TestAsTorchvision:
    """Rounded sides, and distances that follow from the cells."""

    @pytest.mark.parametrize(("height", "width"), [(128, 192), (160, 96), (800, 1344)])
    def test_all_levels(self, height: int, width: int):
        torch = pytest.importorskip("torch", reason="the oracle: pip install '.[bench]'")
        generator = pytest.importorskip("torchvision.models.detection.anchor_utils")
        images = pytest.importorskip("torchvision.models.detection.image_list")
        scales, strides = (32, 64, 128, 256, 512), (4, 8, 16, 32, 64)
        shapes = anchor_ops.feature_shapes((height, width), strides)
        maps = [torch.zeros(1, 1, *shape) for shape in shapes.tolist()]
        ratios = ((0.5, 1.0, 2.0),) * 5  # height by width
        theirs = generator.AnchorGenerator(tuple((scale,) for scale in scales), ratios)
        batch = images.ImageList(torch.zeros(1, 3, height, width), [(height, width)])
        expected = theirs(batch, maps)[0].numpy()[:, [1, 0, 3, 2]]
        steps = anchor_ops.steps_from_cells((height, width), shapes)
        found = anchor_ops.pyramid_anchors(scales, [2, 1, 0.5], shapes, steps, rounded=True)
        np.testing.assert_array_equal(found, expected)

    def test_half_sides_are_whole_and_rounded_to_even(self):
        (anchor,) = anchor_ops.level_anchors(5, [1], (1, 1), 4, rounded=True)
        assert anchor.tolist() == [-2, -2, 2, 2]
        plain = anchor_ops.level_anchors(32, [2, 0.5], (2, 3), 8)
        rounded = anchor_ops.level_anchors(32, [2, 0.5], (2, 3), (8, 8), rounded=True)
        np.testing.assert_array_equal(rounded, np.round(plain))

    def test_steps_differ_where_the_cells_do_not_divide_the_side(self):
        found = anchor_ops.level_anchors(32, [1], (3, 2), (53, 64))
        assert found[:, 0].tolist() == [-16, -16, 37, 37, 90, 90]
        assert found[:, 1].tolist() == [-16, 48] * 3
