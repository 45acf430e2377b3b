"""Alternating training: in each step exactly its layers learn, from exactly its losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from benchmarks import kills
from benchmarks.stand_in import Squares, StandIn, StandInConfig
from mrcnn.checkpoints.stages_file import read_stages
from mrcnn.config import LOSS_NAMES
from mrcnn.runs import settings as runs_settings
from mrcnn.training import compile, stages
from mrcnn.training import model as training_model
from mrcnn.training.stages import Stage
from tests.tiny import tiny_batch, tiny_config

STEPS = stages.schedule("alternating")
# Some proposals of an untrained RPN are positive, so that all branches have something to learn.
LEARNING = {"ROI_POSITIVE_IOU": 0.1, "TRAIN_BN": None, "EDGE_LOSS_FILTERS": ["sobel"]}
FEATURES, RPN, BRANCHES = "features", "rpn", "branches"
LEARNS = [{FEATURES, RPN}, {FEATURES, BRANCHES}, {RPN}, {BRANCHES}]


def group_of(variable: keras.Variable) -> str:
    """The part of the network that a variable belongs to."""
    layer = variable.path.split("/")[-2]
    return {"rpn": RPN, "mrcnn": BRANCHES}.get(layer.split("_")[0], FEATURES)


def values_of(model: keras.Model) -> dict[str, np.ndarray]:
    return {variable.path: np.array(variable) for variable in model.weights}


def one_step(model: training_model.TrainingModel, config: Any, stage: Stage) -> dict[str, float]:
    compile.set_trainable(model, stage.layers)
    compile.set_trained_losses(model, stage.losses)
    compile.compile_model(model, config, 0.05, 0.9)
    # Quicker than tracing for one step; JAX without compiling is not.
    model.run_eagerly = keras.backend.backend() == "tensorflow"
    return model.train_on_batch(tiny_batch(config), return_dict=True)


@pytest.fixture(scope="module")
def network() -> tuple[training_model.TrainingModel, Any]:
    keras.utils.set_random_seed(0)
    config = tiny_config(**LEARNING, UNCERTAINTY_WEIGHTING=True)
    return training_model.build(config), config


def test_there_are_four_steps_as_ren_et_al_have_them():
    assert [stage.losses for stage in STEPS] == ["rpn", "branches", "rpn", "branches"]
    assert [stage.steps for stage in STEPS] == [80_000, 40_000, 80_000, 40_000]


@pytest.mark.parametrize("number", range(4))
def test_exactly_the_variables_of_a_step_move(network, number: int):
    model, config = network
    before = values_of(model)
    losses = one_step(model, config, STEPS[number])
    assert all(np.isfinite(losses[name]) and losses[name] > 0 for name in LOSS_NAMES), losses
    moved: dict[str, list[bool]] = {FEATURES: [], RPN: [], BRANCHES: []}
    statistics: dict[str, list[bool]] = {FEATURES: [], BRANCHES: []}
    for variable in model.weights:
        if "seed_generator" in variable.path or "loss_weights" in variable.path:
            continue
        changed = bool(np.any(before[variable.path] != np.array(variable)))
        kind = statistics if variable.name.startswith("moving_") else moved
        kind[group_of(variable)].append(changed)
    for group, found in (*moved.items(), *statistics.items()):
        assert found
        if group not in LEARNS[number]:
            assert not any(found), (group, "of which nothing may move")
        else:
            # Deltas of classes without a RoI have no gradient, and momentum and decay none either.
            assert np.mean(found) > 0.9, (group, found)


@pytest.mark.parametrize("number", range(4))
def test_the_learned_weights_of_other_losses_stay(network, number: int):
    model, config = network
    (variable,) = model.get_layer("mrcnn_loss_weights").weights
    before = np.array(variable)
    one_step(model, config, STEPS[number])
    moved = [name for name, x in zip(LOSS_NAMES, before != np.array(variable), strict=True) if x]
    assert moved == list(stages.trained_losses(STEPS[number].losses))


@pytest.mark.parametrize("number", [0, 1])
def test_features_learn_what_they_would_if_the_other_losses_weighed_nothing(number: int):
    """The naive way: factors of 0, whose gradients are computed and are 0."""
    stage = STEPS[number]
    ends = []
    for weights, losses in (
        ({}, stage.losses),
        ({n: 0.0 for n in LOSS_NAMES if n not in stages.trained_losses(stage.losses)}, "all"),
    ):
        keras.utils.set_random_seed(0)
        config = tiny_config(**LEARNING, LOSS_WEIGHTS=weights, GRADIENT_CLIP_NORM=None)
        model = training_model.build(config)
        shown = one_step(model, config, Stage(stage.layers, 0.05, 1, losses))
        ends.append((values_of(model), shown))
    for path, value in ends[0][0].items():
        np.testing.assert_allclose(value, ends[1][0][path], rtol=1e-4, atol=1e-6, err_msg=path)
    assert ends[0][1]["loss"] == pytest.approx(ends[1][1]["loss"], rel=1e-5)


def test_the_total_is_of_the_losses_that_train():
    config = tiny_config(**LEARNING, WEIGHT_DECAY=0.0)
    keras.utils.set_random_seed(0)
    model = training_model.build(config)
    for losses in ("rpn", "branches", "all", "mrcnn_mask.*"):
        shown = one_step(model, config, Stage("all", 0.05, 1, losses))
        total = sum(shown[name] for name in stages.trained_losses(losses))
        assert shown["loss"] == pytest.approx(total, rel=1e-5)
        assert set(LOSS_NAMES) <= shown.keys()  # the others are shown all the same


def test_the_total_of_a_validation_is_of_all_losses():
    """Else an epoch of the RPN's step would seem better than any of the branches'."""
    config = tiny_config(**LEARNING, WEIGHT_DECAY=0.0, USE_RPN_ROIS=False)  # some are positive
    keras.utils.set_random_seed(0)
    model = training_model.build(config)
    one_step(model, config, STEPS[0])
    shown = model.test_on_batch(tiny_batch(config), return_dict=True)
    total = sum(shown[name] for name in LOSS_NAMES)
    assert shown["loss"] == pytest.approx(total, rel=1e-5) and shown["mrcnn_mask_loss"] > 0
    model.reset_metrics()
    again = model.train_on_batch(tiny_batch(config), return_dict=True)
    expected = again["rpn_class_loss"] + again["rpn_bbox_loss"]
    assert again["loss"] == pytest.approx(expected, rel=1e-5)  # training is as before


def test_losses_that_the_model_lacks_are_named():
    model = training_model.build(tiny_config())
    with pytest.raises(ValueError, match="mrcnn_mask_edge_loss; expected some of the model's"):
        compile.set_trained_losses(model, "mrcnn_mask_edge_loss")
    with pytest.raises(ValueError, match="losses: expected one of .*branches.*received 'heads'"):
        Stage("all", 0.1, 1, "heads")
    with pytest.raises(ValueError, match=r"received '\('"):
        stages.trained_losses("(")


# --- Stopped and resumed --------------------------------------------------------------------


class CrashError(Exception):
    """What a run dies of here."""


class CrashAt(keras.callbacks.Callback):
    def __init__(self, step: int) -> None:
        super().__init__()
        self.left = step

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self.left == 0:
            raise CrashError
        self.left -= 1


def train(folder: Path, crash_at: int = -1, chosen: list[Stage] | None = None) -> StandIn:
    config = runs_settings.configure(StandInConfig, {"STEPS_PER_EPOCH": 2, "CHECKPOINT_STEPS": 1})
    keras.utils.set_random_seed(0)
    model = StandIn("training", config, folder)
    chosen = chosen or stages.of_rate(stages.of_length(STEPS, 12), 0.02)
    model.train_stages(
        *(Squares().add(7), Squares().add(4), chosen),
        resume=True,
        custom_callbacks=[CrashAt(crash_at)],
    )
    return model


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    train(folder)
    return folder


@pytest.mark.parametrize("steps", [3, 4, 7, 11])  # in each of the four, and between two
def test_a_run_that_was_stopped_in_any_step_ends_as_one_that_was_not(
    whole: Path, tmp_path: Path, steps: int
):
    with pytest.raises(CrashError):
        train(tmp_path, crash_at=steps)
    train(tmp_path)
    ends = kills.end(tmp_path), kills.end(whole)
    assert ends[0]["losses"] == ends[1]["losses"]
    assert ends[0]["state"] == ends[1]["state"]
    (run,), (other,) = tmp_path.iterdir(), whole.iterdir()
    assert read_stages(run) == read_stages(other)
    assert [stage.losses for stage in read_stages(run)] == ["rpn", "branches"] * 2


def test_a_step_is_not_continued_with_other_losses(tmp_path: Path):
    with pytest.raises(CrashError):
        train(tmp_path, crash_at=3)
    with pytest.raises(ValueError, match="losses expected 'rpn', received 'all'"):
        train(tmp_path, chosen=[Stage("features+rpn", 0.02, 4)])
