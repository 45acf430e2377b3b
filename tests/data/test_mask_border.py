"""Masks pasted with a border of one sample, against torchvision and Detectron2."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mrcnn.data.masks import paste_masks
from mrcnn.data.rle import encode_in_boxes
from mrcnn.data.unmolding import with_border

IMAGE = (60, 80)
FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"


def some_masks(seed: int, count: int = 12):
    """Smooth masks and boxes inside the image: thin ones, and ones at its border."""
    rng = np.random.default_rng(seed)
    masks = rng.uniform(0, 1, (count, 28, 28)).astype(np.float32)
    masks[: count // 2] = 0.3 + 0.7 * (masks[: count // 2] > 0.1)
    corners = np.sort(rng.uniform(0, 1, (count, 2, 2)), axis=1).reshape(count, 4)
    boxes = corners * [*IMAGE, *IMAGE]
    boxes[0] = [0, 0, *IMAGE]
    boxes[1] = [10.2, 79.1, 50, 80]
    boxes[2] = [10.2, 20.4, 10.7, 20.9]
    return masks, boxes.astype(np.float32)


def pasted(masks, boxes) -> np.ndarray:
    padded, areas, corners = with_border(masks, boxes, IMAGE)
    return paste_masks(padded, areas, IMAGE, corners).transpose(2, 0, 1)


def test_a_full_mask_reaches_half_a_sample_beyond_its_box_and_no_further():
    box = np.array([[10.0, 20.0, 38.0, 48.0]])  # a sample is a pixel
    (found,) = pasted(np.ones((1, 28, 28), np.float32), box)
    rows, columns = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
    # The box becomes [9, 39] and has the pixel 39 too: 31 pixels for 30 samples.
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (10, 38, 20, 48)


def test_run_lengths_are_those_of_the_pasted_masks():
    masks, boxes = some_masks(5)
    padded, areas, corners = with_border(masks, boxes, IMAGE)
    from pycocotools import mask as mask_api

    rles = encode_in_boxes(padded, areas, IMAGE, corners)
    decoded = mask_api.decode(rles).transpose(2, 0, 1).astype(bool)
    np.testing.assert_array_equal(decoded, pasted(masks, boxes))


def test_samples_in_their_places_as_detectron2():
    stored = np.load(FIXTURES / "pasted" / "pasted.npz", allow_pickle=False)
    masks, boxes, size = stored["masks"], stored["boxes"], tuple(stored["size"].tolist())
    padded, areas, corners = with_border(masks, boxes, size, in_whole_pixels=False)
    found = paste_masks(padded, areas, size, corners).transpose(2, 0, 1)
    expected = np.unpackbits(stored["detectron2"], axis=-1, count=size[1]).astype(bool)
    assert found.shape == expected.shape and found.any(axis=(1, 2)).sum() > 20
    assert (found != expected).sum() <= 1e-4 * found.sum()  # a probability of 0.5 but for rounding


@pytest.mark.parametrize("seed", range(4))
def test_as_torchvision(seed: int):
    torch = pytest.importorskip("torch", reason="the oracle: pip install '.[bench]'")
    heads = pytest.importorskip("torchvision.models.detection.roi_heads")
    masks, boxes = some_masks(seed)
    probabilities = heads.paste_masks_in_image(
        torch.from_numpy(masks[:, None]), torch.from_numpy(boxes[:, [1, 0, 3, 2]].copy()), IMAGE
    ).numpy()[:, 0]
    found = pasted(masks, boxes)
    sure = np.abs(probabilities - 0.5) > 1e-5
    np.testing.assert_array_equal(found[sure], (probabilities >= 0.5)[sure])
    assert sure.mean() > 0.99 and found.any()
