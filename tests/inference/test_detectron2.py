"""Detectron2's networks, converted: the same proposals, detections and masks.

Each is compared with numbers that Detectron2 made of the same random weights
(`tests/fixtures/detectron2`).
"""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import mrcnn
from mrcnn.data.molding import mold_image
from mrcnn.runs.conversion import convert
from tests.detectron2_tensors import MAX_SIZE, MIN_SIZE, SIZES, calibrated, fixture, tensors
from tests.ops import naive
from tests.random_pictures import random_picture


@pytest.fixture(scope="module", params=["plain", "normed"])
def both(request, tmp_path_factory) -> SimpleNamespace:
    given = fixture(request.param)
    arrays = calibrated(tensors(given.shapes), given)
    folder = Path(tmp_path_factory.mktemp("converted"))
    content = {"model": arrays, "__author__": "a test"}
    (folder / "theirs.pkl").write_bytes(pickle.dumps(content))
    settings = {"IMAGE_MIN_DIM": MIN_SIZE, "IMAGE_MAX_DIM": MAX_SIZE}
    done = convert(folder / "theirs.pkl", folder / "own" / "weights.h5", settings=settings)
    model = mrcnn.load(folder / "own" / "weights.h5")
    return SimpleNamespace(own=model, done=done, numbers=given.numbers, name=request.param)


def expected_of(both: SimpleNamespace, number: int) -> dict[str, np.ndarray]:
    start = f"{number}/"
    return {
        name.removeprefix(start): value
        for name, value in both.numbers.items()
        if name.startswith(start)
    }


def test_the_tensors_tell_which_network_it_is(both):
    architecture = both.own.config.architecture()
    assert architecture == both.done.architecture
    assert (architecture.name == "detectron2") == (both.name == "plain")
    assert architecture.pyramid_norm == architecture.mask_norm == (both.name == "normed")
    assert not both.done.ignored


@pytest.mark.parametrize("number", range(len(SIZES)))
def test_the_same_detections(both, number):
    picture = random_picture(*SIZES[number], seed=number)
    expected = expected_of(both, number)
    (found,) = both.own.detector.detect_compact([picture])
    assert len(found["scores"]) == len(expected["scores"]) > 50
    place = matching(found, expected)
    np.testing.assert_allclose(found["scores"][place], expected["scores"], atol=1e-4)
    np.testing.assert_allclose(found["boxes"][place], expected["boxes"], atol=5e-3)
    inner = found["box_masks"][place][:, 1:-1, 1:-1]
    np.testing.assert_allclose(inner, expected["box_masks"], atol=6e-4)  # stored with 16 bits
    (whole,) = both.own.detect([picture])
    masks = whole["masks"].transpose(2, 0, 1)[place]
    theirs = np.unpackbits(expected["masks"], count=masks.size).reshape(masks.shape)
    assert (masks != theirs).sum() <= 1e-3 * masks.sum() and masks.any()


def matching(found, expected) -> list[int]:
    """The place among those found of each expected detection; each place comes once."""
    places = []
    for label, box in zip(expected["labels"], expected["boxes"], strict=True):
        other = found["class_ids"] != label + 1
        places.append(int((np.abs(found["boxes"] - box).max(axis=1) + 1e3 * other).argmin()))
    assert len(set(places)) == len(places)
    return places


@pytest.mark.parametrize("number", range(len(SIZES)))
def test_the_same_image_and_proposals(both, number):
    expected = expected_of(both, number)
    detector = both.own.detector
    prepared = detector.prepare(random_picture(*SIZES[number], seed=number))
    y1, x1, y2, x2 = prepared.window
    np.testing.assert_array_equal(prepared.resized[y1:y2, x1:x2], expected["image"])
    molded = mold_image(prepared.resized, both.own.config)
    rois = detector._run(molded[None], prepared.meta[None], molded=True)[4][0]
    rois = rois[rois.any(axis=1)]
    height, width = molded.shape[:2]
    found = rois * (np.array([height, width, height, width]) - 1) + [0, 0, 1, 1]
    near = np.abs(found[:, None] - expected["proposals"][None]).max(axis=2) < 1e-2
    # Two boxes whose overlap is the threshold, but for a rounding, may fall to either side.
    alone = [*found[~near.any(axis=1)], *expected["proposals"][~near.any(axis=0)]]
    assert len(alone) <= 0.005 * len(near)
    for box in alone:
        overlaps = np.array([naive.iou(box, other) for other in [*found, *expected["proposals"]]])
        assert np.abs(overlaps - both.own.config.RPN_NMS_THRESHOLD).min() < 1e-4
