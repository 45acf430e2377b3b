"""Training in Detectron2's own semantics: its losses and its gradients, from the same weights.

Both sides draw all anchors and all RoIs that there are; Detectron2's numbers are kept in
`tests/fixtures/detectron2`.
"""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import numpy as np
import pytest

from mrcnn import batch
from mrcnn.config import Config
from mrcnn.data.molding import compose_image_meta
from mrcnn.data.resize import Resize
from mrcnn.runs.conversion import convert
from mrcnn.runs.settings import configure
from mrcnn.training import model as training_model
from mrcnn.weights import detectron2, torchvision
from tests.detectron2_tensors import (
    ANCHORS,
    CLASSES,
    OBJECTS,
    PROPOSALS,
    ROIS,
    SIDE,
    calibrated,
    fixture,
    scenes,
    tensors,
)
from tests.losses_and_gradients import losses_and_gradients

# The names of the losses, theirs and ours.
LOSSES = {
    "loss_rpn_cls": "rpn_class_loss",
    "loss_rpn_loc": "rpn_bbox_loss",
    "loss_cls": "mrcnn_class_loss",
    "loss_box_reg": "mrcnn_bbox_loss",
    "loss_mask": "mrcnn_mask_loss",
}


@pytest.fixture(scope="module", params=["plain", "normed"])
def both(request, tmp_path_factory) -> SimpleNamespace:
    given = fixture(request.param)
    arrays = calibrated(tensors(given.shapes), given)
    folder = tmp_path_factory.mktemp("converted")
    (folder / "theirs.pkl").write_bytes(pickle.dumps({"model": arrays}))
    done = convert(folder / "theirs.pkl", folder / "own" / "weights.h5")
    settings = {
        "NAME": "theirs",
        "ARCHITECTURE": done.architecture,
        **done.settings,
        "IMAGES_PER_GPU": 2,
        "IMAGE_MIN_DIM": SIDE,
        "IMAGE_MAX_DIM": SIDE,
        "RPN_TRAIN_ANCHORS_PER_IMAGE": 2 * ANCHORS,
        "PRE_NMS_LIMIT_TRAINING": 400,
        "POST_NMS_ROIS_TRAINING": PROPOSALS,
        "TRAIN_ROIS_PER_IMAGE": ROIS,
        "ROI_POSITIVE_RATIO": 0.5,
        "MAX_GT_INSTANCES": OBJECTS,
        "USE_MINI_MASK": False,
        "WEIGHT_DECAY": 0.0,
        "EDGE_LOSS_FILTERS": [],
    }
    config = configure(Config, settings)
    own = training_model.build(config)
    own.load_weights(folder / "own" / "weights.h5", by_name=True)
    return SimpleNamespace(own=own, config=config, done=done, given=given, arrays=arrays)


def batch_of(config: Config) -> dict[str, np.ndarray]:
    resize = Resize.of(config)
    rows = []
    for number, scene in enumerate(scenes()):
        size, count = scene.picture.shape[:2], len(scene.class_ids)
        resized = resize(scene.picture)
        assert resized.scale == 1
        meta = compose_image_meta(
            *(number, scene.picture.shape, resized.image.shape, resized.window, 1),
            np.ones(CLASSES + 1),
        )
        room = OBJECTS - count
        whole = ((0, room), (0, SIDE - size[0]), (0, SIDE - size[1]))
        rows.append(
            {
                batch.IMAGE: resized.image,
                batch.IMAGE_META: meta.astype(np.float32),
                batch.GT_CLASS_IDS: np.pad(scene.class_ids, (0, room)),
                batch.GT_BOXES: np.pad(scene.boxes, ((0, room), (0, 0))).astype(np.int32),
                batch.GT_MASKS: np.pad(scene.masks, whole),
            }
        )
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def test_the_same_losses_and_gradients(both):
    losses, gradients = losses_and_gradients(both.own, batch_of(both.config))
    for theirs, own in LOSSES.items():
        expected = both.given.numbers[f"loss/{theirs}"]
        np.testing.assert_allclose(losses[own], expected, rtol=1e-4, err_msg=own)

    current, names = detectron2.with_torchvision_names(both.arrays)
    compared = 0
    for place in torchvision.places(current, both.done.architecture):
        source = names[place.source]
        stored = both.given.numbers.get(f"gradient/{source}")
        if stored is None or (place.layer, place.variable) not in gradients:
            continue
        norm, product, number = stored
        direction = np.random.default_rng([1, int(number)]).normal(size=both.given.shapes[source])
        renamed, _ = detectron2.with_torchvision_names({**both.arrays, source: direction})
        gradient = gradients[place.layer, place.variable].astype(np.float64)
        same = (gradient * place.change(renamed[place.source])).sum()
        scale = max(norm, 1e-6)
        assert abs(np.linalg.norm(gradient) - norm) < 3e-3 * scale, place
        # A sum of random signs: of the size of the norm.
        assert abs(same - product) < 1e-2 * scale, place
        compared += 1
    assert compared > 60
