"""The mask head on what was found alone gives the masks that it gives on every slot."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from mrcnn.layers.found_slots import SLOTS_AT_ONCE, AllSlots, FoundBoxes
from mrcnn.model import MaskRCNN
from tests.tiny import tiny_config

SLOTS = 10


def detections(counts: list[int]) -> np.ndarray:
    """[B, SLOTS, 6] with so many found in each image."""
    rows = np.random.default_rng(0).uniform(0.1, 1, (len(counts), SLOTS, 6)).astype(np.float32)
    rows[..., 4] = np.ceil(rows[..., 4] * 5)
    for image, count in zip(rows, counts, strict=True):
        image[count:] = 0
    return rows


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, SLOTS), min_size=1, max_size=3))
def test_all_that_was_found_and_little_more(counts: list[int]):
    rows = detections(counts)
    boxes = ops.convert_to_numpy(FoundBoxes()(rows))
    number, most = boxes.shape[1], max(counts)
    assert most <= number <= SLOTS and number >= 1
    assert number == SLOTS or number % SLOTS_AT_ONCE == 0
    assert number - most < SLOTS_AT_ONCE or most == 0
    np.testing.assert_array_equal(boxes, rows[:, :number, :4])
    filled = ops.convert_to_numpy(AllSlots(SLOTS)(boxes))
    assert filled.shape == (len(counts), SLOTS, 4)
    np.testing.assert_array_equal(filled[:, :number], boxes)
    assert not filled[:, number:].any()


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="elsewhere XLA compiles static shapes"
)
@pytest.mark.parametrize("confidence", [0.0, 0.3, 1.0])
def test_detections_are_those_of_the_graph_of_static_shape(confidence, tmp_path):
    """JIT_COMPILE chooses the graph in which every slot has a mask."""
    found = []
    for compiled in (False, True):
        keras.utils.set_random_seed(3)
        config = tiny_config(
            JIT_COMPILE=compiled, DETECTION_MIN_CONFIDENCE=confidence, NUM_CLASSES=4
        )
        model = MaskRCNN("inference", config, tmp_path)
        names = {layer.name for layer in model.keras_model.layers}
        assert any("found_boxes" in name for name in names) is not compiled
        images = np.random.default_rng(1).integers(0, 256, (2, 100, 128, 3)).astype(np.uint8)
        found.append(model.detect(list(images)))
    for with_found, with_all in zip(*found, strict=True):
        assert (len(with_found["scores"]) > 0) is (confidence < 0.9)
        for name in ("rois", "class_ids"):
            np.testing.assert_array_equal(with_found[name], with_all[name])
        np.testing.assert_allclose(with_found["scores"], with_all["scores"], atol=1e-5)
        assert with_found["masks"].shape == with_all["masks"].shape
        differing = (with_found["masks"] != with_all["masks"]).sum()
        assert differing <= 1e-3 * with_all["masks"].size
