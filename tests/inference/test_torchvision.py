"""torchvision's networks, converted: the same proposals, detections and masks.

Each is compared with torchvision itself, with random weights and random batch statistics.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import mrcnn
from mrcnn.data.molding import mold_image
from tests.ops import naive
from tests.torchvision_networks import (
    MAX_SIZE,
    MIN_SIZE,
    answers,
    random_network,
    random_picture,
    torch,
)

SIZES = [(150, 210), (160, 100), (97, 300)]  # wider, higher, and much wider than the network's


@pytest.fixture(scope="module", params=[1, 2], ids=["v1", "v2"])
def both(request, tmp_path_factory) -> SimpleNamespace:
    from mrcnn.runs.conversion import convert

    theirs = random_network(request.param)
    folder = Path(tmp_path_factory.mktemp("converted"))
    torch.save(theirs.state_dict(), folder / "theirs.pth")
    settings = {"IMAGE_MIN_DIM": MIN_SIZE, "IMAGE_MAX_DIM": MAX_SIZE}
    done = convert(folder / "theirs.pth", folder / "own" / "weights.h5", settings=settings)
    model = mrcnn.load(folder / "own" / "weights.h5")
    return SimpleNamespace(theirs=theirs, own=model, done=done, version=request.param)


def test_the_tensors_tell_which_network_it_is(both):
    assert both.done.architecture.name == {1: "torchvision", 2: "torchvision_v2"}[both.version]
    assert both.own.config.architecture() == both.done.architecture


@pytest.mark.parametrize("size", SIZES)
def test_the_same_detections(both, size):
    picture = random_picture(*size)
    expected = answers(both.theirs, picture)
    (found,) = both.own.detector.detect_compact([picture])
    assert len(found["scores"]) == len(expected["scores"]) > 50
    assert len(set(expected["labels"])) > 2
    # Nearly equal scores may come in another order.
    place = matching(found, expected)
    np.testing.assert_allclose(found["scores"][place], expected["scores"], atol=1e-4)
    np.testing.assert_allclose(found["boxes"][place], expected["boxes"], atol=5e-3)
    inner = found["box_masks"][place][:, 1:-1, 1:-1]
    np.testing.assert_allclose(inner, expected["box_masks"], atol=1e-4)
    (whole,) = both.own.detect([picture])
    masks = whole["masks"].transpose(2, 0, 1)[place]
    different = (masks != (expected["masks"] >= 0.5)).sum()
    assert different <= 1e-3 * masks.sum() and masks.any()


def matching(found, expected) -> list[int]:
    """The place among those found of each expected detection; each place comes once."""
    places = []
    for label, box in zip(expected["labels"], expected["boxes"], strict=True):
        distances = np.abs(found["boxes"] - box).max(axis=1) + 1e3 * (found["class_ids"] != label)
        places.append(int(distances.argmin()))
    assert len(set(places)) == len(places)
    return places


@pytest.mark.parametrize("size", SIZES)
def test_the_same_proposals(both, size):
    picture = random_picture(*size)
    expected = answers(both.theirs, picture)["proposals"]
    detector = both.own.detector
    prepared = detector.prepare(picture)
    molded = mold_image(prepared.resized, both.own.config)
    rois = detector._run(molded[None], prepared.meta[None], molded=True)[4][0]
    rois = rois[rois.any(axis=1)]
    height, width = molded.shape[:2]
    found = rois * (np.array([height, width, height, width]) - 1) + [0, 0, 1, 1]
    near = np.abs(found[:, None] - expected[None]).max(axis=2) < 1e-2
    # Two boxes whose overlap is the threshold, but for a rounding, may fall to either side.
    alone = [*found[~near.any(axis=1)], *expected[~near.any(axis=0)]]
    assert len(alone) <= 0.005 * len(expected)
    for box in alone:
        overlaps = np.array([naive.iou(box, other) for other in [*found, *expected]])
        assert np.abs(overlaps - both.own.config.RPN_NMS_THRESHOLD).min() < 1e-5
    assert len(expected) > 300


@pytest.mark.slow
def test_without_the_kernels_of_tensorflow_too(both):
    if both.version == 2:
        pytest.skip("the layers that differ are those of both")
    weights = Path(both.done.source).parent / "own" / "weights.h5"
    model = mrcnn.load(weights, JIT_COMPILE=True)
    picture = random_picture(*SIZES[0])
    expected = answers(both.theirs, picture)
    (found,) = model.detector.detect_compact([picture])
    place = matching(found, expected)
    np.testing.assert_allclose(found["scores"][place], expected["scores"], atol=1e-4)
    inner = found["box_masks"][place][:, 1:-1, 1:-1]
    np.testing.assert_allclose(inner, expected["box_masks"], atol=1e-4)
