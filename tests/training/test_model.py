"""Training on batches of several image shapes: one network, a traced step for each shape."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from mrcnn.checkpoints.identity import RunIdentity, StageRun
from mrcnn.data.dataset import Dataset
from mrcnn.data.loader import Loader
from mrcnn.data.stream import SampleStream
from mrcnn.matterport.inspection import Inspector
from mrcnn.training import compile, trainer
from mrcnn.training import model as training_model
from mrcnn.training.batches import TrainingData, as_inputs
from tests.tiny import tiny_batch, tiny_config

GROUPED = {"IMAGE_MIN_DIM": 64, "IMAGE_MAX_DIM": 128, "IMAGE_SHAPE_GROUPS": [(64, 128), (128, 64)]}
SQUARE = {**GROUPED, "IMAGE_SHAPE_GROUPS": None}


class Pictures(Dataset):
    """Bright squares on noise; images lie, or stand."""

    def __init__(self, count: int) -> None:
        super().__init__()
        for number, name in enumerate(("left", "right"), start=1):
            self.add_class("noise", number, name)
        for number in range(count):
            height, width = ((64, 128), (128, 64))[number % 2]
            self.add_image("noise", number, None, height=height, width=width)
        self.prepare()

    def load_image(self, image_id: int) -> np.ndarray:
        info = self.image_info[image_id]
        image = np.random.default_rng(image_id).integers(0, 99, (info["height"], info["width"], 3))
        image[8:40, 8:40] = 250
        return image.astype(np.uint8)

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        info = self.image_info[image_id]
        mask = np.zeros((info["height"], info["width"], 1), bool)
        mask[8:40, 8:40] = True
        return mask, np.ones(1, np.int32)


@pytest.fixture(scope="module")
def model() -> training_model.TrainingModel:
    keras.utils.set_random_seed(0)
    return training_model.build(tiny_config(**GROUPED))


def test_on_square_images_the_losses_are_those_of_the_square_network(model):
    keras.utils.set_random_seed(0)
    config = tiny_config(**SQUARE)
    square = training_model.build(config)
    for own, other in zip(square.weights, model.weights, strict=True):
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (own, other)))
    batch = tiny_batch(config)
    losses = square(batch, training=True)
    for name, value in model(batch, training=True).items():
        found, expected = map(keras.ops.convert_to_numpy, (value, losses[name]))
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert float(losses["rpn_class_loss"]) > 0 and float(losses["rpn_bbox_loss"]) > 0


def test_fit_takes_batches_of_all_shapes_and_traces_each_once(model, tmp_path, monkeypatch):
    config = tiny_config(**GROUPED, STEPS_PER_EPOCH=4, SEED=1)
    traced = []
    step = model.train_step

    def recorded(data):
        traced.append(tuple(data[0]["input_image"].shape))
        return step(data)

    monkeypatch.setattr(model, "train_step", recorded)
    compile.compile_model(model, config, 0.01, 0.9)
    before = [np.array(weight) for weight in model.trainable_variables]
    data = TrainingData(Pictures(6), Pictures(4))
    stage = StageRun("all", 0.01, 0.9, first_epoch=0, last_epoch=2)
    identity = RunIdentity.of(config, data.train_dataset, data.val_dataset, stage)
    history = trainer.fit(model, config, data, identity, tmp_path)
    assert np.isfinite(history.history["val_loss"]).all()
    assert np.isfinite(history.history["loss"]).all() and len(history.history["loss"]) == 2
    after = [np.array(weight) for weight in model.trainable_variables]
    changed = [np.any(old != new) for old, new in zip(before, after, strict=True)]
    assert np.mean(changed) > 0.5  # no RoI is positive yet: the heads stay as they are
    if keras.backend.backend() != "torch":  # where nothing is traced
        assert sorted(traced) == [(2, 64, 128, 3), (2, 128, 64, 3)]


def test_validation_takes_batches_of_all_shapes(model):
    config = tiny_config(**GROUPED)
    compile.compile_model(model, config, 0.01, 0.9)
    model.run_eagerly = True  # tracing takes long, and the test above has it
    try:
        with Loader(SampleStream.of(Pictures(4), config, seed=0, shuffle=False)) as loader:
            batches = list(loader.batches(0, 4))
            inputs = as_inputs(model, lambda: iter(batches), loader.image_dtype)
            losses = model.evaluate(inputs, steps=4, return_dict=True, verbose=0)
            each = [
                model.test_on_batch(batch, return_dict=True)["rpn_class_loss"] for batch in batches
            ]
    finally:
        model.run_eagerly = False
    assert len({batch["input_image"].shape for batch in batches}) == 2
    assert np.isfinite(each).all() and np.isfinite(losses["loss"])


def test_the_inspector_looks_into_any_shape(model):
    config = tiny_config(**GROUPED)
    image = np.zeros((1, 64, 128, 3), np.float32)
    meta = np.zeros((1, config.IMAGE_META_SIZE), np.float32)
    found = Inspector(model, config).run_graph(
        image, meta, [("p2", model.get_layer("fpn_p2").output)]
    )
    assert found["p2"].shape[1:3] == (16, 32)
