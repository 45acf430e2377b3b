"""Keras's callbacks for training that can begin in the middle of an epoch, and be stopped.

`RunCallbacks` makes several calls of `fit` one training for the callbacks in it. `BeforeSteps`
and `AfterEpochs` write the states: the one comes first in the list, so that a state is what the
step before left, the other last, so that an epoch's state holds what other callbacks changed.
`SaveEpoch` and `TensorBoard` write what people look at: weights and losses.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from mrcnn.checkpoints import folders, variables
from mrcnn.checkpoints.losses_file import append_losses
from mrcnn.checkpoints.state_file import State
from mrcnn.checkpoints.variables import NonFiniteWeightsError
from mrcnn.checkpoints.writer import StateWriter
from mrcnn.logger import logger
from mrcnn.training import hosts
from mrcnn.training.interrupts import StopRequest
from mrcnn.training.loss_guard import LossGuard, NonFiniteLossError
from mrcnn.weights.matterport import save_weights

Logs = Mapping[str, float] | None


class RunCallbacks(keras.callbacks.CallbackList):
    """Callbacks that see one training, whatever the number of `fit` calls.

    Attributes:
        first_batch: what is added to the numbers of the batches.
        is_last: whether the end of `fit` is the end of training.
    """

    def __init__(self, callbacks: Sequence[keras.callbacks.Callback], **options: Any) -> None:
        super().__init__(list(callbacks), add_history=True, **options)
        self.first_batch = 0
        self.is_last = True
        self._begun = False
        self._before_average: list[tuple[keras.Variable, np.ndarray]] = []

    def on_train_begin(self, logs: Logs = None) -> None:
        if not self._begun:
            self._begun = True
            super().on_train_begin(logs)

    def on_train_end(self, logs: Logs = None) -> None:
        if self.is_last:
            super().on_train_end(logs)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        super().on_epoch_end(epoch, logs)
        if not self.is_last and getattr(self.model.optimizer, "use_ema", False):
            self._before_average = [
                (variable, ops.convert_to_numpy(variable).copy())
                for variable in self.model.trainable_variables
            ]

    def undo_final_average(self) -> None:
        """Put back the weights that the end of a `fit` replaced by their moving averages."""
        for variable, value in self._before_average:
            variable.assign(value)
        self._before_average = []

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        super().on_train_batch_begin(batch + self.first_batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        super().on_train_batch_end(batch + self.first_batch, logs)


# --- States ------------------------------------------------------------------------------------


class BeforeSteps(keras.callbacks.Callback):
    """Restores the means of a resumed epoch; writes states between steps, and before a stop.

    Args:
        writer: of the states.
        guard: is told where an epoch begins.
        stop: asked before every batch, also of the validation.
        state: from which training continues, or None.
    """

    def __init__(
        self, writer: StateWriter, guard: LossGuard, stop: StopRequest, state: State | None
    ) -> None:
        super().__init__()
        self.writer = writer
        self.guard = guard
        self.stop = stop
        self.state = state
        self.epoch = 0
        self._in_epoch = False
        self._before_validation: dict[int, np.ndarray] = {}

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self.epoch, self._in_epoch = epoch, True
        step_in_epoch = 0
        if self.state is not None:  # of the first epoch only
            step_in_epoch = self.state.header["epoch_step"]
            if step_in_epoch:
                variables.restore(self.model, self.state, ("metrics",))
            self.state = None
        self.guard.begin(epoch, step_in_epoch)

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        step = self.writer.timetable.step(self.epoch, batch)
        self.stop.agree()
        if self.stop.signal is None and not self.writer.is_due(step):
            return
        try:
            path = self.writer.write(self.epoch, batch)
        except NonFiniteWeightsError as error:
            raise _spoilt_by(step - 1, error) from None
        _stop_if_asked(self.stop, path)

    def on_test_begin(self, logs: Logs = None) -> None:
        if self._in_epoch:
            self._before_validation = variables.values_changed_by_validation(self.model)

    def on_test_batch_begin(self, batch: int, logs: Logs = None) -> None:
        # Several processes agree again at the end of the epoch.
        if self._in_epoch and self.stop.signal is not None and hosts.count() == 1:
            steps = self.writer.timetable.length(self.epoch)
            path = self.writer.write(self.epoch, steps, self._before_validation)
            _stop_if_asked(self.stop, path)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._in_epoch = False
        try:  # before the weights of the epoch are written
            variables.check_finite(self.model)
        except NonFiniteWeightsError as error:
            raise _spoilt_by(self.writer.timetable.step(epoch + 1) - 1, error) from None


class AfterEpochs(keras.callbacks.Callback):
    """Writes the state of an epoch, when its other files are safe on the disk.

    Args:
        writer: of the states.
        stop: asked after every epoch. Processes that train together end together here.
        losses_file: the CSV that another callback has written to.
    """

    def __init__(self, writer: StateWriter, stop: StopRequest, losses_file: Path) -> None:
        super().__init__()
        self.writer = writer
        self.stop = stop
        self.losses_file = losses_file

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if self.writer.writes:
            with open(self.losses_file, "rb+") as file:
                os.fsync(file.fileno())
        self.stop.agree()
        self.model.stop_training = hosts.any_of(self.model.stop_training)
        path = self.writer.write_epoch(epoch, logs or {}, finished=self.model.stop_training)
        _stop_if_asked(self.stop, path)


def _stop_if_asked(stop: StopRequest, path: str) -> None:
    if stop.signal is not None:
        logger.info(f"\nStopped; resume with --model last or train(resume=True). State: {path}")
        stop.raise_if_received()


def _spoilt_by(step: int, error: NonFiniteWeightsError) -> NonFiniteLossError:
    """The error of a step whose update spoilt the weights; the next step's loss would show it."""
    return NonFiniteLossError(f"After step {step}, {error}", step, {})


# --- Weights and losses of each epoch ----------------------------------------------------------


class SaveEpoch(keras.callbacks.Callback):
    """Writes the weights after every epoch under Matterport's file name.

    With EMA_MOMENTUM, their moving average.
    """

    def __init__(self, log_dir: Path, name: str | None, writes: bool = True) -> None:
        super().__init__()
        self.log_dir = log_dir
        self.name = name
        self.writes = writes

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        with averaged_weights(self.model):  # which all processes change together
            path = folders.checkpoint_path(self.log_dir, self.name, epoch + 1)
            if self.writes:
                save_weights(self.model, path)


class SaveLosses(keras.callbacks.Callback):
    """Appends the losses and metrics of every epoch to a CSV, with the epoch counted from 1."""

    def __init__(self, losses_file: Path) -> None:
        super().__init__()
        self.losses_file = losses_file

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        append_losses(self.losses_file, epoch + 1, logs or {})


@contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """A context with the optimizer's moving averages in place of the weights, if it keeps any."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if not optimizer.use_ema:
        yield
        return
    weights = optimizer._trainable_variables
    before = [ops.convert_to_numpy(weight).copy() for weight in weights]
    averages = optimizer._model_variables_moving_average
    for weight, average in zip(weights, averages, strict=True):
        weight.assign(average)
    try:
        yield
    finally:
        for weight, value in zip(weights, before, strict=True):
            weight.assign(value)


class TensorBoard(keras.callbacks.Callback):
    """Writes the losses of every epoch as TensorBoard events.

    Keras's own callback needs TensorFlow with any backend; this one does not.

    Args:
        log_dir: folder of the events.
        first_epoch: epochs done. What an interrupted run wrote of later ones is hidden.
    """

    def __init__(self, log_dir: Path, first_epoch: int) -> None:
        super().__init__()
        self.log_dir = log_dir
        self.first_epoch = first_epoch
        self.writer: Any = None  # made when training begins; tensorboardX has no types

    def on_train_begin(self, logs: Logs = None) -> None:
        from tensorboardX import SummaryWriter

        self.writer = SummaryWriter(str(self.log_dir), purge_step=self.first_epoch + 1)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        for name, value in (logs or {}).items():
            if not np.isnan(value):  # a metric of other epochs
                self.writer.add_scalar(name, value, epoch + 1)
        self.writer.flush()

    def on_train_end(self, logs: Logs = None) -> None:
        self.writer.close()
