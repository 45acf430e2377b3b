"""Anchors under Matterport's names."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from mrcnn.matterport.anchors import generate_anchors, generate_pyramid_anchors, image_anchors
from tests.tiny import TinyConfig


def naive(scales, ratios, shape, feature_stride, anchor_stride):
    anchors = []
    for row in range(0, shape[0], anchor_stride):
        for column in range(0, shape[1], anchor_stride):
            y, x = row * feature_stride, column * feature_stride
            for ratio in ratios:
                for scale in scales:
                    height, width = scale / math.sqrt(ratio), scale * math.sqrt(ratio)
                    anchors.append([y - height / 2, x - width / 2, y + height / 2, x + width / 2])
    return anchors


@pytest.mark.parametrize("scales", [[8], [8, 20, 3]])
@pytest.mark.parametrize("anchor_stride", [1, 2])
def test_one_level_is_like_the_loops(scales, anchor_stride):
    arguments = ([0.5, 1, 3], (3, 5), 16, anchor_stride)
    expected = naive(scales, *arguments)
    np.testing.assert_allclose(generate_anchors(scales, *arguments), expected, atol=1e-12)


def test_a_single_scale_needs_no_list():
    arguments = ([0.5, 1, 2], (4, 4), 8, 1)
    np.testing.assert_array_equal(
        generate_anchors(32, *arguments), generate_anchors([32], *arguments)
    )


def test_levels_beyond_the_last_scale_have_no_anchors():
    shapes, strides = [(4, 4), (2, 2), (1, 1)], [4, 8, 16]
    found = generate_pyramid_anchors((8, 16), [1], shapes, strides, 1)
    assert found.shape == (16 + 4, 4)
    np.testing.assert_array_equal(found[16:], generate_anchors(16, [1], (2, 2), 8, 1))


@pytest.mark.parametrize("name", ["anch0", "anch1", "anch2", "anch3"])
def test_parity(fixtures, name):
    facts = json.loads((fixtures / "util_vectors.json").read_text())[name]
    height, width = facts["image_shape"][:2]
    shapes = [(math.ceil(height / step), math.ceil(width / step)) for step in facts["strides"]]
    found = generate_pyramid_anchors(
        facts["scales"], facts["ratios"], shapes, facts["strides"], facts["anchor_stride"]
    )
    if facts["sampled"] != "all":
        found = np.concatenate([found[:200], found[::997], found[-200:]])
    np.testing.assert_allclose(found, np.load(fixtures / "util_vectors.npz")[name], atol=1e-6)


def test_the_anchors_of_an_image_are_the_networks():
    from mrcnn.network import anchors_layer

    config = TinyConfig()
    np.testing.assert_array_equal(
        image_anchors(config, (64, 128, 3)), anchors_layer(config).of_shape((64, 128, 3))
    )
