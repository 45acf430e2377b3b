"""Test-time augmentation: what several looks agree on, and that one look changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.data.boxes import compute_overlaps
from mrcnn.inference.detector import Detector
from mrcnn.model import MaskRCNN
from mrcnn.prediction.augmented import Augmented, Look, fuse, looks, mirrored, scaled
from mrcnn.prediction.prediction import Prediction
from tests.tiny import tiny_config


@pytest.fixture(scope="module")
def detector(tmp_path_factory) -> Detector:
    """A random network, which finds something everywhere."""
    config = tiny_config(IMAGES_PER_GPU=1, DETECTION_MAX_INSTANCES=20)
    return MaskRCNN("inference", config, tmp_path_factory.mktemp("logs")).detector


def image(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (50, 70, 3)).astype(np.uint8)


def predicted(detector, pixels: np.ndarray) -> Prediction:
    (found,) = detector.detect_batch([detector.prepare(pixels)])
    return Prediction.of("x", None, found, ["background", "a", "b"])


def test_one_look_as_it_is_gives_what_the_detector_gives(detector):
    alone, augmented = (
        predicted(detector, image()),
        predicted(Augmented(detector, [Look(1.0, False)]), image()),
    )
    order = np.argsort(-alone.scores, kind="stable")
    wide = (np.diff(alone.exact_boxes.reshape(-1, 2, 2), axis=1) >= 1).all(axis=(1, 2))[order]
    np.testing.assert_allclose(augmented.scores, alone.scores[order][wide], atol=1e-6)
    np.testing.assert_allclose(augmented.exact_boxes, alone.exact_boxes[order][wide], atol=1e-2)
    shared = (augmented.masks & alone.masks[..., order[wide]]).sum()
    assert shared >= 0.95 * augmented.masks.sum()


def test_the_mirror_image_of_a_picture_gets_the_mirrored_answer(detector):
    augmented = Augmented(detector, looks([1.0]))
    there, back = predicted(augmented, image()), predicted(augmented, image()[:, ::-1])
    assert len(there) == len(back) > 0
    np.testing.assert_allclose(there.scores, back.scores, atol=1e-5)
    overlaps = compute_overlaps(there.exact_boxes, mirrored(back.exact_boxes, 70))
    np.testing.assert_allclose(overlaps.max(axis=1), 1, atol=1e-3)


def test_sizes_are_those_that_the_network_takes(detector):
    config = scaled(detector.config, 1.5)
    assert (config.IMAGE_MIN_DIM, config.IMAGE_MAX_DIM) == (128, 128)  # 96 is no multiple of 64
    assert config.IMAGE_SHAPE[0] == 128 and config.NUM_CLASSES == detector.config.NUM_CLASSES
    found = predicted(Augmented(detector, looks([1.0, 2.0])), image())
    assert found.masks.shape == (50, 70, len(found))


def test_settings_of_an_object_are_kept(detector):
    config = tiny_config()
    config.DETECTION_MIN_CONFIDENCE = 0.25
    assert scaled(config, 2.0).DETECTION_MIN_CONFIDENCE == 0.25


def test_what_all_looks_find_counts_more_than_what_one_finds():
    boxes = np.array(
        [[0, 0, 10, 10], [1, 0, 11, 10], [0, 1, 10, 11], [50, 50, 60, 60], [2, 0, 12, 10.0]]
    )
    fused = fuse(
        boxes,
        np.array([1, 1, 1, 1, 2]),
        np.array([0.6, 0.9, 0.6, 0.9, 0.3]),
        np.array([0, 1, 2, 0, 0]),
        3,
    )
    assert fused.class_ids.tolist() == [1, 1, 2]
    np.testing.assert_allclose(fused.scores, [0.7, 0.3, 0.1], atol=1e-6)
    weights = np.array([0.6, 0.9, 0.6])
    np.testing.assert_allclose(fused.boxes[0], weights @ boxes[:3] / weights.sum())


def test_two_detections_of_one_look_are_two_objects():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9.0]])
    fused = fuse(boxes, np.array([1, 1]), np.array([0.9, 0.8]), np.array([0, 0]), 2)
    assert len(fused.scores) == 2


def test_nothing_found():
    empty = np.zeros(0)
    fused = fuse(np.zeros((0, 4)), empty.astype(int), empty, empty.astype(int), 2)
    assert fused.boxes.shape == (0, 4) and len(fused.scores) == 0


@pytest.mark.parametrize("scales", [[], [0.0], [-1.0], [float("nan")], [float("inf")]])
def test_wrong_scales(scales):
    with pytest.raises(ValueError, match="scales: expected numbers above 0"):
        looks(scales)


def test_a_network_that_resizes_nothing_has_one_scale():
    config: Config = tiny_config(IMAGE_RESIZE_MODE="none")
    with pytest.raises(ValueError, match="IMAGE_RESIZE_MODE"):
        scaled(config, 0.5)
