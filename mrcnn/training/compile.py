"""What learns, and by which optimizer."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from mrcnn.config import OPTIMIZERS, Config
from mrcnn.layers.switched_loss import SwitchedLoss
from mrcnn.logger import logger
from mrcnn.tensorflow_backend.compilation import default_jit_compile
from mrcnn.training import optimizers
from mrcnn.training.loss_switches import switch_losses
from mrcnn.training.model import TrainingModel
from mrcnn.training.stages import matching_layers, trained_losses
from mrcnn.weights.layers import weighted_layers

# Above it Adam's steps, which do not shrink with the gradients, are those of SGD's schedules.
HIGH_RATE_OF_ADAM = 5e-3


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


def set_trained_losses(model: keras.Model, losses: str) -> list[str]:
    """Let exactly these losses train the model; the others are computed and shown alone.

    A step that is traced already keeps its losses: compile afterwards.

    Args:
        model: of `mrcnn.training.model.build`, or one that a script has changed.
        losses: a key of `mrcnn.training.stages.LOSS_GROUPS`, or a regular expression.

    Returns:
        Names of the losses that train now.

    Raises:
        ValueError: the model has losses, and none of these.
    """
    names = trained_losses(losses)
    own = [layer for layer in model.layers if isinstance(layer, SwitchedLoss)]
    chosen = [layer.name for layer in own if layer.name in names]
    if own and not chosen:
        raise ValueError(
            f"losses: {losses!r} means {', '.join(names)}; expected some of the model's, "
            f"{', '.join(layer.name for layer in own)}."
        )
    switch_losses(model, {layer.name: layer.name in chosen for layer in own})
    return chosen


def compile_model(
    model: TrainingModel,
    config: Config,
    learning_rate: float,
    momentum: float,
    steps: int | None = None,
) -> None:
    """Give the model a fresh optimizer, as `config.OPTIMIZER` says.

    "sgd" is Matterport's: SGD with momentum, clipped by the global norm. "adam" is clipped the
    same way and suits a random start. A function makes any other from the learning rate, or from
    the schedule where LEARNING_RATE_SCHEDULE or WARMUP_STEPS ask for one.

    The losses are in the graph already (`mrcnn.layers.losses.LossLayer`), so that compiling
    again changes nothing but the optimizer. When the same weights learn as before, from the same
    losses, the optimizer is reset instead: that spares tracing the step again.

    Args:
        model: of `mrcnn.training.model.build`.
        config: settings.
        learning_rate, momentum: of the optimizer; `momentum` is that of "sgd".
        steps: of the stage, over which a schedule runs.

    Raises:
        ValueError: the stage is shorter than its warm-up, or a schedule gets no steps.
    """
    if config.OPTIMIZER == "adam" and learning_rate > HIGH_RATE_OF_ADAM:
        logger.warning(
            f"A learning rate of {learning_rate:g} suits OPTIMIZER = 'sgd'; Adam's are 1e-4 to "
            "1e-3. Training may diverge."
        )
    rate = _schedule(config, learning_rate, steps)
    jit_compile = default_jit_compile(config.JIT_COMPILE)
    # What the traced step depends on, beside the graph.
    learned = tuple(id(variable) for variable in model.trainable_variables)
    losses = tuple(layer.is_on for layer in model.layers if isinstance(layer, SwitchedLoss))
    clip = config.GRADIENT_CLIP_NORM or None
    traced = (learned, losses, config.OPTIMIZER, momentum, clip, jit_compile)
    if model.traced_with == traced and _can_be_reset(config, rate):
        _reset(model.optimizer, rate)
        return
    optimizer = _make_optimizer(config, rate, momentum)
    # Otherwise its variables are made in the first step, which is then traced twice.
    optimizer.build(model.trainable_variables)
    model.compile(optimizer=optimizer, jit_compile=jit_compile)
    model.traced_with = traced


def _can_be_reset(config: Config, learning_rate: Any) -> bool:
    """Whether the optimizer's variables are all that it holds.

    A function's optimizer may hold more, and so do those of a schedule and of a scaled loss.
    """
    return (
        config.OPTIMIZER in OPTIMIZERS
        and isinstance(learning_rate, float)
        and config.MIXED_PRECISION != "float16"
    )


def _reset(optimizer: keras.optimizers.Optimizer, learning_rate: float) -> None:
    for variable in optimizer.variables:
        variable.assign(ops.zeros(variable.shape, variable.dtype))  # JAX's zeros_like wants arrays
    optimizer.learning_rate = learning_rate


def _make_optimizer(
    config: Config, learning_rate: Any, momentum: float
) -> keras.optimizers.Optimizer:
    if callable(config.OPTIMIZER):
        return config.OPTIMIZER(learning_rate)
    accumulated = config.GRADIENT_ACCUMULATION_STEPS
    options: dict[str, Any] = {
        "global_clipnorm": config.GRADIENT_CLIP_NORM or None,
        "gradient_accumulation_steps": accumulated if accumulated > 1 else None,
        "use_ema": config.EMA_MOMENTUM is not None,
        "ema_momentum": config.EMA_MOMENTUM or 0.0,
    }
    if config.OPTIMIZER == "sgd":
        return optimizers.SGD(learning_rate, momentum, **options)
    return keras.optimizers.Adam(learning_rate, **options)


def _schedule(config: Config, learning_rate: float, steps: int | None) -> Any:
    """The rate, or its schedule over the steps of a stage where the settings ask for one."""
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
