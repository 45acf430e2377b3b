"""How well anchors fit objects, against all anchors of the network."""

from __future__ import annotations

import numpy as np
import pytest

from mrcnn.data.boxes import compute_overlaps
from mrcnn.doctor import anchors
from mrcnn.matterport.anchors import image_anchors
from tests.doctor.sound import DoctorConfig
from tests.doctor.test_examine import config_of


@pytest.mark.parametrize("stride", [1, 2])
def test_the_best_anchor_is_the_best_of_all(stride):
    config = config_of({"IMAGE_MIN_DIM": 128, "IMAGE_MAX_DIM": 128, "RPN_ANCHOR_STRIDE": stride})
    random = np.random.default_rng(0)
    corners = np.sort(random.uniform(0, 128, (200, 2, 2)), axis=1)
    boxes = corners.reshape(200, 4)
    boxes = boxes[(boxes[:, 2:] - boxes[:, :2]).min(axis=1) > 1]
    expected = compute_overlaps(boxes, image_anchors(config, (128, 128))).max(axis=1)
    input_sizes = np.tile((128, 128), (len(boxes), 1))
    best = anchors.measure_coverage(boxes, input_sizes, config).best_ious
    np.testing.assert_allclose(best, expected, atol=1e-12)


def test_scales_are_recommended_that_reach_the_objects():
    random = np.random.default_rng(0)
    centers, sides = random.uniform(100, 400, (300, 2)), random.uniform(10, 20, (300, 1))
    boxes = np.concatenate([centers - sides / 2, centers + sides / 2], axis=1)
    config = config_of(
        {"IMAGE_MAX_DIM": 512, "IMAGE_MIN_DIM": 512, "RPN_ANCHOR_SCALES": (32, 64, 128, 256, 512)}
    )
    coverage = anchors.measure_coverage(boxes, np.tile((512, 512), (300, 1)), config)
    assert np.mean(coverage.best_ious >= 0.5) < 0.1
    assert np.mean(coverage.recommended_ious >= 0.5) > 0.9
    scales = coverage.recommended
    assert list(scales) == sorted(scales) and 9 <= scales[0] <= 20
    assert config_of({"RPN_ANCHOR_SCALES": scales}).RPN_ANCHOR_SCALES == scales
    text = anchors.histogram(coverage)
    assert f"recommended: RPN_ANCHOR_SCALES = {scales}" in text and "images of 512 x 512" in text
    setting = f"RPN_ANCHOR_SCALES={scales}".replace(" ", "")
    assert text.splitlines()[-1].endswith(f"To set them: --set '{setting}'")
    rows = [line.split() for line in text.splitlines()[2:-3]]
    assert sum(int(row[2]) for row in rows) == 300 and max(float(row[3]) for row in rows) < 0.5


def test_scales_that_fit_are_left_alone():
    sides = np.array((12, 16, 24, 32, 48) * 9)[:, None] / 2
    boxes = np.concatenate([64 - sides, 64 - sides, 64 + sides, 64 + sides], axis=1)
    coverage = anchors.measure_coverage(boxes, np.tile((128, 128), (len(boxes), 1)), DoctorConfig())
    assert (coverage.best_ious == 1).all() and coverage.recommended == coverage.scales
    assert anchors.histogram(coverage).endswith("no better ones found")


def test_a_histogram_without_objects():
    coverage = anchors.measure_coverage(np.zeros((0, 4)), np.zeros((0, 2), int), DoctorConfig())
    assert anchors.histogram(coverage).endswith("no objects.")


def test_the_thresholds_are_those_of_the_configuration():
    # Boxes of 30 x 40 pixels: the anchors reach an IoU of 0.75 at best.
    boxes = np.tile((40.0, 40.0, 70.0, 80.0), (4, 1))
    config = config_of(
        {"IMAGE_MIN_DIM": 128, "IMAGE_MAX_DIM": 128, "RPN_NEGATIVE_IOU": 0.2}
        | {"RPN_POSITIVE_IOU": 0.99}
    )
    coverage = anchors.measure_coverage(boxes, np.tile((128, 128), (4, 1)), config)
    text = anchors.histogram(coverage)
    assert "100.0% reach 0.2, 100.0% reach 0.5, 0.0% reach 0.99" in text
    assert "0.3" not in text.splitlines()[-1] and "0.7," not in text.splitlines()[-1]
