"""The inference graph as scripts call it: `keras_model.predict`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mrcnn.model import MaskRCNN
from tests.tiny import tiny_config


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MaskRCNN:
    return MaskRCNN("inference", tiny_config(IMAGES_PER_GPU=1), tmp_path_factory.mktemp("logs"))


def test_predict_takes_the_inputs_of_2_0_and_of_2_1(model: MaskRCNN):
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)
    molded, metas, windows = model.mold_inputs([image])
    anchors = model.get_anchors(molded[0].shape)
    anchors = np.broadcast_to(anchors, (1, *anchors.shape))
    two = model.keras_model.predict([molded, metas], verbose=0)
    three = model.keras_model.predict([molded, metas, anchors], verbose=0)
    assert len(two) == len(three) == 7
    for a, b in zip(two, three, strict=True):
        np.testing.assert_array_equal(a, b)
    # The ancestor's `detect`, written out in many scripts.
    found = model.unmold_detections(two[0][0], two[3][0], image.shape, molded[0].shape, windows[0])
    expected = model.detect([image])[0]
    for value, name in zip(found, ("rois", "class_ids", "scores", "masks"), strict=True):
        np.testing.assert_allclose(value, expected[name], atol=1e-5, err_msg=name)
    assert len(found[0])


def test_the_calls_of_keras_2_before_threads_predict_do_nothing(model: MaskRCNN, tmp_path: Path):
    assert model.keras_model._make_predict_function() is None
