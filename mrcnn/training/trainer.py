"""Training with Keras's `fit`: from which step on, with which callbacks, and what is logged.

`fit` trains a model of `mrcnn.training.model` for some epochs; `mrcnn.training.session` calls it
stage by stage.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from mrcnn.checkpoints.identity import RunIdentity
from mrcnn.checkpoints.losses_file import LOSSES_FILE, drop_losses
from mrcnn.checkpoints.state_file import State
from mrcnn.checkpoints.writer import StateWriter
from mrcnn.config import Config
from mrcnn.training.batches import Batches, TrainingData
from mrcnn.training.callbacks import AfterEpochs, BeforeSteps, RunCallbacks, SaveEpoch, TensorBoard
from mrcnn.training.interrupts import StopRequest
from mrcnn.training.loss_guard import LossGuard, NonFiniteLossError
from mrcnn.training.model import TrainingModel
from mrcnn.training.nonfinite import diagnose


@dataclass(frozen=True)
class _Span:
    """The steps to train.

    Attributes:
        first_epoch: epochs done.
        step_in_epoch: steps done in the epoch under way; all of them where only its validation
            is missing.
        last_epoch: epochs done in the end.
        steps_per_epoch: `Config.STEPS_PER_EPOCH`.
    """

    first_epoch: int
    step_in_epoch: int
    last_epoch: int
    steps_per_epoch: int

    @property
    def first_step(self) -> int:
        return self.first_epoch * self.steps_per_epoch + self.step_in_epoch


def fit(
    model: TrainingModel,
    config: Config,
    data: TrainingData,
    identity: RunIdentity,
    log_dir: str | Path,
    state: State | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> keras.callbacks.History:
    """Train a compiled model through a stage, or through what is left of it.

    Each epoch has STEPS_PER_EPOCH steps and, with a validation set, the same VALIDATION_STEPS
    batches of it. Afterwards the folder holds the weights of each epoch, the losses of each
    epoch as CSV, TensorBoard's events, and the newest exact states.

    Batches are those of steps `first_epoch * STEPS_PER_EPOCH` and on, so that training
    in pieces sees what training in one go sees.

    Args:
        model: of `mrcnn.training.model.build`.
        config: settings.
        data: what to train on.
        identity: of the run; its stage says which epochs to train.
        log_dir: folder of the run; made where it is missing.
        state: a state in the middle of this stage, whose variables the model holds already;
            training goes on at its step.
        callbacks: more of them.

    Returns:
        Keras's history.

    Raises:
        NonFiniteLossError: the loss of a step is not finite.
        KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM came; a state was written.
        OSError: the disk is full.
    """
    log_dir = Path(log_dir)
    log_dir.mkdir(parents=True, exist_ok=True)
    span = _span_of(identity, state, config)
    losses_file = log_dir / LOSSES_FILE
    writer = StateWriter(model, config, identity, log_dir)
    writer.begin(span.first_step, state)
    drop_losses(losses_file, span.first_epoch)
    with Batches(model, data, config) as batches, StopRequest() as stop:
        images_of = batches.describe_images
        guard = LossGuard(span.steps_per_epoch, config.LOSS_SPIKE_FACTOR, images_of)
        run = RunCallbacks(
            [
                BeforeSteps(writer, guard, stop, state),
                guard,
                # Before the others: if a later callback fails, the weights are safe.
                SaveEpoch(log_dir, config.NAME),
                keras.callbacks.CSVLogger(str(losses_file), append=True),
                TensorBoard(log_dir, span.first_epoch),
                *callbacks,
                AfterEpochs(writer, stop, losses_file),
            ],
            add_progbar=True,
            verbose=1 if sys.stdout.isatty() else 2,
            epochs=span.last_epoch,
            steps=span.steps_per_epoch,
            model=model,
        )
        try:
            _fit_span(model, run, span, batches)
        except NonFiniteLossError as error:
            raise diagnose(error, model, writer, batches.loader, images_of) from None
    return model.history


def _span_of(identity: RunIdentity, state: State | None, config: Config) -> _Span:
    stage = identity.stage
    first_epoch, step_in_epoch = stage.first_epoch, 0
    if state is not None:
        first_epoch, step_in_epoch = state.header["epoch"], state.header["epoch_step"]
    return _Span(first_epoch, step_in_epoch, stage.last_epoch, config.STEPS_PER_EPOCH)


# --- Keras's `fit`, from any step on -----------------------------------------------------------


def _fit_span(model: TrainingModel, run: RunCallbacks, span: _Span, batches: Batches) -> None:
    """Train the steps of a span.

    The rest of an epoch that has begun is a `fit` of its own, because `fit` counts its steps
    from 0; the callbacks see one training.
    """
    model.stop_training = False
    epoch, steps = span.first_epoch, span.steps_per_epoch
    if span.step_in_epoch:
        run.is_last = epoch + 1 == span.last_epoch
        _finish_epoch(model, run, span, batches)
        if run.is_last:
            return
        run.is_last = True
        if model.stop_training:
            run.on_train_end()
            return
        run.undo_final_average()
        epoch += 1
    model.fit(
        batches.between(epoch * steps, span.last_epoch * steps),
        initial_epoch=epoch,
        epochs=span.last_epoch,
        steps_per_epoch=steps,
        callbacks=run,
        shuffle=False,  # the loader's work
        **batches.validation,
    )


def _finish_epoch(model: TrainingModel, run: RunCallbacks, span: _Span, batches: Batches) -> None:
    """Train the rest of the first epoch of a span, of which some steps are done."""
    epoch, steps = span.first_epoch, span.steps_per_epoch
    if span.step_in_epoch == steps:
        _end_epoch(model, run, epoch, batches.validation)
        return
    run.first_batch = span.step_in_epoch
    model.fit(
        batches.between(span.first_step, (epoch + 1) * steps),
        initial_epoch=epoch,
        epochs=epoch + 1,
        steps_per_epoch=steps - span.step_in_epoch,
        callbacks=run,
        shuffle=False,
        **batches.validation,
    )
    run.first_batch = 0


def _end_epoch(
    model: TrainingModel, run: RunCallbacks, epoch: int, validation: dict[str, Any]
) -> None:
    """What `fit` does after the last step of an epoch."""
    run.on_train_begin()
    model.reset_metrics()
    run.on_epoch_begin(epoch)  # restores the means of the epoch
    logs = {name: float(value) for name, value in model.get_metrics_result().items()}
    if validation:
        found = model.evaluate(
            validation["validation_data"],
            steps=validation["validation_steps"],
            callbacks=run,
            return_dict=True,
            verbose=0,
        )
        logs |= {f"val_{name}": value for name, value in found.items()}
    run.on_epoch_end(epoch, logs)
    run.on_train_end(logs)
