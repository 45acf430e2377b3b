"""Proposals of each level, against loops and against torchvision."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from mrcnn.layers.level_proposals import LevelProposalSettings, propose_by_level
from tests.ops import naive
from tests.ops.variants import quick, whole

on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the kernels are TensorFlow's"
)
either = pytest.mark.parametrize("use_tf_kernels", [False, pytest.param(True, marks=on_tensorflow)])
GROWTH = float(np.log(1000 / 16))
SETTINGS = LevelProposalSettings(12, 0.5, 20, (1, 1, 1, 1), GROWTH, 1.0)
COUNTS = (30, 9, 4)
WINDOW = (0, 0, 60, 90)


def an_image(seed: int):
    """Scores, deltas and pixel anchors of three levels; some boxes leave the window."""
    rng = np.random.default_rng(seed)
    scores = [rng.normal(size=(1, n)).astype(np.float32) for n in COUNTS]
    deltas = [rng.normal(0, 0.4, (1, n, 4)).astype(np.float32) for n in COUNTS]
    for level in deltas:
        level[0, 0] = [0, 0, 9, -9]  # growth that ends, and a side that vanishes
    centers = rng.uniform(-10, 100, (sum(COUNTS), 2))
    sides = rng.uniform(4, 50, (sum(COUNTS), 2))
    anchors = np.concatenate([centers - sides / 2, centers + sides / 2], axis=1)
    return scores, deltas, anchors[None].astype(np.float32)


def expected(scores, deltas, anchors) -> np.ndarray:
    start, kept = 0, []
    for level_scores, level_deltas in zip(scores, deltas, strict=True):
        order = np.argsort(-level_scores[0])[: SETTINGS.pre_nms_limit]
        chosen: list[tuple[float, list[float]]] = []
        for index in order:
            delta = level_deltas[0, index].astype(float)
            delta[2:] = np.minimum(delta[2:], GROWTH)
            box = np.array(naive.decode(anchors[0, start + index], delta))
            box = np.clip(box, 0, [WINDOW[2], WINDOW[3]] * 2)
            if (box[2:] - box[:2] < SETTINGS.least_side).any():
                continue
            if all(naive.iou(box, other) <= SETTINGS.nms_threshold for _, other in chosen):
                chosen.append((float(level_scores[0, index]), box))
        kept += chosen[: SETTINGS.proposal_count]
        start += level_scores.shape[1]
    kept.sort(key=lambda pair: -pair[0])
    result = np.zeros((SETTINGS.proposal_count, 4))
    for row, (_, box) in zip(result, kept, strict=False):
        row[:] = box
    return result


@either
@pytest.mark.parametrize("seed", [0, 1])
def test_each_level_suppresses_its_own(use_tf_kernels: bool, seed: int):
    scores, deltas, anchors = an_image(seed)
    window = np.array([WINDOW], np.float32)

    def propose(anchors, window, *levels):
        return propose_by_level(levels[:3], levels[3:], anchors, window, SETTINGS, use_tf_kernels)

    runs = [("quick", quick(propose))] if use_tf_kernels or seed else whole(propose)
    for name, run in runs:
        found = run(anchors, window, *scores, *deltas)[0]
        np.testing.assert_allclose(
            found, expected(scores, deltas, anchors), atol=1e-3, err_msg=name
        )


def run(*inputs) -> np.ndarray:
    return quick(lambda *arrays: propose_by_level(*arrays, SETTINGS))(*inputs)


def test_where_there_are_fewer_the_rest_is_zero():
    scores, deltas, anchors = an_image(2)
    outside = np.array([[0, 0, 60, 90]], np.float32)
    assert not run(scores, deltas, anchors + 1000, outside).any()


@pytest.mark.parametrize("seed", [3, 4])
def test_as_torchvision(seed: int):
    torch = pytest.importorskip("torch", reason="the oracle: pip install '.[bench]'")
    rpn = pytest.importorskip("torchvision.models.detection.rpn")
    scores, deltas, anchors = an_image(seed)
    flip = [1, 0, 3, 2]
    limits = {"training": SETTINGS.pre_nms_limit, "testing": SETTINGS.pre_nms_limit}
    kept = dict.fromkeys(limits, SETTINGS.proposal_count)
    network = rpn.RegionProposalNetwork(
        None, None, 0.7, 0.3, 1, 0.5, limits, kept, SETTINGS.nms_threshold
    ).eval()
    network.min_size = SETTINGS.least_side
    joined = np.concatenate(deltas, axis=1)[0][:, flip]
    boxes = network.box_coder.decode(
        torch.from_numpy(joined.copy()), [torch.from_numpy(anchors[0][:, flip].copy())]
    )
    objectness = torch.from_numpy(np.concatenate(scores, axis=1).reshape(-1, 1))
    proposals, _ = network.filter_proposals(
        boxes.reshape(1, -1, 4), objectness, [(WINDOW[2], WINDOW[3])], list(COUNTS)
    )
    theirs = proposals[0].numpy()[:, flip]
    window = np.array([WINDOW], np.float32)
    found = run(scores, deltas, anchors, window)
    np.testing.assert_allclose(found[0, : len(theirs)], theirs, atol=1e-4)
    assert len(theirs) and not found[0, len(theirs) :].any()
