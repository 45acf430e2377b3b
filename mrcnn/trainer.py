"""Training: which layers learn, with which optimizer, on which batches, and what is logged.

`fit` trains a model of `mrcnn.network.build_training` for some epochs with Keras's own
`fit`; `mrcnn.model.MaskRCNN.train` and the command line call it stage by stage.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
from keras import ops

from mrcnn import checkpoints
from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from mrcnn.data.loader import Loader
from mrcnn.network import TrainingModel
from mrcnn.ops import native_kernels
from mrcnn.stages import matching_layers, weighted_layers
from mrcnn.weights import save_weights

LOSSES_FILE = "losses.csv"


def set_trainable(model: keras.Model, layers: str) -> list[str]:
    """Let exactly the layers learn that a group or regular expression names.

    Args:
        model: nested models are entered.
        layers: see `mrcnn.stages.matching_layers`.

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
    model: TrainingModel, config: Config, learning_rate: float, momentum: float
) -> None:
    """Give the model a fresh optimizer: SGD with momentum, clipped by the global norm.

    The losses are in the graph already (`mrcnn.losses.LossLayer`), so that compiling
    again changes nothing but the optimizer. When the same weights learn as before, the
    optimizer is set back instead: that spares tracing the step again.
    """
    clip_norm = config.GRADIENT_CLIP_NORM or None
    jit_compile = native_kernels.default_jit_compile(config.JIT_COMPILE)
    # What the traced step hangs on, beside the graph.
    learned = tuple(id(variable) for variable in model.trainable_variables)
    traced = (learned, momentum, clip_norm, jit_compile)
    if getattr(model, "traced_with", None) == traced:
        for variable in model.optimizer.variables:
            variable.assign(ops.zeros_like(variable))
        model.optimizer.learning_rate = learning_rate
        return
    optimizer = keras.optimizers.SGD(learning_rate, momentum, global_clipnorm=clip_norm)
    # Otherwise its variables are made in the first step, which is then traced twice.
    optimizer.build(model.trainable_variables)
    model.compile(optimizer=optimizer, jit_compile=jit_compile)
    model.traced_with = traced


def fit(
    model: TrainingModel,
    config: Config,
    train_dataset: Dataset,
    val_dataset: Dataset | None,
    *,
    log_dir: str | Path,
    first_epoch: int,
    epochs: int,
    augmentation: Any = None,
    no_augmentation_sources: Sequence[str] | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> keras.callbacks.History:
    """Train a compiled model from `first_epoch` to `epochs`, counted from 0.

    Each epoch has STEPS_PER_EPOCH steps and, with a validation set, the same
    VALIDATION_STEPS batches of it. Afterwards the folder holds the weights of each epoch,
    the losses of each epoch as CSV, and TensorBoard's events.

    Batches are those of steps `first_epoch * STEPS_PER_EPOCH` and on, so that training
    in pieces sees what training in one go sees.
    """
    log_dir = Path(log_dir)
    log_dir.mkdir(parents=True, exist_ok=True)
    callbacks = [
        # First of all: if a later callback fails, the weights are safe.
        _SaveEpoch(log_dir, config.NAME),
        keras.callbacks.CSVLogger(str(log_dir / LOSSES_FILE), append=True),
        _TensorBoard(log_dir),
        *callbacks,
    ]
    loader = Loader(
        train_dataset,
        config,
        seed=config.SEED,
        augmentation=augmentation,
        no_augmentation_sources=no_augmentation_sources,
    )
    steps = config.STEPS_PER_EPOCH
    validation = None
    if val_dataset is not None and config.VALIDATION_STEPS > 0:
        # One worker: validation batches are few, and training wants the cores.
        validation = Loader(val_dataset, config, seed=config.SEED, shuffle=False, workers=1)
    try:
        return model.fit(
            _as_inputs(loader.batches(first_epoch * steps, epochs * steps)),
            initial_epoch=first_epoch,
            epochs=epochs,
            steps_per_epoch=steps,
            validation_data=validation and _repeated(validation, config.VALIDATION_STEPS),
            validation_steps=validation and config.VALIDATION_STEPS,
            callbacks=callbacks,
            shuffle=False,  # the loader's work
            verbose=1 if sys.stdout.isatty() else 2,
        )
    finally:
        loader.close()
        if validation is not None:
            validation.close()


def _as_inputs(batches: Iterator[dict]) -> Iterator[tuple[dict]]:
    for batch in batches:
        yield (batch,)


def _repeated(loader: Loader, steps: int) -> Iterator[tuple[dict]]:
    """The same validation batches every epoch."""
    while True:
        yield from _as_inputs(loader.batches(0, steps))


class _SaveEpoch(keras.callbacks.Callback):
    """Writes the weights after every epoch under Matterport's file name."""

    def __init__(self, log_dir: Path, name: str) -> None:
        super().__init__()
        self.log_dir = log_dir
        self.name = name

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        save_weights(self.model, checkpoints.checkpoint_path(self.log_dir, self.name, epoch + 1))


class _TensorBoard(keras.callbacks.Callback):
    """Writes the losses of every epoch as TensorBoard events.

    Keras's own callback needs TensorFlow with any backend; this one needs none.
    """

    def __init__(self, log_dir: Path) -> None:
        super().__init__()
        self.log_dir = log_dir
        self.writer = None

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        from tensorboardX import SummaryWriter

        self.writer = SummaryWriter(str(self.log_dir))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        for name, value in (logs or {}).items():
            self.writer.add_scalar(name, value, epoch + 1)
        self.writer.flush()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        self.writer.close()
