"""Training with Keras's `fit`: from which step on, with which callbacks, and what is logged.

`fit` trains a model of `mrcnn.training.model` for some epochs; `mrcnn.training.session` calls it
stage by stage.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from mrcnn.checkpoints.identity import RunIdentity
from mrcnn.checkpoints.losses_file import LOSSES_FILE, drop_losses
from mrcnn.checkpoints.state_file import State
from mrcnn.checkpoints.timetable import Timetable
from mrcnn.checkpoints.writer import StateWriter
from mrcnn.config import Config
from mrcnn.training import hosts
from mrcnn.training.batches import Batches, TrainingData
from mrcnn.training.callbacks import (
    AfterEpochs,
    BeforeSteps,
    RunCallbacks,
    SaveEpoch,
    SaveLosses,
    TensorBoard,
)
from mrcnn.training.coco_evaluation import CocoEvaluation, Patience
from mrcnn.training.interrupts import StopRequest
from mrcnn.training.loss_guard import LossGuard, NonFiniteLossError
from mrcnn.training.model import TrainingModel
from mrcnn.training.nonfinite import diagnose
from mrcnn.training.progress import Progress, show_themselves


@dataclass(frozen=True)
class _Span:
    """The steps to train.

    Attributes:
        timetable: of the stage.
        first_epoch: epochs done.
        step_in_epoch: steps done in the epoch under way; all of them where only its validation
            is missing.
    """

    timetable: Timetable
    first_epoch: int
    step_in_epoch: int

    @property
    def first_step(self) -> int:
        return self.timetable.step(self.first_epoch, self.step_in_epoch)

    @property
    def last_epoch(self) -> int:
        return self.timetable.last_epoch


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

    Each epoch has STEPS_PER_EPOCH steps (the last of a stage may have fewer) and, with a
    validation set, the same VALIDATION_STEPS batches of it. Afterwards the folder holds the
    weights of each epoch, the losses of each epoch as CSV, TensorBoard's events, and the newest
    exact states.

    A batch depends on the number of its step alone, so that training in pieces sees what training
    in one go sees.

    Args:
        model: of `mrcnn.training.model.build`.
        config: settings.
        data: what to train on.
        identity: of the run; its stage says which epochs to train.
        log_dir: folder of the run; made where it is missing.
        state: a state in the middle of this stage, whose variables the model holds already;
            training continues at its step.
        callbacks: more of them. A `Progress` among them knows the steps of the whole run.

    Returns:
        Keras's history.

    Raises:
        NonFiniteLossError: the loss of a step is not finite.
        HostsError: of several processes that train together, one is gone.
        KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM came; a state was written.
        OSError: the disk is full.
    """
    log_dir, is_first = Path(log_dir), hosts.is_first()
    span = _span_of(identity, state, config)
    losses_file = log_dir / LOSSES_FILE
    if is_first:
        log_dir.mkdir(parents=True, exist_ok=True)
    writer = StateWriter(model, config, identity, log_dir, writes=is_first)
    writer.begin(span.first_step, state)
    if is_first:
        drop_losses(losses_file, span.first_epoch)
    progress = next((given for given in callbacks if isinstance(given, Progress)), Progress())
    progress.begin(span.timetable, writer)
    with Batches(model, data, config) as batches, StopRequest() as stop:
        images_of = batches.describe_images
        guard = LossGuard(span.timetable, config.LOSS_SPIKE_FACTOR, images_of)
        guard.async_safe = hosts.count() == 1  # several processes stop at the same step
        run = RunCallbacks(
            [
                BeforeSteps(writer, guard, stop, state),
                guard,
                # Before the others: if a later callback fails, the weights are safe.
                SaveEpoch(log_dir, config.NAME, writes=is_first),
                # Their metrics are logged beside the losses.
                *_evaluation(config, data),
                *(given for given in callbacks if isinstance(given, CocoEvaluation)),
                *((SaveLosses(losses_file),) if is_first else ()),
                *((TensorBoard(log_dir, span.first_epoch),) if is_first else ()),
                *(given for given in callbacks if not isinstance(given, CocoEvaluation | Progress)),
                *(_patience(config, losses_file, writer.metric, identity) if is_first else ()),
                AfterEpochs(writer, stop, losses_file),
                # Last, because it shows what the others have found.
                *((progress,) if is_first and not show_themselves(callbacks) else ()),
            ],
            verbose=1 if sys.stdout.isatty() else 2,
            epochs=span.last_epoch,
            steps=config.STEPS_PER_EPOCH,
            model=model,
        )
        try:
            _fit_span(model, run, span, batches)
        except NonFiniteLossError as error:
            progress.close()  # before what is said of it
            if hosts.count() > 1 or model.is_replicated:
                raise _of_several(error, images_of) from None
            raise diagnose(error, model, writer, batches.loader, images_of) from None
        finally:
            progress.close()
    return model.history


def _evaluation(config: Config, data: TrainingData) -> list[keras.callbacks.Callback]:
    if config.EVALUATION_EPOCHS is None:
        return []
    if data.val_dataset is None:
        raise ValueError(
            f"EVALUATION_EPOCHS: expected a validation set to evaluate on every "
            f"{config.EVALUATION_EPOCHS} epochs; received none. Give one, or set it to None."
        )
    return [
        CocoEvaluation(data.val_dataset, config, config.EVALUATION_EPOCHS, config.EVALUATION_IMAGES)
    ]


def _patience(
    config: Config, losses_file: Path, metric: str, identity: RunIdentity
) -> list[keras.callbacks.Callback]:
    if config.PATIENCE is None:
        return []
    return [Patience(losses_file, metric, config.PATIENCE, identity.stage.first_epoch)]


def _of_several(error: NonFiniteLossError, images_of: Callable[[int], str]) -> NonFiniteLossError:
    """The error with what several replicas can say of it; each has a part of the batch alone."""
    one = "one process" if hosts.count() > 1 else "one device (--devices 1)"
    return NonFiniteLossError(
        f"Training stopped: {error} Images: {images_of(error.step)}. To see what spoilt the step, "
        f"continue with {one} and --model last, which computes it again and keeps it for "
        "mrcnn replay.",
        *(error.step, error.losses),
    )


def _span_of(identity: RunIdentity, state: State | None, config: Config) -> _Span:
    stage = identity.stage
    first_epoch, step_in_epoch = stage.first_epoch, 0
    if state is not None:
        first_epoch, step_in_epoch = state.header["epoch"], state.header["epoch_step"]
    return _Span(stage.timetable(config.STEPS_PER_EPOCH), first_epoch, step_in_epoch)


# --- Keras's `fit`, from any step on -----------------------------------------------------------


def _fit_span(model: TrainingModel, run: RunCallbacks, span: _Span, batches: Batches) -> None:
    """Train the steps of a span.

    The rest of an epoch that has begun is a `fit` of its own, and so is a last epoch that is
    shorter than the others, because `fit` counts an epoch's steps from 0 and has one number of
    them; the callbacks see one training.
    """
    model.stop_training = False
    table, epoch, last = span.timetable, span.first_epoch, span.last_epoch
    if span.step_in_epoch:
        _fit_epochs(model, run, span, batches, epoch, epoch + 1, span.step_in_epoch)
        epoch += 1
    whole = last if epoch < last and table.length(last - 1) == table.steps_per_epoch else last - 1
    for stop in (whole, last):
        if epoch < stop and not model.stop_training:
            _fit_epochs(model, run, span, batches, epoch, stop)
            epoch = stop


def _fit_epochs(
    model: TrainingModel,
    run: RunCallbacks,
    span: _Span,
    batches: Batches,
    start: int,
    stop: int,
    done: int = 0,
) -> None:
    """Train the epochs from `start` to before `stop`, of whose first some steps are done."""
    table = span.timetable
    run.undo_final_average()
    run.is_last = stop == span.last_epoch
    if done and done == table.length(start):
        _end_epoch(model, run, start, batches.validation)
    else:
        run.first_batch = done
        run.set_params({**run.params, "steps": table.length(start)})
        model.fit(
            batches.between(table.step(start, done), table.step(stop)),
            initial_epoch=start,
            epochs=stop,
            steps_per_epoch=table.length(start) - done,
            callbacks=run,
            shuffle=False,  # the loader's work
            **batches.validation,
        )
        run.first_batch = 0
    if model.stop_training and not run.is_last:  # a callback has ended the stage
        run.is_last = True
        run.on_train_end()


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
