"""The callbacks of a training: one training of several `fit` calls, weights and losses by epoch."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from mrcnn.training import callbacks, compile
from mrcnn.training import model as training_model
from tests.tiny import tiny_config


@pytest.fixture(scope="module")
def model() -> training_model.TrainingModel:
    return training_model.build(tiny_config())


def test_weights_files_hold_the_moving_average(model, tmp_path):
    config = tiny_config(EMA_MOMENTUM=0.5, WEIGHT_DECAY=0.0)
    compile.compile_model(model, config, 0.5, 0.0)
    variable = model.get_layer("mrcnn_class_logits").bias
    ones = [np.ones(v.shape, np.float32) for v in model.trainable_variables]
    first = [np.array(v) for v in model.trainable_variables]
    seen = []
    try:
        for _ in range(2):
            model.optimizer.apply(ones)
            seen.append(np.array(variable))
        with callbacks.averaged_weights(model):
            averaged = np.array(variable)
        np.testing.assert_allclose(averaged, 0.5 * seen[0] + 0.5 * seen[1], rtol=1e-5)
        np.testing.assert_array_equal(variable, seen[1])
    finally:
        for v, value in zip(model.trainable_variables, first, strict=True):
            v.assign(value)


class Recorder(keras.callbacks.Callback):
    """Notes what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def on_train_begin(self, logs: Any = None) -> None:
        self.seen.append("begin")

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.seen.append(batch)

    def on_train_end(self, logs: Any = None) -> None:
        self.seen.append("end")


def line() -> keras.Model:
    x = keras.Input((1,))
    model = keras.Model(x, keras.layers.Dense(1, name="dense")(x))
    model.compile("sgd", "mse")
    return model


def test_two_calls_of_fit_are_one_training():
    model, recorder = line(), Recorder()
    run = callbacks.RunCallbacks([recorder], model=model, epochs=2, steps=3, verbose=0)
    data = np.ones((3, 1), np.float32)
    run.first_batch, run.is_last = 1, False
    options = {"batch_size": 1, "verbose": 0, "callbacks": run}
    model.fit(data[1:], data[1:], initial_epoch=0, epochs=1, **options)
    run.first_batch, run.is_last = 0, True
    model.fit(data, data, initial_epoch=1, epochs=2, **options)
    assert recorder.seen == ["begin", 1, 2, 0, 1, 2, "end"]
    assert model.history.epoch == [0, 1]


def test_weights_of_every_epoch_get_matterports_names(tmp_path):
    model = line()
    save = callbacks.SaveEpoch(tmp_path, "Shapes")
    save.set_model(model)
    for epoch in range(2):
        save.on_epoch_end(epoch)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["mask_rcnn_shapes_0001.h5", "mask_rcnn_shapes_0002.h5"]


def test_tensorboard_gets_the_losses(tmp_path):
    events = callbacks.TensorBoard(tmp_path, first_epoch=2)
    events.on_train_begin()
    events.on_epoch_end(2, {"loss": 0.5})
    events.on_epoch_end(3, None)
    events.on_train_end()
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("events.out.tfevents") and b"loss" in path.read_bytes()
