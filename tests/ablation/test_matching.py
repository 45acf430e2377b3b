"""The factor of the mask loss that makes gradients as large as another arm's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mrcnn.ablation import matching
from mrcnn.ablation.arms import ARMS
from mrcnn.ablation.run import RunSpec, start_model
from mrcnn.config import Config
from mrcnn.datasets.coco import CocoDataset
from mrcnn.datasets.shapes import write_shapes
from mrcnn.training.compile import set_trainable
from mrcnn.training.gradients import GradientProbe
from mrcnn.training.stages import Stage
from tests.tiny import TinyConfig

SETTINGS: dict[str, Any] = {
    name: value
    for name, value in vars(TinyConfig).items()
    if name.isupper() and name not in ("NAME", "NUM_CLASSES")
} | {"TRAIN_BN": None, "USE_RPN_ROIS": False}  # an untrained RPN proposes no object


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> CocoDataset:
    folder = tmp_path_factory.mktemp("shapes")
    write_shapes(folder, 4, 1, (64, 64))
    return CocoDataset.of(str(folder), "train", "", ground_truth=False)


def spec_of(folder: Path, stages: list[Stage]) -> RunSpec:
    return RunSpec(
        dataset="",
        year="",
        train_subset="train",
        val_subset="val",
        settings={**SETTINGS, **ARMS["sobel-l2"]},
        stages=stages,
        seed=0,
        model="none",
        exclude=[],
        initial_weights=str(folder / "initial.h5"),
        limit=0,
        dilation_ratio=0.02,
        box_only=False,
    )


def test_the_factor_makes_the_norms_equal(images: CocoDataset, tmp_path: Path):
    spec = spec_of(tmp_path, [Stage("mrcnn_mask.*", 0.02, 1)])
    found = matching.measure(spec, "sobel-l2", SETTINGS, images)
    assert found.batches == found.steps == 1 and found.reference == "sobel-l2"
    assert found.factor == found.lowest == found.highest > 1
    # The control on the same batch, with the factor in its settings.
    control = start_model(spec, images.num_classes, tmp_path / "logs", found.apply(SETTINGS))
    set_trainable(control.keras_model, "mrcnn_mask.*")
    control.keras_model.weight_decay = 0.0
    (batch,) = matching._batches(control, spec, images)
    _, norms = GradientProbe(control.keras_model, control.config)(batch)
    assert all(path.startswith("mrcnn_mask") for path in norms)
    total = np.sqrt(sum(norm**2 for norm in norms.values()))
    assert total == pytest.approx(found.reference_norm, rel=1e-4)
    assert total == pytest.approx(found.factor * found.norm, rel=1e-4)


def test_the_batches_are_spread_over_the_training(monkeypatch, tmp_path: Path):
    """What is measured is told by a stand-in for the networks: the number of the step."""

    class Network:
        def get_weights(self):
            return []

        def set_weights(self, weights):
            pass

        def train_on_batch(self, batch):
            trained.append(batch)

    class Model:
        def __init__(self, *args):
            self.keras_model, self.config = Network(), Config()

        def compile(self, rate, momentum, steps):
            compiled.append((rate, steps))

    trained: list[int] = []
    compiled: list[tuple[float, int]] = []
    seen: list[int] = []

    def probe(model, config):
        def norms(batch):
            seen.append(batch)
            return {}, {"mrcnn_mask/kernel": 3.0, "mrcnn_mask/bias": 4.0, "fpn_p2/kernel": 99.0}

        return norms

    def layers_of(model, layers):
        return [SimpleNamespace(name="mrcnn_mask" if layers == "heads" else "fpn_p2")]

    monkeypatch.setattr(matching, "start_model", Model)
    monkeypatch.setattr(matching, "matching_layers", layers_of)
    monkeypatch.setattr(matching, "_batches", lambda *args: iter(range(10)))
    for name in ("set_trainable", "set_trained_losses"):
        monkeypatch.setattr(f"mrcnn.training.compile.{name}", lambda model, chosen: None)
    monkeypatch.setattr("mrcnn.training.gradients.GradientProbe", probe)
    stages = [Stage("heads", 0.1, 3), Stage("fpn_.*", 0.2, 3), Stage("heads", 0.2, 4)]
    images = SimpleNamespace(num_classes=2)
    found = matching.measure(spec_of(tmp_path, stages), "sobel", SETTINGS, images, batches=4)
    assert trained == list(range(10)) and compiled == [(0.1, 3), (0.2, 3), (0.2, 4)]
    assert seen[::2] == seen[1::2] == [0, 2, 7, 9]  # of 0, 1, 2 and 6 to 9
    assert (found.batches, found.steps, found.norm, found.factor) == (4, 10, 5, 1)


def test_a_frozen_mask_branch_has_no_gradient_to_match(images: CocoDataset, tmp_path: Path):
    spec = spec_of(tmp_path, [Stage("rpn_.*", 0.02, 1)])
    with pytest.raises(ValueError, match="in which the mask branch learns"):
        matching.measure(spec, "sobel-l2", SETTINGS, images, batches=1)


def test_learned_weights_of_losses_are_refused(tmp_path: Path):
    spec = spec_of(tmp_path, [Stage("all", 0.02, 1)])
    spec = replace(spec, settings={**spec.settings, "UNCERTAINTY_WEIGHTING": True})
    with pytest.raises(ValueError, match="UNCERTAINTY_WEIGHTING"):
        matching.measure(spec, "sobel-l2", SETTINGS, None)


def test_means_of_the_norms_are_what_is_matched():
    norms = np.array([[3.0, 1.0], [1.0, 1.0]])  # of the reference, of the mask loss
    found = matching._summary(norms, "sobel", steps=9, seed=4)
    assert (found.factor, found.reference_norm, found.norm) == (2, 2, 1)
    assert (found.lowest, found.highest, found.batches, found.steps, found.seed) == (1, 3, 2, 9, 4)
    assert "times 2.000" in found.describe("control") and "seed 4, 9 steps" in found.describe("c")
    with pytest.raises(ValueError, match="above 0"):
        matching._summary(np.array([[1.0, 0.0]]), "sobel", steps=1, seed=0)


def test_the_factor_comes_on_top_of_the_weight_that_is_given():
    given = {"LOSS_WEIGHTS": {**Config.LOSS_WEIGHTS, "mrcnn_mask_loss": 3.0}, "SEED": 1}
    found = matching.with_factor(given, 2.0)
    assert found["LOSS_WEIGHTS"]["mrcnn_mask_loss"] == 6 and found["SEED"] == 1
    assert given["LOSS_WEIGHTS"]["mrcnn_mask_loss"] == 3
    plain = matching.with_factor({}, 2.0)["LOSS_WEIGHTS"]
    assert plain["mrcnn_mask_loss"] == 2 and plain["rpn_class_loss"] == 1
