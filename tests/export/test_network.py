"""The exported graph resizes, detects, places and pastes as detection does."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcnn.config import changed
from mrcnn.data.masks import paste_masks
from mrcnn.data.resize import Resize
from mrcnn.data.unmolding import locate_detections
from mrcnn.export import pixels, resizing
from mrcnn.export.network import OUTPUTS, ExportNetwork
from mrcnn.model import MaskRCNN
from tests.tiny import tiny_config

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="converters take graphs from TensorFlow"
)
SIDE = 64


def picture(height: int, width: int, seed: int = 0, least: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).integers(least, 256, (height, width, 3))
    return values.astype(np.uint8)


def numbers(value: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(value)


def model_of(tmp_path, **more: Any) -> MaskRCNN:
    config = tiny_config(
        IMAGES_PER_GPU=1, IMAGE_MIN_DIM=SIDE, IMAGE_MAX_DIM=SIDE, SEED=3,
        DETECTION_MIN_CONFIDENCE=0, DETECTION_MAX_INSTANCES=10, **more,
    )  # fmt: skip
    model = MaskRCNN("inference", config, tmp_path)
    # Random weights answer 0 or 1 to almost everything: less of that, so that few scores are equal.
    rpn = model.keras_model.get_layer("rpn_model")
    outer = [rpn.get_layer(name) for name in ("rpn_class_raw", "rpn_bbox_pred")]
    for layer in (*outer, model.keras_model.get_layer("mrcnn_class_logits")):
        layer.set_weights([w * 0.02 for w in layer.get_weights()])
    return model


def exported(model: MaskRCNN, size=None, pasted: bool = False) -> ExportNetwork:
    config = changed(model.config, {"JIT_COMPILE": True})
    network = ExportNetwork(config, size, pasted=pasted)
    network.inner.set_weights(model.keras_model.get_weights())
    return network


# --- Resizing


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 150), st.integers(1, 150)),
    min_dim=st.sampled_from([0, 20, 48, 64]),
    min_scale=st.sampled_from([0, 0.5, 1.7]),
    least=st.sampled_from([0, 90]),
)
def test_pictures_of_any_size_are_resized_as_in_detection(size, min_dim, min_scale, least):
    resize = Resize("square", min_dim, SIDE, min_scale)
    image = picture(*size, least=least)
    expected = resize(image)
    found = resizing.resize_any(keras.ops.convert_to_tensor(image[None]), resize)
    assert numbers(found.window).tolist() == list(expected.window)
    difference = numbers(found.image)[0] - expected.image
    # A value within a millionth of a whole number may be cut to either side.
    assert np.abs(difference).max() <= 1 and (difference != 0).mean() < 0.002


@pytest.mark.parametrize("mode", ["square", "pad64", "none", "pad32"])
@pytest.mark.parametrize("size", [(64, 64), (40, 100), (128, 192), (64, 128)])
def test_pictures_of_a_known_size_are_resized_as_in_detection(mode, size):
    resize = Resize(mode, SIDE if mode != "none" else 0, 2 * SIDE, padding_value=(10.5, 20, 30))
    image = picture(*size, least=50)
    expected = resize(image)
    found = resizing.resize_known(keras.ops.convert_to_tensor(image[None]), resize)
    np.testing.assert_array_equal(numbers(found.image)[0], expected.image)
    assert numbers(found.window).tolist() == list(expected.window)
    assert resizing.fixed_shape(resize, size) == expected.image.shape[:2]


@settings(max_examples=20, deadline=None)
@given(st.integers(10, 300), st.integers(10, 300))
def test_averaged_pictures_are_resized_as_in_detection(height, width):
    resize = Resize("pad32", SIDE, 2 * SIDE, padding_value=(10.5, 20, 30), antialiased=True)
    image = picture(height, width)
    expected = resize(image)
    found = resizing.resize_known(keras.ops.convert_to_tensor(image[None]), resize)
    np.testing.assert_array_equal(numbers(found.image)[0], expected.image)
    assert numbers(found.window).tolist() == list(expected.window)


def test_any_size_needs_a_square(tmp_path):
    config = tiny_config(IMAGE_RESIZE_MODE="pad64", IMAGE_MIN_DIM=64, IMAGE_MAX_DIM=64)
    with pytest.raises(ValueError, match="--picture-size HEIGHT WIDTH"):
        ExportNetwork(config)


# --- Pixels


def random_detections(count: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    start = random.uniform(0, 0.8, (count, 2))
    boxes = np.concatenate([start, start + random.uniform(0, 0.4, (count, 2))], axis=1)
    boxes[0] = 0.4, 0.4, 0.4, 0.4
    boxes[1, 2:] = boxes[1, :2] + 0.001  # thinner than a pixel
    boxes[2] = 0.0, 0.0, 1.0, 1.0
    rest = np.stack([random.integers(1, 3, count), np.sort(random.random(count))[::-1]], axis=1)
    return np.concatenate([boxes, rest], axis=1).astype(np.float32)


@pytest.mark.parametrize("boxes", ["exact", "matterport"])
@pytest.mark.parametrize("form", ["mini", "whole", "border", "samples"])
@pytest.mark.parametrize("size", [(40, 100), (150, 90), (12, 12)])
def test_detections_and_masks_are_placed_as_in_detection(boxes, form, size):
    config = tiny_config(DETECTION_BOXES=boxes, USE_MINI_MASK=form == "mini")
    has_border = form in ("border", "samples")
    if has_border:
        name = {"border": "torchvision", "samples": "detectron2"}[form]
        config = tiny_config(DETECTION_BOXES=boxes, ARCHITECTURE=name)
    image = Resize("square", SIDE, SIDE)(np.zeros((*size, 3), np.uint8))
    count = 12
    detections = random_detections(count, seed=size[0])
    window = (np.array(image.window) - [0, 0, 1, 1]) / (SIDE - 1)  # the network clips to it
    detections[:, :4] = np.clip(detections[:, :4], np.tile(window[:2], 2), np.tile(window[2:], 2))
    masks = np.random.default_rng(1).random((count, 28, 28, config.NUM_CLASSES)).astype(np.float32)
    expected = locate_detections(
        detections, masks, (*size, 3), (SIDE, SIDE, 3), image.window, config
    )

    placed = pixels.in_pixels(
        keras.ops.convert_to_tensor(detections[None]),
        (SIDE, SIDE),
        keras.ops.convert_to_tensor(np.array(image.window, np.float32)),
        keras.ops.convert_to_tensor(np.array(size, np.float32)),
        config,
    )
    kept = numbers(placed.kept)[0]
    own = masks[np.arange(count), :, :, detections[:, 4].astype(int)]
    np.testing.assert_allclose(numbers(placed.boxes)[0][kept], expected.boxes, atol=2e-3)
    masks = np.pad(own[kept], ((0, 0), (1, 1), (1, 1))) if has_border else own[kept]
    np.testing.assert_array_equal(masks, expected.box_masks)
    areas = numbers(placed.mask_areas)[0][kept]
    np.testing.assert_allclose(areas, expected.mask_areas, atol=2e-3)
    corners = numbers(placed.mask_corners)[0][kept]
    if expected.mask_corners is not None:
        np.testing.assert_allclose(corners, expected.mask_corners, atol=2e-3)

    outputs = {
        "mask_areas": expected.mask_areas.astype(np.float32)[None],
        "mask_corners": corners[None],
        "masks": expected.box_masks[None],
        "class_ids": expected.class_ids[None],
    }
    tensors = {name: keras.ops.convert_to_tensor(value) for name, value in outputs.items()}
    pasted = numbers(pixels.paste(tensors, size, config))[0]
    own_way = paste_masks(expected.box_masks, expected.mask_areas, size, expected.mask_corners)
    differing = (pasted.astype(bool) != own_way.transpose(2, 0, 1)).mean()
    assert pasted.any() and differing < 0.001  # of probabilities next to 0.5


# --- The whole graph


@pytest.mark.parametrize(
    ("size", "more"),
    [
        (None, {}),
        ((50, 90), {"ROI_POOLING": "pool"}),
        ((50, 90), {"DETECTION_BOXES": "matterport"}),
        ((50, 90), {"ARCHITECTURE": "torchvision", "IMAGE_RESIZE_MODE": "pad32"}),
        ((50, 90), {"ARCHITECTURE": "detectron2", "IMAGE_RESIZE_MODE": "pad32"}),
    ],
)
def test_it_finds_what_detection_finds(tmp_path, size, more):
    model = model_of(tmp_path, **more)
    network = exported(model, size, pasted=True)
    assert len(network.variables) == len(model.keras_model.variables)
    for seed in range(2):
        image = picture(50, 90, seed)
        expected = model.detector.detect_compact([image])[0]
        outputs = {name: numbers(value) for name, value in network(image[None]).items()}
        count = int(outputs["count"][0])
        assert count == len(expected["scores"]) > 0
        assert list(outputs) == [*OUTPUTS, "pasted"]
        np.testing.assert_array_equal(outputs["class_ids"][0, :count], expected["class_ids"])
        np.testing.assert_allclose(outputs["scores"][0, :count], expected["scores"], atol=1e-5)
        np.testing.assert_allclose(outputs["boxes"][0, :count], expected["boxes"], atol=5e-3)
        np.testing.assert_allclose(outputs["masks"][0, :count], expected["box_masks"], atol=1e-3)
        for name in OUTPUTS[:-1]:
            assert not outputs[name][0, count:].any()
        assert outputs["pasted"].shape == (1, 10, 50, 90)
        masks = model.detect([image])[0]["masks"].transpose(2, 0, 1)
        assert (outputs["pasted"][0, :count].astype(bool) != masks).mean() < 0.002


def test_nothing_found_is_empty(tmp_path):
    model = model_of(tmp_path)
    network = exported(model)
    network.inner.get_layer("mrcnn_class_logits").set_weights(
        [np.zeros_like(w) for w in model.keras_model.get_layer("mrcnn_class_logits").get_weights()]
    )
    outputs = {name: numbers(value) for name, value in network(picture(70, 50)[None]).items()}
    assert outputs["count"].tolist() == [0]
    assert not any(outputs[name].any() for name in OUTPUTS)
