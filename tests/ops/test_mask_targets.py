"""Mask targets that are averages of samples: against loops and against torchvision."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcnn.ops import mask_targets as ours
from tests.ops import naive
from tests.ops.variants import quick, whole

HEIGHT, WIDTH, SHAPE = 40, 50, (3, 4)
OBJECTS = np.array([[0, 1, 1], [2, 0, 2]], np.int32)
# Of two images; the second does not fill the network's input.
WINDOWS = np.array([[0, 0, HEIGHT, WIDTH], [4, 6, 31, 43]], np.float32)


def some_masks(seed: int, sides: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, (2, 3, *sides)).astype(np.uint8)


def some_rois(seed: int) -> np.ndarray:
    """Inside their windows: some small, some as large as the window."""
    rng = np.random.default_rng(seed)
    rois = np.sort(rng.uniform(0, 1, (2, 3, 2, 2)), axis=2).reshape(2, 3, 4)
    rois[:, 0] = [0, 0, 1, 1]
    rois[:, 1, 2:] = rois[:, 1, :2] + 0.015
    size = np.tile(WINDOWS[:, 2:] - WINDOWS[:, :2], 2)[:, None]
    return (np.tile(WINDOWS[:, :2], 2)[:, None] + np.minimum(rois, 1) * size).astype(np.float32)


def of_the_image(masks, rois, aligned=False):
    ends = np.repeat(WINDOWS[:, None], 3, axis=1)
    corner = np.zeros((2, 3, 2), np.float32)
    side = np.zeros((2, 3, 2), np.float32) + np.array(masks.shape[2:], np.float32)
    frame = ours.MaskFrame(corner, side, keras.ops.convert_to_tensor(ends))
    return ours.sampled_mask_targets(masks, rois, OBJECTS, frame, SHAPE, aligned)


@pytest.mark.parametrize("aligned", [False, True])
def test_like_the_loops(aligned: bool):
    masks, rois = some_masks(0), some_rois(1)
    expected = [
        [
            naive.averaged_mask(
                masks[b, OBJECTS[b, p]],
                rois[b, p],
                (0, 0),
                (HEIGHT, WIDTH),
                SHAPE,
                WINDOWS[b],
                aligned,
            )
            for p in range(3)
        ]
        for b in range(2)
    ]
    for name, run in whole(lambda masks, rois: of_the_image(masks, rois, aligned)):
        np.testing.assert_allclose(run(masks, rois), expected, atol=1e-4, err_msg=name)


def test_mini_masks_are_read_where_their_boxes_lie():
    masks, rois = some_masks(2, (8, 12)), some_rois(3)
    rng = np.random.default_rng(4)
    corner = (rois[..., :2] - rng.uniform(0, 4, (2, 3, 2))).astype(np.float32)
    side = (rois[..., 2:] - corner + rng.uniform(-1, 6, (2, 3, 2))).clip(2).astype(np.float32)
    expected = [
        [
            naive.averaged_mask(
                masks[b, OBJECTS[b, p]], rois[b, p], corner[b, p], side[b, p], SHAPE
            )
            for p in range(3)
        ]
        for b in range(2)
    ]

    def run(masks, rois, corner, side):
        frame = ours.MaskFrame(corner, side, None)
        return ours.sampled_mask_targets(masks, rois, OBJECTS, frame, SHAPE)

    np.testing.assert_allclose(quick(run)(masks, rois, corner, side), expected, atol=1e-4)


def test_a_few_rois_at_a_time_make_no_difference(monkeypatch):
    masks, rois = some_masks(5), some_rois(6)
    together = quick(of_the_image)(masks, rois)
    monkeypatch.setattr(ours, "_PIXELS_AT_ONCE", 4 * HEIGHT * WIDTH)  # of six RoIs four
    for name, run in whole(lambda *arrays: of_the_image(*arrays)):
        np.testing.assert_allclose(run(masks, rois), together, atol=1e-6, err_msg=name)


def test_a_mask_that_is_everywhere_fills_its_targets():
    masks = np.full((2, 3, HEIGHT, WIDTH), 1, np.uint8)
    np.testing.assert_allclose(quick(of_the_image)(masks, some_rois(7)), 1, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    corner=st.tuples(st.floats(0, 30), st.floats(0, 40)),
    side=st.tuples(st.floats(0, 60), st.floats(0, 60)),
    aligned=st.booleans(),
)
def test_as_torchvision(seed, corner, side, aligned):
    torch = pytest.importorskip("torch", reason="the oracle is torchvision: '.[bench]'")
    vision = pytest.importorskip("torchvision", reason="the oracle is torchvision: '.[bench]'")
    mask = np.random.default_rng(seed).integers(0, 2, (HEIGHT, WIDTH)).astype(np.float32)
    end = np.minimum(np.add(corner, side), (HEIGHT, WIDTH))
    roi = np.array([*corner, *end], np.float32)
    # A cell of a whole number of pixels has as many samples or one more, by a rounding.
    lengths = (roi[2:] - roi[:2]) / np.array(SHAPE)
    if (np.abs(lengths - np.round(lengths)) < 1e-4).any():
        return
    boxes = torch.tensor([[0, roi[1], roi[0], roi[3], roi[2]]])
    expected = vision.ops.roi_align(
        torch.from_numpy(mask)[None, None], boxes, SHAPE, 1.0, -1, aligned
    )[0, 0].numpy()
    frame = ours.MaskFrame(
        keras.ops.zeros((1, 1, 2)),
        keras.ops.convert_to_tensor([[[float(HEIGHT), float(WIDTH)]]]),
        keras.ops.convert_to_tensor([[[0.0, 0.0, float(HEIGHT), float(WIDTH)]]]),
    )
    found = ours.sampled_mask_targets(
        keras.ops.convert_to_tensor(mask[None, None]),
        keras.ops.convert_to_tensor(roi[None, None]),
        keras.ops.zeros((1, 1), dtype="int32"),
        frame,
        SHAPE,
        aligned,
    )
    np.testing.assert_allclose(found[0, 0], expected, atol=1e-4)
