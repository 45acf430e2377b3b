"""Sizes at the network's scale, against the sample of training and against all anchors."""

from __future__ import annotations

import numpy as np
import pytest

from mrcnn.data.boxes import compute_overlaps
from mrcnn.data.sample import load_sample
from mrcnn.doctor import sizes
from mrcnn.doctor.examine import examine
from mrcnn.matterport.anchors import image_anchors
from tests.doctor.sound import DoctorConfig, noise, sound
from tests.doctor.test_examine import config_of, load

SHAPES = ((48, 64), (33, 61), (97, 150), (64, 64))


@pytest.mark.parametrize("size", SHAPES)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"IMAGE_MIN_DIM": 32, "IMAGE_MAX_DIM": 128},
        {"IMAGE_RESIZE_MODE": "pad64", "IMAGE_MIN_DIM": 64, "IMAGE_PAD_SHAPE": (192, 256)},
        {"IMAGE_RESIZE_MODE": "none", "IMAGE_PAD_SHAPE": (128, 192)},
    ],
    ids=["square", "square-larger", "pad64", "none"],
)
def test_boxes_lie_where_training_sees_them(tmp_path, size, settings):
    data = sound(tmp_path / "data")
    height, width = size
    data.save(noise(0, *size))
    data.train["images"][0].update(height=height, width=width)
    random = np.random.default_rng(height)
    for annotation in data.train["annotations"][:10]:
        x, y = random.integers(0, width - 9), random.integers(0, height - 9)
        w, h = random.integers(6, [width - x + 1, height - y + 1])
        x, y, w, h = map(int, (x, y, w, h))
        annotation.update(bbox=[x, y, w, h], area=w * h)
        annotation["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    data.write()
    config = config_of({"NUM_CLASSES": 3, **settings})
    sample = load_sample(load(data.folder), 0, config, np.random.default_rng(0))
    examined = examine(data.folder, config, jobs=1, progress=False).subsets[0]
    np.testing.assert_array_equal(examined.boxes[:10], sample.boxes)
    assert tuple(examined.extents[0]) == sample.image.shape[:2]


def test_in_the_mode_crop_the_whole_scaled_image_counts():
    config = config_of({"IMAGE_RESIZE_MODE": "crop"})
    placement = sizes.place((48, 96), config)
    assert placement.scaled == placement.extent == (64, 128) and placement.offset == (0, 0)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_best_anchor_is_the_best_of_all(stride):
    config = config_of({"IMAGE_MIN_DIM": 128, "IMAGE_MAX_DIM": 128, "RPN_ANCHOR_STRIDE": stride})
    random = np.random.default_rng(0)
    corners = np.sort(random.uniform(0, 128, (200, 2, 2)), axis=1)
    boxes = corners.reshape(200, 4)
    boxes = boxes[(boxes[:, 2:] - boxes[:, :2]).min(axis=1) > 1]
    expected = compute_overlaps(boxes, image_anchors(config, (128, 128))).max(axis=1)
    extents = np.tile((128, 128), (len(boxes), 1))
    best = sizes.reach(boxes, extents, config).best
    np.testing.assert_allclose(best, expected, atol=1e-12)


def test_scales_are_recommended_that_reach_the_objects():
    random = np.random.default_rng(0)
    centers, sides = random.uniform(100, 400, (300, 2)), random.uniform(10, 20, (300, 1))
    boxes = np.concatenate([centers - sides / 2, centers + sides / 2], axis=1)
    config = config_of(
        {"IMAGE_MAX_DIM": 512, "IMAGE_MIN_DIM": 512, "RPN_ANCHOR_SCALES": (32, 64, 128, 256, 512)}
    )
    reached = sizes.reach(boxes, np.tile((512, 512), (300, 1)), config)
    assert np.mean(reached.best >= 0.5) < 0.1
    assert np.mean(reached.recommended_best >= 0.5) > 0.9
    scales = reached.recommended
    assert list(scales) == sorted(scales) and 9 <= scales[0] <= 20
    assert config_of({"RPN_ANCHOR_SCALES": scales}).RPN_ANCHOR_SCALES == scales
    text = sizes.histogram(reached)
    assert f"recommended = {scales}" in text
    rows = [line.split() for line in text.splitlines()[2:-2]]
    assert sum(int(row[2]) for row in rows) == 300 and max(float(row[3]) for row in rows) < 0.5


def test_scales_that_fit_are_left_alone():
    sides = np.array((12, 16, 24, 32, 48) * 9)[:, None] / 2
    boxes = np.concatenate([64 - sides, 64 - sides, 64 + sides, 64 + sides], axis=1)
    reached = sizes.reach(boxes, np.tile((128, 128), (len(boxes), 1)), DoctorConfig())
    assert (reached.best == 1).all() and reached.recommended == reached.scales
    assert sizes.histogram(reached).endswith("no better ones found")


def test_a_histogram_without_objects():
    reached = sizes.reach(np.zeros((0, 4)), np.zeros((0, 2), int), DoctorConfig())
    assert sizes.histogram(reached).endswith("no objects.")
