"""The batches that Keras's `fit` gets."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.stand_in import Squares, StandInConfig, build_network
from mrcnn.runs import settings as runs_settings
from mrcnn.training.batches import Batches, TrainingData
from mrcnn.training.model import TrainingModel

CONFIG = runs_settings.configure(StandInConfig, {"VALIDATION_STEPS": 2})


@pytest.fixture(scope="module")
def model() -> TrainingModel:
    return build_network(CONFIG)


def ids(batch: dict[str, np.ndarray]) -> list[int]:
    return [int(image_id) for image_id in batch["input_image_meta"][:, 0]]


def test_steps_are_the_same_from_wherever_one_begins(model):
    with Batches(model, TrainingData(Squares().add(5)), CONFIG) as batches:
        first = [ids(batch) for (batch,) in batches.between(0, 4)]
        again = [ids(batch) for (batch,) in batches.between(2, 4)]
    assert len(first) == 4 and again == first[2:]


def test_a_message_names_the_images_of_a_step(model):
    with Batches(model, TrainingData(Squares().add(5)), CONFIG) as batches:
        ((batch,),) = batches.between(3, 4)
        text = batches.describe_images(3)
    assert text.count(";") == 1
    assert all(f"id {image_id}," in text for image_id in ids(batch))


def test_every_epoch_is_validated_on_the_same_batches(model):
    data = TrainingData(Squares().add(5), Squares().add(6))
    with Batches(model, data, CONFIG) as batches:
        assert batches.validation["validation_steps"] == 2
        found = batches.validation["validation_data"]
        epochs = []
        for _ in range(2):
            epochs.append([ids(found[number][0]) for number in range(2)])
            found.on_epoch_end()
    assert len(found) == 2 and epochs == [[[0, 1], [2, 3]]] * 2


@pytest.mark.parametrize(
    ("val_dataset", "steps"), [(None, 2), (Squares().add(2), 0)], ids=["no set", "no steps"]
)
def test_without_validation_there_are_no_keywords(model, val_dataset, steps):
    config = runs_settings.configure(StandInConfig, {"VALIDATION_STEPS": steps})
    with Batches(model, TrainingData(Squares().add(2), val_dataset), config) as batches:
        assert batches.validation == {}


def test_an_empty_data_set_is_named(model):
    with pytest.raises(ValueError, match="has no images"):
        Batches(model, TrainingData(Squares().add(0)), CONFIG)
