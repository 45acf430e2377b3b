"""Writes the exact state of training into the log folder: when, with what header, what is kept.

The header of a state holds:

- `kind`: "state", or "replay" (see `mrcnn.training.nonfinite`);
- `step`: the steps done in all; `epoch`: the epochs done; `epoch_step`: the steps done in the
  epoch under way (all of its steps where only its validation is missing); `steps_per_epoch`;
- `settings`, `data`, `validation`, `stage`, `augmentation`, `no_augmentation_sources` and
  `versions`: see `mrcnn.checkpoints.identity.RunIdentity`;
- `finished`: whether the stage is done, by its last epoch or because a callback ended it;
- `best`: metric, value and step of the best state so far, or null.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mrcnn.checkpoints import folders, retention, state_file, variables
from mrcnn.checkpoints.identity import RunIdentity
from mrcnn.checkpoints.state_file import State
from mrcnn.config import Config
from mrcnn.logger import logger


class StateWriter:
    """Writes the states of one call of `mrcnn.training.trainer.fit`.

    Args:
        model: compiled.
        config: settings.
        identity: of the run, for the headers.
        log_dir: folder of the run.
        writes: whether anything is written; another process of the training does it otherwise.

    Raises:
        ValueError: the disk budget has no room for two states, or CHECKPOINT_METRIC is a loss of
            the validation and there is no validation.
    """

    def __init__(
        self,
        model: keras.Model,
        config: Config,
        identity: RunIdentity,
        log_dir: str | os.PathLike[str],
        writes: bool = True,
    ) -> None:
        self.model = model
        self.writes = writes
        self.config = config
        self.log_dir = Path(log_dir)
        validated = identity.validation is not None and config.VALIDATION_STEPS > 0
        self.metric = config.CHECKPOINT_METRIC or ("val_loss" if validated else "loss")
        is_validation_loss = self.metric.startswith("val_") and self.metric.endswith("loss")
        if is_validation_loss and not validated:
            missing = (
                "a validation set" if identity.validation is None else "VALIDATION_STEPS above 0"
            )
            raise ValueError(
                f"CHECKPOINT_METRIC: {self.metric!r} expects {missing}; received none. Choose "
                "another metric, such as 'loss'."
            )
        self.best: dict[str, Any] | None = None
        self.header = {
            "kind": "state",
            **identity.as_header(),
            "steps_per_epoch": config.STEPS_PER_EPOCH,
        }
        self.timetable = identity.stage.timetable(config.STEPS_PER_EPOCH)
        self.size = retention.expected_size(variables.values_of(model))
        retention.check_budget(self.size, config.CHECKPOINT_DISK_BUDGET)
        self._written: tuple[int, int] | None = None
        self._last_time = time.monotonic()

    def begin(self, step: int, state: State | None) -> None:
        """Prepare the folder for training from a step on.

        Unfinished files of killed processes are removed. Without a state to continue from, the
        start is written as one, so that a run can be resumed from its first step on. States of
        later steps belong to what is now trained anew: they get another name.

        Args:
            step: steps done.
            state: that training continues from, or None.
        """
        if not self.writes:
            return
        removed = folders.remove_unfinished(self.log_dir)
        if removed:
            logger.info("Removed unfinished files of a killed run: %s.", ", ".join(removed))
        if state is None:
            self.best = self._best_before(step)
            epoch = self.timetable.epoch_of(step)
            self.write(epoch, step - self.timetable.step(epoch))
        else:
            self.best = state.header["best"]
            self._keep_best_weights()
            self._written = (state.header["epoch"], state.header["epoch_step"])
        for later, name in folders.states_in(self.log_dir).items():
            if later > step:
                path = self.log_dir / name
                os.replace(path, path.with_name(f"{name}.unused"))
                logger.warning(
                    "%s: training continues from step %d, so this state is renamed to %s.unused.",
                    *(path, step, name),
                )

    def _best_before(self, step: int) -> dict[str, Any] | None:
        """The best state of the stages before this one, which may be in the folder."""
        try:
            before, _ = state_file.newest_state(self.log_dir, up_to=step)
        except state_file.StateError as error:
            logger.warning("The best state so far is forgotten: %s", error)
            return None
        return before.header["best"] if before else None

    def is_due(self, step: int) -> bool:
        """Whether CHECKPOINT_STEPS or CHECKPOINT_MINUTES ask for a state before this step."""
        steps, minutes = self.config.CHECKPOINT_STEPS, self.config.CHECKPOINT_MINUTES
        if steps is not None and step % steps == 0:
            return True
        return minutes is not None and time.monotonic() - self._last_time >= 60 * minutes

    def write(
        self,
        epoch: int,
        epoch_step: int,
        overrides: Mapping[int, np.ndarray] | None = None,
        finished: bool = False,
    ) -> str:
        """Write the state, unless it is written already, and delete what need not stay.

        Args:
            epoch: epochs done.
            epoch_step: steps done in the epoch under way.
            overrides: see `mrcnn.checkpoints.variables.values_of`.
            finished: whether a callback has ended the stage before its last epoch.

        Returns:
            The path.

        Raises:
            OSError: the disk is full; nothing was deleted.
            NonFiniteWeightsError: the weights are not finite; nothing was written.
        """
        step = self.timetable.step(epoch, epoch_step)
        path = folders.state_path(self.log_dir, step)
        if not self.writes or self._written == (epoch, epoch_step):
            return path
        variables.synchronize(self.model)
        retention.check_free_space(self.log_dir, self.size)
        position = {"step": step, "epoch": epoch, "epoch_step": epoch_step}
        done = finished or epoch >= self.timetable.last_epoch
        header = {**self.header, **position, "finished": done, "best": self.best}
        state_file.write_state(path, header, variables.values_of(self.model, overrides))
        self._written = (epoch, epoch_step)
        self._last_time = time.monotonic()
        best_step = self.best["step"] if self.best else None
        budget = self.config.CHECKPOINT_DISK_BUDGET
        retention.remove_old(self.log_dir, self.config.CHECKPOINTS_KEPT, best_step, budget)
        return path

    def write_epoch(self, epoch: int, logs: Mapping[str, float], finished: bool = False) -> str:
        """Write the state at the end of an epoch, counted from 0, and note if it is the best.

        Raises:
            ValueError: the logs lack CHECKPOINT_METRIC; the state was written.
        """
        value = logs.get(self.metric)
        if value is not None and self._is_better(value):
            step = self.timetable.step(epoch + 1)
            best = {"metric": self.metric, "value": float(value), "step": step}
            self.best = {**best, "epoch": epoch + 1}
        path = self.write(epoch + 1, 0, finished=finished)
        self._keep_best_weights()
        if value is None:
            raise ValueError(
                f"CHECKPOINT_METRIC: expected one of {sorted(logs)}; received {self.metric!r}. "
                f"The state of the epoch is safe: {path}."
            )
        return path

    def _keep_best_weights(self) -> None:
        if self.writes and self.best is not None and "epoch" in self.best:
            folders.keep_best(self.log_dir, self.config.NAME, self.best["epoch"])

    def _is_better(self, value: float) -> bool:
        if not math.isfinite(value):
            return False
        if self.best is None or self.best["metric"] != self.metric:  # another one than before
            return True
        lower = self.metric.endswith("loss")
        return value < self.best["value"] if lower else value > self.best["value"]
