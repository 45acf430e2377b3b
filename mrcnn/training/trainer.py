"""Training: which layers learn, with which optimizer, on which batches, and what is logged.

`fit` trains a model of `mrcnn.network.build_training` for some epochs with Keras's own
`fit`; `mrcnn.model.MaskRCNN.train` and the command line call it stage by stage.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import keras

from mrcnn.checkpoints.state_file import State
from mrcnn.checkpoints.writer import StateWriter
from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from mrcnn.data.loader import Batch, Loader
from mrcnn.data.sample import describe_image
from mrcnn.data.stream import SampleStream
from mrcnn.files import atomic
from mrcnn.ops import native_kernels
from mrcnn.training.callbacks import AfterEpochs, BeforeSteps, RunCallbacks, SaveEpoch, TensorBoard
from mrcnn.training.interrupts import StopRequest
from mrcnn.training.loss_guard import LossGuard, NonFiniteLossError
from mrcnn.training.model import TrainingModel
from mrcnn.training.nonfinite import explain

LOSSES_FILE = "losses.csv"


def fit(
    model: TrainingModel,
    config: Config,
    train_dataset: Dataset,
    val_dataset: Dataset | None,
    *,
    log_dir: str | Path,
    first_epoch: int,
    epochs: int,
    stage: Mapping[str, Any],
    state: State | None = None,
    augmentation: Any = None,
    no_augmentation_sources: Sequence[str] | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> keras.callbacks.History:
    """Train a compiled model from `first_epoch` to `epochs`, counted from 0.

    Each epoch has STEPS_PER_EPOCH steps and, with a validation set, the same
    VALIDATION_STEPS batches of it. Afterwards the folder holds the weights of each epoch,
    the losses of each epoch as CSV, TensorBoard's events, and the newest exact states.

    Batches are those of steps `first_epoch * STEPS_PER_EPOCH` and on, so that training
    in pieces sees what training in one go sees.

    Args:
        stage: what is trained, for the headers of the states (`mrcnn.checkpoints.writer`).
        state: a state in the middle of this stage, whose variables the model holds already;
            training goes on at its step.

    Raises:
        NonFiniteLossError: the loss of a step is not finite.
        KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM came; a state was written.
        OSError: the disk is full.
    """
    log_dir = Path(log_dir)
    log_dir.mkdir(parents=True, exist_ok=True)
    steps = config.STEPS_PER_EPOCH
    first_step = state.header["step"] if state else first_epoch * steps
    losses_file = log_dir / LOSSES_FILE
    writer = StateWriter(model, config, train_dataset, val_dataset, log_dir, stage)
    writer.begin(first_step, state)
    drop_losses(losses_file, first_epoch)
    with ExitStack() as closing:
        loader = closing.enter_context(
            Loader(
                SampleStream.of(
                    train_dataset,
                    config,
                    seed=config.SEED,
                    augmentation=augmentation,
                    no_augmentation_sources=no_augmentation_sources,
                )
            )
        )
        validation = {}
        if val_dataset is not None and config.VALIDATION_STEPS > 0:
            # In the caller's thread: validation batches are few, and training wants the cores.
            val_stream = SampleStream.of(val_dataset, config, seed=config.SEED, shuffle=False)
            val_loader = Loader(val_stream, workers=0)
            validation = _validation_options(model, val_loader, config.VALIDATION_STEPS)

        def images_of(step: int) -> str:
            ids = loader.image_ids(step)
            return "; ".join(describe_image(train_dataset, image_id) for image_id in ids)

        stop = closing.enter_context(StopRequest())
        guard = LossGuard(steps, config.LOSS_SPIKE_FACTOR, images_of)
        verbose = 1 if sys.stdout.isatty() else 2
        run = RunCallbacks(
            [
                BeforeSteps(writer, guard, stop, state),
                guard,
                # Before the others: if a later callback fails, the weights are safe.
                SaveEpoch(log_dir, config.NAME),
                keras.callbacks.CSVLogger(str(losses_file), append=True),
                TensorBoard(log_dir, first_epoch),
                *callbacks,
                AfterEpochs(writer, stop, losses_file),
            ],
            add_progbar=True,
            verbose=verbose,
            epochs=epochs,
            steps=steps,
            model=model,
        )
        try:
            done = state.header["epoch_step"] if state else 0
            _fit_from(model, run, loader, validation, first_epoch, done, epochs, steps)
        except NonFiniteLossError as error:
            raise explain(error, model, config, loader, writer, images_of) from None
    return model.history


def _fit_from(
    model: TrainingModel,
    run: RunCallbacks,
    loader: Loader,
    validation: Mapping[str, Any],
    epoch: int,
    done: int,
    epochs: int,
    steps: int,
) -> None:
    """Train from an epoch on of which `done` steps are done, with Keras's `fit`.

    The rest of that epoch is a `fit` of its own, because `fit` counts its steps from 0; the
    callbacks see one training.
    """
    options = {
        **validation,
        "callbacks": run,
        "shuffle": False,  # the loader's work
    }
    model.stop_training = False
    if done:
        first = epoch
        run.is_last = epoch + 1 == epochs
        if done < steps:
            run.first_batch = done
            model.fit(
                _as_inputs(
                    model, lambda: loader.batches(first * steps + done, (first + 1) * steps)
                ),
                initial_epoch=epoch,
                epochs=epoch + 1,
                steps_per_epoch=steps - done,
                **options,
            )
            run.first_batch = 0
        else:
            _end_epoch(model, run, validation, epoch)
        epoch += 1
        if run.is_last:
            return
        run.is_last = True
        if model.stop_training:
            run.on_train_end()
            return
        run.undo_final_average()
    model.fit(
        _as_inputs(model, lambda: loader.batches(epoch * steps, epochs * steps)),
        initial_epoch=epoch,
        epochs=epochs,
        steps_per_epoch=steps,
        **options,
    )


def _end_epoch(
    model: TrainingModel, run: RunCallbacks, validation: Mapping[str, Any], epoch: int
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


def drop_losses(path: Path, first_epoch: int) -> None:
    """Take the rows of epochs from `first_epoch` (from 0) on, and half-written ones, out of a CSV.

    Those epochs are trained anew: their rows will come again.
    """
    if not path.is_file():
        return
    with open(path, newline="", encoding="utf-8") as file:
        lines = file.read().splitlines(keepends=True)
    kept = [
        line
        for number, line in enumerate(lines)
        if line.endswith("\n") and (number == 0 or int(line.split(",")[0]) < first_epoch)
    ]
    if kept != lines:
        with atomic.atomic_path(path) as temporary:
            Path(temporary).write_text("".join(kept), encoding="utf-8", newline="")


def _as_inputs(model: TrainingModel, batches: Callable[[], Iterator[Batch]]) -> Any:
    """Batches as Keras's `fit` takes them."""
    if model.several_shapes:
        return native_kernels.batches_of_shapes(batches, model.inputs)
    return ((batch,) for batch in batches())


def _validation_options(model: TrainingModel, loader: Loader, steps: int) -> dict[str, Any]:
    """Keywords of Keras's `fit`: the same batches every epoch."""

    def repeated() -> Iterator[Batch]:
        while True:
            yield from loader.batches(0, steps)

    data = _as_inputs(model, repeated) if model.several_shapes else _Validation(loader, steps)
    return {"validation_data": data, "validation_steps": steps}


class _Validation(keras.utils.PyDataset):
    """The same validation batches every epoch.

    Not a generator: Keras reads ahead in it, and would begin the next epoch somewhere else.
    """

    def __init__(self, loader: Loader, steps: int) -> None:
        super().__init__()
        self.loader = loader
        self.steps = steps

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int) -> tuple[dict]:
        return (self.loader.batch(index),)

    def on_epoch_end(self) -> None:
        self.loader.report()
