"""The mask head on what was found alone gives the masks that it gives on every slot."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from mrcnn.layers import detection_slots
from mrcnn.layers.detection_slots import (
    SLOTS_AT_ONCE,
    CompactDetections,
    PadDetections,
    UsedSlots,
)
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
    boxes = ops.convert_to_numpy(CompactDetections()(rows))
    number, most = boxes.shape[1], max(counts)
    assert most <= number <= SLOTS and number >= 1
    assert number == SLOTS or number % SLOTS_AT_ONCE == 0
    assert number - most < SLOTS_AT_ONCE or most == 0
    np.testing.assert_array_equal(boxes, rows[:, :number, :4])
    filled = ops.convert_to_numpy(PadDetections(SLOTS)(boxes))
    assert filled.shape == (len(counts), SLOTS, 4)
    np.testing.assert_array_equal(filled[:, :number], boxes)
    assert not filled[:, number:].any()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=SLOTS, max_size=SLOTS), min_size=1, max_size=3))
def test_the_slots_in_use_come_with_their_rows(flags: list[list[bool]]):
    marked = np.array(flags)
    rows = np.random.default_rng(0).normal(size=(*marked.shape, 2)).astype(np.float32)
    kept, kept_rows = (ops.convert_to_numpy(x) for x in UsedSlots()([marked, rows]))
    number = kept.shape[1]
    np.testing.assert_array_equal(kept, marked[:, :number])
    np.testing.assert_array_equal(kept_rows, rows[:, :number])
    assert not marked[:, number:].any() and number >= SLOTS_AT_ONCE
    last = max((i + 1 for row in flags for i, flag in enumerate(row) if flag), default=1)
    assert number == min(-(-last // SLOTS_AT_ONCE) * SLOTS_AT_ONCE, SLOTS)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="elsewhere XLA compiles static shapes"
)
@pytest.mark.parametrize("confidence", [0.0, 0.3, 1.0])
def test_the_masks_are_those_of_all_slots(confidence, tmp_path, monkeypatch):
    images = list(np.random.default_rng(1).integers(0, 256, (2, 100, 128, 3)).astype(np.uint8))
    config = tiny_config(
        DETECTION_MIN_CONFIDENCE=confidence, NUM_CLASSES=4, DETECTION_MAX_INSTANCES=12, SEED=3
    )
    found = []
    for at_once in (detection_slots.SLOTS_AT_ONCE, 1000):
        monkeypatch.setattr(detection_slots, "SLOTS_AT_ONCE", at_once)
        found.append(MaskRCNN("inference", config, tmp_path).detect(images))
    for with_found, with_all in zip(*found, strict=True):
        assert (len(with_found["scores"]) > 0) is (confidence < 1)
        for name in ("rois", "class_ids", "scores"):
            np.testing.assert_array_equal(with_found[name], with_all[name])
        assert with_found["masks"].shape == with_all["masks"].shape
        differing = (with_found["masks"] != with_all["masks"]).sum()
        assert differing <= 1e-3 * with_all["masks"].size


def test_xla_takes_every_slot(tmp_path):
    model = MaskRCNN("inference", tiny_config(JIT_COMPILE=True), tmp_path)
    assert not any(isinstance(layer, CompactDetections) for layer in model.keras_model.layers)
    slots = model.config.DETECTION_MAX_INSTANCES
    assert model.keras_model.get_layer("mrcnn_mask").output.shape[1] == slots
