"""Training: which layers learn, with which optimizer, on which batches, and what is logged.

`fit` trains a model of `mrcnn.network.build_training` for some epochs with Keras's own
`fit`; `mrcnn.model.MaskRCNN.train` and the command line call it stage by stage.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import keras
from keras import ops

from mrcnn.checkpoints import folders
from mrcnn.checkpoints.state_file import State
from mrcnn.checkpoints.writer import StateWriter
from mrcnn.config import OPTIMIZERS, Config
from mrcnn.data.dataset import Dataset
from mrcnn.data.loader import Batch, Loader
from mrcnn.data.sample import describe_image
from mrcnn.network import TrainingModel
from mrcnn.ops import native_kernels
from mrcnn.training import optimizers
from mrcnn.training.callbacks import AfterEpochs, BeforeSteps, RunCallbacks
from mrcnn.training.interrupts import StopRequest
from mrcnn.training.loss_guard import LossGuard, NonFiniteLossError
from mrcnn.training.nonfinite import explain
from mrcnn.training.stages import matching_layers, weighted_layers
from mrcnn.weights.matterport import save_weights

LOSSES_FILE = "losses.csv"


def set_trainable(model: keras.Model, layers: str) -> list[str]:
    """Let exactly the layers learn that a group or regular expression names.

    Args:
        model: nested models are entered.
        layers: see `mrcnn.training.stages.matching_layers`.

    Returns:
        Names of the layers that learn now.

    Raises:
        ValueError: no layer with weights matches.
    """
    chosen = matching_layers(model, layers)
    model.trainable = True  # and all inside: a frozen inner model would freeze its layers
    for layer, _ in weighted_layers(model):
        layer.trainable = any(layer is one for one in chosen)
    return [layer.name for layer in chosen]


def compile_model(
    model: TrainingModel,
    config: Config,
    learning_rate: float,
    momentum: float,
    steps: int | None = None,
) -> None:
    """Give the model a fresh optimizer, as `config.OPTIMIZER` says.

    "sgd" is the ancestor's: SGD with momentum, clipped by the global norm. "adam" is clipped the
    same way and suits a random start. A function makes any other from the learning rate, or from
    the schedule where LEARNING_RATE_SCHEDULE or WARMUP_STEPS ask for one.

    The losses are in the graph already (`mrcnn.layers.losses.LossLayer`), so that compiling
    again changes nothing but the optimizer. When the same weights learn as before, the
    optimizer is set back instead: that spares tracing the step again.

    Args:
        steps: of the stage, over which a schedule runs.
    """
    learning_rate = _schedule(config, learning_rate, steps)
    clip_norm = config.GRADIENT_CLIP_NORM or None
    chosen = config.OPTIMIZER
    jit_compile = native_kernels.default_jit_compile(config.JIT_COMPILE)
    # What the traced step hangs on, beside the graph.
    learned = tuple(id(variable) for variable in model.trainable_variables)
    traced = (learned, chosen, momentum, clip_norm, jit_compile)
    # A function's optimizer may hold more than can be set back, and so do those of a schedule and
    # of a scaled loss.
    kept = chosen in OPTIMIZERS and isinstance(learning_rate, float)
    kept = kept and config.MIXED_PRECISION != "float16"
    if kept and getattr(model, "traced_with", None) == traced:
        for variable in model.optimizer.variables:
            variable.assign(ops.zeros_like(variable))
        model.optimizer.learning_rate = learning_rate
        return
    accumulated = config.GRADIENT_ACCUMULATION_STEPS
    options = {
        "global_clipnorm": clip_norm,
        "gradient_accumulation_steps": accumulated if accumulated > 1 else None,
        "use_ema": config.EMA_MOMENTUM is not None,
        "ema_momentum": config.EMA_MOMENTUM or 0.0,
    }
    if chosen == "sgd":
        optimizer = optimizers.SGD(learning_rate, momentum, **options)
    elif chosen == "adam":
        optimizer = keras.optimizers.Adam(learning_rate, **options)
    else:
        optimizer = chosen(learning_rate)
    # Otherwise its variables are made in the first step, which is then traced twice.
    optimizer.build(model.trainable_variables)
    model.compile(optimizer=optimizer, jit_compile=jit_compile)
    model.traced_with = traced


def _schedule(config: Config, learning_rate: float, steps: int | None) -> Any:
    """The rate, or what Keras makes of it over the steps of a stage."""
    warm_up = config.WARMUP_STEPS
    falls = config.LEARNING_RATE_SCHEDULE == "cosine"
    if not warm_up and not falls:
        return float(learning_rate)
    if steps is None or steps <= warm_up:
        raise ValueError(
            f"WARMUP_STEPS, LEARNING_RATE_SCHEDULE: expected a stage of more than {warm_up} steps; "
            f"received {steps}. Train longer at a time, or warm up for fewer steps."
        )
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warm_up else learning_rate,
        decay_steps=steps - warm_up,
        alpha=0.0 if falls else 1.0,
        warmup_target=learning_rate if warm_up else None,
        warmup_steps=warm_up,
    )


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
                train_dataset,
                config,
                seed=config.SEED,
                augmentation=augmentation,
                no_augmentation_sources=no_augmentation_sources,
            )
        )
        validation = {}
        if val_dataset is not None and config.VALIDATION_STEPS > 0:
            # In the caller's thread: validation batches are few, and training wants the cores.
            val_loader = Loader(val_dataset, config, seed=config.SEED, shuffle=False, workers=0)
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
                _SaveEpoch(log_dir, config.NAME),
                keras.callbacks.CSVLogger(str(losses_file), append=True),
                _TensorBoard(log_dir, first_epoch),
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
        with folders.atomic_path(path) as temporary:
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


class _SaveEpoch(keras.callbacks.Callback):
    """Writes the weights after every epoch under Matterport's file name.

    With EMA_MOMENTUM, their moving average.
    """

    def __init__(self, log_dir: Path, name: str) -> None:
        super().__init__()
        self.log_dir = log_dir
        self.name = name

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        with _averaged_weights(self.model):
            path = folders.checkpoint_path(self.log_dir, self.name, epoch + 1)
            save_weights(self.model, path)


@contextmanager
def _averaged_weights(model: keras.Model) -> Iterator[None]:
    """The optimizer's moving averages in the place of the weights, if it keeps any."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if not optimizer.use_ema:
        yield
        return
    variables = optimizer._trainable_variables
    before = [ops.convert_to_numpy(variable).copy() for variable in variables]
    averages = optimizer._model_variables_moving_average
    for variable, average in zip(variables, averages, strict=True):
        variable.assign(average)
    try:
        yield
    finally:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)


class _TensorBoard(keras.callbacks.Callback):
    """Writes the losses of every epoch as TensorBoard events.

    Keras's own callback needs TensorFlow with any backend; this one needs none.
    """

    def __init__(self, log_dir: Path, first_epoch: int) -> None:
        super().__init__()
        self.log_dir = log_dir
        self.first_epoch = first_epoch
        self.writer = None

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        from tensorboardX import SummaryWriter

        # Hides what an interrupted run wrote of epochs that are trained anew.
        self.writer = SummaryWriter(str(self.log_dir), purge_step=self.first_epoch + 1)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        for name, value in (logs or {}).items():
            self.writer.add_scalar(name, value, epoch + 1)
        self.writer.flush()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        self.writer.close()
