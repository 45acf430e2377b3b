"""Detections of every class, against loops and against torchvision."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mrcnn.layers.class_detections import ClassDetectionSettings, detect_every_class
from tests.ops import naive
from tests.ops.variants import quick, whole

GROWTH = float(np.log(1000 / 16))
SETTINGS = ClassDetectionSettings(9, 0.1, 0.5, (0.1, 0.1, 0.2, 0.2), GROWTH, 0.5)
WINDOW = (0, 0, 60, 90)
ROIS, CLASSES = 14, 4


def an_image(seed: int):
    """RoIs, the last ones empty, with logits and deltas."""
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.uniform(0, 60, (ROIS, 2, 2)), axis=1).reshape(ROIS, 4)
    corners[-3:] = 0
    logits = rng.normal(0, 1.5, (ROIS, CLASSES)).astype(np.float32)
    deltas = rng.normal(0, 1, (ROIS, CLASSES, 4)).astype(np.float32)
    deltas[0, 1] = [0, 0, 99, -99]  # growth that ends, and a side that vanishes
    odds = np.exp(logits)
    probabilities = odds / odds.sum(axis=1, keepdims=True)
    return corners.astype(np.float32), logits, probabilities, deltas


def expected(rois, probabilities, deltas, settings) -> np.ndarray:
    found = []
    for row, roi in enumerate(rois):
        for class_id in range(1, CLASSES):
            score = float(probabilities[row, class_id])
            delta = deltas[row, class_id].astype(float) * settings.std_dev
            delta[2:] = np.minimum(delta[2:], GROWTH)
            box = np.clip(naive.decode(roi, delta), 0, [WINDOW[2], WINDOW[3]] * 2)
            small = (box[2:] - box[:2] < settings.least_side).any()
            if score > settings.min_confidence and not small and roi.any():
                found.append([*box, class_id, score])
    found.sort(key=lambda one: -one[5])
    kept: list[list[float]] = []
    for one in found:
        rivals = [other for other in kept if other[4] == one[4]]
        if all(naive.iou(one[:4], other[:4]) <= settings.nms_threshold for other in rivals):
            kept.append(one)
    result = np.zeros((settings.max_instances, 6))
    result[: len(kept)] = kept[: settings.max_instances]
    return result


@pytest.mark.parametrize("least", [0.1, 0.0])
def test_a_roi_may_be_several_detections(least: float):
    settings = dataclasses.replace(SETTINGS, min_confidence=least, max_instances=30)
    rois, _, probabilities, deltas = an_image(0)

    def detect(*inputs):
        return detect_every_class(*inputs, settings)

    inputs = [array[None] for array in (rois, probabilities, deltas, np.array(WINDOW, np.float32))]
    for name, run in whole(detect) if least else [("quick", quick(detect))]:
        answer = expected(rois, probabilities, deltas, settings)
        np.testing.assert_allclose(run(*inputs)[0], answer, atol=1e-3, err_msg=name)
    assert len(set(map(tuple, answer[:, :4]))) > 5


def test_no_more_candidates_are_looked_at_than_there_can_be():
    assert SETTINGS.most_candidates(100, 4) == 300
    assert SETTINGS.most_candidates(100, 91) == 1000  # ten classes of a RoI can be above 0.1
    assert dataclasses.replace(SETTINGS, min_confidence=0).most_candidates(100, 91) == 9000


@pytest.mark.parametrize("seed", [1, 2])
def test_as_torchvision(seed: int):
    torch = pytest.importorskip("torch", reason="the oracle: pip install '.[bench]'")
    heads = pytest.importorskip("torchvision.models.detection.roi_heads")
    settings = dataclasses.replace(SETTINGS, least_side=1e-2)
    rois, logits, probabilities, deltas = an_image(seed)
    flip = [1, 0, 3, 2]
    theirs = heads.RoIHeads(
        *(None, None, None, 0.5, 0.5, 1, 0.5, None),
        *(settings.min_confidence, settings.nms_threshold, settings.max_instances),
    )
    real = rois[:-3]
    boxes, scores, labels = theirs.postprocess_detections(
        torch.from_numpy(logits[:-3]),
        torch.from_numpy(deltas[:-3][..., flip].reshape(len(real), -1)),
        [torch.from_numpy(real[:, flip].copy())],
        [(WINDOW[2], WINDOW[3])],
    )
    inputs = [array[None] for array in (rois, probabilities, deltas, np.array(WINDOW, np.float32))]
    found = quick(lambda *arrays: detect_every_class(*arrays, settings))(*inputs)[0]
    count = len(scores[0])
    np.testing.assert_allclose(found[:count, :4], boxes[0].numpy()[:, flip], atol=1e-4)
    assert found[:count, 4].tolist() == labels[0].tolist()
    np.testing.assert_allclose(found[:count, 5], scores[0].numpy(), atol=1e-6)
    assert count and not found[count:].any()
