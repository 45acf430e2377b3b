"""`fit` with Matterport's batches, and with the arguments that Keras 2 had."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.data.loader import Loader
from mrcnn.data.stream import SampleStream
from mrcnn.matterport.generator import DataGenerator, data_generator
from mrcnn.training import compile as training_compile
from mrcnn.training import model as training_model
from mrcnn.training.model import TrainingNetwork
from tests.matterport.test_generator import Squares
from tests.tiny import tiny_config


@pytest.fixture(scope="module")
def config() -> Config:
    return tiny_config(SEED=2)


@pytest.fixture(scope="module")
def network(config) -> TrainingNetwork:
    model = training_model.build(config)
    training_compile.compile_model(model, config, 0.01, 0.9)
    return model


@pytest.fixture
def model(network) -> Iterator[TrainingNetwork]:
    before = network.get_weights()
    yield network
    network.set_weights(before)


def generator(config: Config, **options: Any) -> Any:
    return data_generator(Squares(), config, batch_size=config.BATCH_SIZE, **options)


def seen_by(model: TrainingNetwork, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The batches that Keras's `fit` is given, in a list that fills; nothing is trained."""
    seen: list[Any] = []

    def fit(self: keras.Model, x: Any, **options: Any) -> None:
        seen.append(options)
        steps = options["steps_per_epoch"]
        seen.extend(x[k] for k in range(len(x))) if hasattr(x, "__len__") else seen.extend(
            next(x) for _ in range(steps)
        )

    monkeypatch.setattr(keras.Model, "fit", fit)
    return seen


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


# --- What is adapted -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["generator", "sequence", "a sequence of one's own", "PyDataset"])
def test_batches_become_those_of_the_loader(model, config, monkeypatch, kind):
    sequence = DataGenerator(Squares(4), config)
    source = {
        "generator": data_generator(Squares(4), config, batch_size=2),
        "sequence": sequence,
        "a sequence of one's own": [sequence[0], sequence[1]],
        "PyDataset": _PyDataset(sequence),
    }[kind]
    if isinstance(source, list):
        source = _Plain(source)
    seen = seen_by(model, monkeypatch)
    model.fit(source, steps_per_epoch=2)
    with Loader(SampleStream.of(Squares(4), config, seed=config.SEED), workers=0) as loader:
        for step, (batch,) in enumerate(seen[1:]):
            assert_same(batch, loader.batch(step))


class _Plain:
    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Any:
        return self.batches[index]


class _PyDataset(keras.utils.PyDataset):
    def __init__(self, sequence: DataGenerator) -> None:
        super().__init__(workers=2, max_queue_size=3)
        self.sequence, self.ended = sequence, 0

    def __len__(self) -> int:
        return len(self.sequence)

    def __getitem__(self, index: int) -> Any:
        return self.sequence[index]

    def on_epoch_end(self) -> None:
        self.ended += 1


def test_an_epoch_may_be_longer_than_a_pass(model, config, monkeypatch):
    """Five images in batches of two: every batch is full, and each image comes equally often."""
    seen = seen_by(model, monkeypatch)
    model.fit(DataGenerator(Squares(5), config), steps_per_epoch=5)
    ids = [int(i) for (batch,) in seen[1:] for i in batch["input_image_meta"][:, 0]]
    assert sorted(ids) == sorted([*range(5)] * 2)


def test_without_steps_a_sequence_gives_a_pass(model, config, monkeypatch):
    seen = seen_by(model, monkeypatch)
    model.fit(DataGenerator(Squares(5), config))
    assert seen[0]["steps_per_epoch"] == 3


def test_the_arguments_of_keras_2(model, config, monkeypatch, caplog):
    seen = seen_by(model, monkeypatch)
    with caplog.at_level("INFO", "mrcnn"):
        model.fit_generator(
            generator(config),
            2.5,
            epochs=3,
            initial_epoch=1,
            validation_data=generator(config),
            validation_steps=1,
            max_queue_size=100,
            workers=4,
            use_multiprocessing=True,
        )
    options = seen[0]
    assert options["steps_per_epoch"] == 3 and options["epochs"] == 3
    assert options["initial_epoch"] == 1 and options["validation_steps"] == 1
    assert not {"workers", "use_multiprocessing", "max_queue_size"} & options.keys()
    assert "have no effect" in caplog.text
    batch = next(options["validation_data"])
    assert set(batch[0]) == {tensor.name for tensor in model.inputs}


def test_what_keras_takes_itself_is_left_to_it(model, monkeypatch):
    given: list[Any] = []
    monkeypatch.setattr(keras.Model, "fit", lambda self, x, **options: given.append(x))
    for data in (None, {"input_image": np.zeros(2)}, np.zeros((2, 3)), [np.zeros(2)]):
        model.fit(data)
        assert given.pop() is data


# --- What is refused ------------------------------------------------------------------------------


def test_another_number_of_images_is_refused(model, config):
    with pytest.raises(ValueError, match="1 images: expected 2.*batch_size=config.BATCH_SIZE"):
        model.fit(data_generator(Squares(), config), steps_per_epoch=1, verbose=0)


def test_targets_of_the_heads_are_refused(model, config):
    batches = generator(config, random_rois=8, detection_targets=True)
    with pytest.raises(ValueError, match="Leave out detection_targets|leave out detection_targets"):
        model.fit(batches, steps_per_epoch=1, verbose=0)


# --- Training --------------------------------------------------------------------------------


def test_single_batches(model, config):
    inputs, outputs = next(generator(config))
    model.run_eagerly = True  # tracing takes long, and the test below has it
    try:
        loss = model.test_on_batch(inputs, outputs, return_dict=True)["loss"]
        before = model.get_layer("conv1").get_weights()[0]
        model.train_on_batch(inputs, outputs)
    finally:
        model.run_eagerly = False
    assert np.isfinite(loss)
    assert not np.array_equal(before, model.get_layer("conv1").get_weights()[0])


def test_fit_and_evaluate(model, config):
    validation = _PyDataset(DataGenerator(Squares(4), config))
    history = model.fit(
        DataGenerator(Squares(), config),
        steps_per_epoch=2,
        epochs=2,
        verbose=0,
        validation_data=validation,
    )
    assert len(history.history["val_loss"]) == 2 and validation.ended >= 2
    assert np.isfinite(history.history["loss"]).all()
    found = model.evaluate_generator(generator(config), steps=1, return_dict=True, verbose=0)
    assert np.isfinite(found["mrcnn_mask_loss"])


def test_given_proposals():
    config = tiny_config(USE_RPN_ROIS=False)
    model = training_model.build(config)
    inputs, _ = next(generator(config, random_rois=config.POST_NMS_ROIS_TRAINING))
    batch = model._batch(inputs)
    assert {name: values.shape for name, values in batch.items()} == {
        tensor.name: tuple(tensor.shape) for tensor in model.inputs
    }
    np.testing.assert_array_equal(batch["input_rois"], inputs[7])
