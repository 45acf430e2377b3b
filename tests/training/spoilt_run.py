"""A run that ends in a loss that is not finite."""

from __future__ import annotations

from pathlib import Path

import keras
import pytest

from benchmarks.stand_in import Squares, StandIn, StandInConfig
from mrcnn.runs import settings as runs_settings
from mrcnn.training.loss_guard import NonFiniteLossError


class Jump(keras.optimizers.schedules.LearningRateSchedule):
    """A rate of 1e-3 for some updates, then another."""

    def __init__(self, updates: int, rate: float) -> None:
        self.updates, self.rate = updates, rate

    def __call__(self, step):
        return keras.ops.where(step < self.updates, 1e-3, self.rate)


def train_with_rates(
    folder: Path, steps: int, rate: float, validate: bool
) -> tuple[StandIn, NonFiniteLossError]:
    """A run with a rate of 1e-3 for some steps, then with another."""
    settings = {"CHECKPOINT_STEPS": 3, "GRADIENT_CLIP_NORM": 0, "CHECKPOINT_MINUTES": None}
    config = runs_settings.configure(StandInConfig, settings)
    config.OPTIMIZER = lambda _: keras.optimizers.SGD(Jump(steps, rate))
    keras.utils.set_random_seed(0)
    model = StandIn("training", config, folder)
    val_set = Squares().add(3) if validate else None
    with pytest.raises(NonFiniteLossError) as raised:
        model.train(Squares().add(7), val_set, 1e-3, epochs=3, layers="all")
    return model, raised.value
