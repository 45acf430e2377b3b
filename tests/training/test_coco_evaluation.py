"""COCO's metrics while training: the same as after it, and what follows from them."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import keras
import numpy as np
import pytest

from mrcnn.evaluation.coco import evaluate_model
from mrcnn.evaluation.ground_truth import coco_ground_truth
from mrcnn.model import MaskRCNN
from mrcnn.runs.trained import open_run
from mrcnn.training.coco_evaluation import (
    METRICS,
    CocoEvaluation,
    Patience,
    copy_weights,
    evaluation_config,
    evaluations_without_gain,
)
from tests.test_model import Squares
from tests.tiny import TinyConfig, tiny_config

SETTINGS = {"STEPS_PER_EPOCH": 2}


def squares(count: int) -> Squares:
    return Squares().add(count)


def rows(log_dir) -> list[dict[str, str]]:
    with open(Path(log_dir) / "losses.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> MaskRCNN:
    """Three epochs, evaluated after the second and the last one."""
    config = tiny_config(**SETTINGS, EVALUATION_EPOCHS=2, CHECKPOINT_METRIC="val_segm_AP")
    model = MaskRCNN("training", config, tmp_path_factory.mktemp("logs"))
    model.train(squares(4), squares(6), learning_rate=0.001, epochs=3, layers="all")
    return model


def test_metrics_stand_beside_the_losses_of_the_epochs_that_were_evaluated(run: MaskRCNN):
    found = rows(run.log_dir)
    assert METRICS.keys() <= found[0].keys()
    assert [row["val_segm_AP"] == "" for row in found] == [True, False, False]
    assert all(row["val_loss"] for row in found)
    assert (Path(run.log_dir) / "mask_rcnn_tiny_best.h5").exists()


def test_they_are_those_of_an_evaluation_of_the_weights(run: MaskRCNN):
    val_set = squares(6)
    model = open_run(run.log_dir, TinyConfig, every_detection=True)
    metrics = evaluate_model(
        model.detector, val_set, coco_ground_truth(val_set, progress=False), progress=False
    ).metrics
    last = rows(run.log_dir)[-1]
    for name in ("val_segm_AP", "val_segm_AP50", "val_bbox_AP"):
        kind, metric = METRICS[name]
        assert float(last[name]) == pytest.approx(metrics[kind][metric], abs=1e-6)


def test_training_is_the_same_with_and_without(run: MaskRCNN, tmp_path):
    model = MaskRCNN("training", tiny_config(**SETTINGS), tmp_path)
    model.train(squares(4), squares(6), learning_rate=0.001, epochs=3, layers="all")
    for one, other in zip(model.keras_model.weights, run.keras_model.weights, strict=True):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other)
        )
    assert [row["loss"] for row in rows(model.log_dir)] == [
        row["loss"] for row in rows(run.log_dir)
    ]


def test_keras_callbacks_and_scripts_take_them(tmp_path):
    """As in Python: the callback first, then those that watch its metrics."""

    class Constant(CocoEvaluation):
        def evaluate(self) -> dict[str, float]:
            return dict.fromkeys(METRICS, 0.25)

    model = MaskRCNN("training", tiny_config(**SETTINGS), tmp_path)
    watched = [
        Constant(squares(2), model.config),
        keras.callbacks.EarlyStopping("val_segm_AP", mode="max", patience=2),
    ]
    model.train(squares(4), squares(2), 0.001, epochs=6, layers="heads", custom_callbacks=watched)
    assert model.epoch == 3  # the first value was the best


def test_patience_ends_a_stage_and_the_next_one_follows(tmp_path, caplog):
    caplog.set_level("INFO", "mrcnn")
    config = tiny_config(**SETTINGS, PATIENCE=2, CHECKPOINT_METRIC="val_segm_AP50")
    model = MaskRCNN("training", config, tmp_path)

    class Falling(CocoEvaluation):
        count = 0

        def evaluate(self) -> dict[str, float]:
            Falling.count += 1
            return dict.fromkeys(METRICS, 1 / Falling.count)

    callback = Falling(squares(2), config)
    for last in (9, 12):
        model.train(
            *(squares(4), squares(2), 0.001),
            epochs=last,
            layers="heads",
            custom_callbacks=[callback],
        )
    assert "has not become better for 2 evaluations" in caplog.text
    # Of nine epochs three were trained, and of the next three all: it had three chances of its own.
    assert model.epoch == 6


@pytest.mark.parametrize(
    ("values", "lower", "expected"),
    [
        ([], False, 0),
        ([1.0], False, 0),
        ([1.0, 2.0, 2.0, 1.5], False, 2),
        ([0.0, 0.0, 0.0], False, 0),
        ([0.0, 0.0, 0.5, 0.0], False, 1),
        ([3.0, 2.0, 2.5], True, 1),
        ([3.0, 2.0, 1.0], True, 0),
    ],
)
def test_evaluations_without_gain(values, lower, expected):
    assert evaluations_without_gain(values, lower) == expected


def test_what_cannot_be(tmp_path):
    config = tiny_config(**SETTINGS, EVALUATION_EPOCHS=1)
    model = MaskRCNN("training", config, tmp_path)
    with pytest.raises(ValueError, match="expected a validation set"):
        model.train(squares(4), None, 0.001, epochs=1, layers="heads")
    with pytest.raises(ValueError, match="at least 1"):
        CocoEvaluation(squares(2), config, every=0)
    with pytest.raises(ValueError, match="at least 1"):
        Patience(tmp_path / "losses.csv", "loss", 0, 0)
    file = tmp_path / "losses.csv"
    file.write_text("epoch,loss\n1,2.0\n")
    patience = Patience(file, "val_segm_AP", 2, 0)
    with pytest.raises(ValueError, match="it has loss"):
        patience.on_epoch_end(0, {})


def test_some_of_the_images_spread_over_all():
    callback = CocoEvaluation(squares(10), tiny_config(**SETTINGS), limit=3)
    assert callback._image_ids == [0, 3, 6]


def test_a_network_that_trains_on_windows_is_evaluated_on_whole_images():
    config = tiny_config(IMAGE_RESIZE_MODE="crop", IMAGE_MIN_DIM_RANGE=(64, 80))
    found = evaluation_config(config)
    assert found.IMAGE_RESIZE_MODE != "crop" and found.IMAGE_MIN_DIM_RANGE is None
    assert found.DETECTION_MIN_CONFIDENCE == 0 and config.IMAGE_RESIZE_MODE == "crop"


def test_layers_that_are_missing_are_named():
    one = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="a")])
    other = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="b")])
    with pytest.raises(ValueError, match="'b'"):
        copy_weights(one, other)


def test_nothing_to_find_is_no_number(tmp_path):
    callback = CocoEvaluation(squares(2), tiny_config(**SETTINGS))
    callback.set_params({"epochs": 9})
    callback._every = 5
    logs: dict[str, float] = {"loss": 1.0}
    callback.set_model(keras.Sequential())
    callback.model.stop_training = False
    callback.on_epoch_end(0, logs)
    assert all(math.isnan(logs[name]) for name in METRICS)
