"""The mask branch on boxes that are given."""

from __future__ import annotations

import numpy as np
import pytest

from mrcnn import network
from mrcnn.data.dataset import Dataset
from mrcnn.data.masks import paste_masks
from mrcnn.inference.given_boxes import GivenBoxes, MasksOfBoxes
from mrcnn.model import MaskRCNN
from tests.tiny import tiny_config


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def untrained(folder, **settings) -> MaskRCNN:
    model = MaskRCNN("inference", tiny_config(NUM_CLASSES=4, SEED=1, **settings), folder)
    logits = model.keras_model.get_layer("mrcnn_class_logits")
    kernel, bias = logits.get_weights()
    logits.set_weights([kernel * 5, bias])  # else all RoIs were of one class
    mask = model.keras_model.get_layer("mrcnn_mask")
    mask.set_weights([50 * array for array in mask.get_weights()])  # else all masks were flat
    return model


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> MaskRCNN:
    return untrained(tmp_path_factory.mktemp("logs"))


def boxes_in(height: int, width: int, count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, min(height, width) // 2, (count, 2))
    return np.concatenate([corner, corner + rng.integers(8, 20, (count, 2))], axis=1)


def test_the_detectors_own_boxes_get_the_detectors_masks(model: MaskRCNN):
    image = picture(64, 50)
    detector = model.detector
    prepared = detector.prepare(image)
    detections, _, _, expected, *_ = detector._run(
        prepared.resized[None], prepared.meta[None], molded=False
    )
    rows = detections[0][detections[0][:, 4] > 0]
    assert len(rows) > 1
    masks = MasksOfBoxes(detector)
    given = GivenBoxes(prepared, rows[:, :4], rows[:, 4].astype(np.int32))
    found = masks._masks([given])[0]
    assert np.ptp(found) > 0.1
    # By another graph than the detector's, which adds up in another order.
    np.testing.assert_allclose(found, expected[0][: len(rows)], rtol=0, atol=5e-4)
    # As results, they are those of the detector but for the scores.
    (again,), (own,) = masks.detect_batch([given]), detector.detect_compact([image])
    for name in ("rois", "class_ids", "boxes", "mask_corners"):
        np.testing.assert_allclose(again[name], own[name], atol=1e-6)
    np.testing.assert_allclose(again["box_masks"], own["box_masks"], atol=5e-4)
    assert (again["scores"] == 1).all()


def test_the_networks_layers_keep_their_one_output(model: MaskRCNN):
    image = picture(64, 64)
    before = model.detect([image])[0]
    masks = MasksOfBoxes(model.detector)
    masks.detect_batch([masks.prepare(image, boxes_in(64, 64, 3), np.array([1, 2, 3]))])
    for name in ("roi_align_mask", "mrcnn_mask_conv1", "mrcnn_mask"):
        assert model.keras_model.get_layer(name).output is not None  # Keras refuses several
    np.testing.assert_array_equal(model.detect([image])[0]["masks"], before["masks"])


def test_images_of_a_batch_have_their_own_number_of_boxes(model: MaskRCNN):
    masks = MasksOfBoxes(model.detector)
    prepared = [
        masks.prepare(picture(60, 64, n), boxes_in(60, 64, count, n), np.full(count, 2))
        for n, count in enumerate((5, 0))
    ]
    many, none = masks.detect_batch(prepared)
    (alone,) = masks.detect_batch(prepared[:1])
    assert len(none["rois"]) == 0 and len(many["rois"]) == 5
    np.testing.assert_allclose(alone["box_masks"], many["box_masks"], atol=1e-5)
    np.testing.assert_array_equal(many["rois"], boxes_in(60, 64, 5, 0))
    assert paste_masks(many["box_masks"], many["boxes"], (60, 64), many["mask_corners"]).shape == (
        60,
        64,
        5,
    )


def test_more_boxes_than_slots_where_shapes_are_static(tmp_path, monkeypatch):
    settings = {"DETECTION_MAX_INSTANCES": 5, "IMAGES_PER_GPU": 1}
    free = untrained(tmp_path, **settings)
    monkeypatch.setattr(network, "_use_tf_kernels", lambda config: False)
    static = untrained(tmp_path, **settings)
    image, boxes, ids = picture(64, 64), boxes_in(64, 64, 12), np.arange(12) % 3 + 1
    results = []
    for one in (free, static):
        masks = MasksOfBoxes(one.detector)
        results += masks.detect_batch([masks.prepare(image, boxes, ids)])
    assert results[1]["box_masks"].shape == (12, 28, 28)
    np.testing.assert_allclose(results[1]["box_masks"], results[0]["box_masks"], atol=2e-3)


def test_the_objects_of_an_image_are_those_with_a_mask(model: MaskRCNN):
    class Objects(Dataset):
        def load_mask(self, image_id):
            masks = np.zeros((64, 64, 5), bool)
            for n in range(4):
                masks[4 * n : 4 * n + 10, 5:20, n] = True
            return masks, np.array([1, 2, -2, 3, 1])  # a crowd, and one without a pixel

        def load_box_only(self, image_id):
            return np.array([False, True, False, False, False])

    masks = MasksOfBoxes(model.detector)
    given = masks.prepare_labelled(Objects(), 0, picture(64, 64))
    assert given.class_ids.tolist() == [1, 3]
    (found,) = masks.detect_batch([given])
    assert found["rois"].tolist() == [[0, 5, 10, 20], [12, 5, 22, 20]]


def test_a_class_that_the_network_does_not_know_is_refused(model: MaskRCNN):
    masks = MasksOfBoxes(model.detector)
    for wrong in (0, 4):
        with pytest.raises(ValueError, match=r"from 1 to 3.*received"):
            masks.prepare(picture(64, 64), boxes_in(64, 64, 1), np.array([wrong]))
    with pytest.raises(ValueError, match="one class id for each"):
        masks.prepare(picture(64, 64), boxes_in(64, 64, 2), np.array([1]))
