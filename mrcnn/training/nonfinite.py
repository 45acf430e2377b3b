"""A loss that is not finite: which step did it, and a file that replays that step.

The guard's answer comes late, and the weights are spoilt by then. So training goes back to the
newest state before the step and computes the steps in between again, one by one. That leads to
the last moment with finite weights: weights, batch and settings go into a replay file.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import keras
import numpy as np
from keras import ops

from mrcnn.checkpoints import state_file
from mrcnn.checkpoints.variables import NonFiniteWeightsError, check_finite, restore, values_of
from mrcnn.checkpoints.writer import StateWriter
from mrcnn.data.loader import Batch, Loader
from mrcnn.logger import logger
from mrcnn.training.gradients import measure
from mrcnn.training.loss_guard import NonFiniteLossError, text_of
from mrcnn.training.model import TrainingModel

SHOWN_NORMS = 5


def describe_losses(losses: Mapping[str, float], norms: Mapping[str, float]) -> str:
    """Losses, the total gradient norm and its largest parts, on three lines."""
    order = sorted(norms, key=lambda path: (math.isfinite(norms[path]), -norms[path]))
    largest = ", ".join(f"{path} {norms[path]:.4g}" for path in order[:SHOWN_NORMS])
    spoilt = sum(not math.isfinite(norm) for norm in norms.values())
    total = math.hypot(*norms.values())
    return (
        f"losses: {text_of(losses)}\n"
        f"gradient norm of all {len(norms)} weights: {total:.6g} ({spoilt} not finite)\n"
        f"largest gradient norms: {largest}"
    )


def first_spoilt_layer(model: TrainingModel, batch: Batch) -> str | None:
    """The first layer, in the order of the network, whose output for a batch is not finite.

    The model's statistics and random states move on.
    """
    layers = [layer for layer in model.layers if _has_one_output(layer)]
    probe = keras.Model(model.inputs, {str(i): layer.output for i, layer in enumerate(layers)})
    outputs = probe({tensor.name: batch[tensor.name] for tensor in model.inputs}, training=True)
    for number, layer in enumerate(layers):
        for tensor in keras.tree.flatten(outputs[str(number)]):
            array = ops.convert_to_numpy(tensor)
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                return layer.name
    return None


def _has_one_output(layer: keras.Layer) -> bool:
    return len(getattr(layer, "_inbound_nodes", ())) == 1 and not isinstance(
        layer, keras.layers.InputLayer
    )


def conclusion(
    before: Mapping[str, float],
    losses: Mapping[str, float],
    norms: Mapping[str, float],
    layer: str | None,
) -> str:
    """What a replayed step shows, in a sentence or two.

    Args:
        before: losses that training saw; empty where it saw none.
        losses, norms: of the step computed again.
        layer: of `first_spoilt_layer`.
    """
    same = before.keys() <= losses.keys() and all(
        math.isclose(value, losses[name], rel_tol=1e-5, abs_tol=1e-7)
        or (not math.isfinite(value) and not math.isfinite(losses[name]))
        for name, value in before.items()
    )
    known = "The step gives the losses that training saw. " if before and same else ""
    if layer is not None:
        return f"{known}The first layer whose output is not finite is {layer}."
    spoilt = [path for path, norm in norms.items() if not math.isfinite(norm)]
    if any(not math.isfinite(loss) for loss in losses.values()):
        return f"{known}The outputs of all layers are finite; their sum, the loss, is not."
    if spoilt:
        return (
            f"{known}The losses are finite, but not the gradients of {len(spoilt)} weights, the "
            f"first of them {spoilt[0]}."
        )
    if any(not math.isfinite(loss) for loss in before.values()):
        return (
            "All is finite this time: the device does not repeat its rounding, or the backend is "
            "another one. A lower learning rate, or float32 in place of a mixed precision, makes "
            "the step safe."
        )
    return (
        f"{known}Losses and gradients are finite: it was the update that spoilt the weights. "
        "Lower the learning rate."
    )


def diagnose(
    error: NonFiniteLossError,
    model: TrainingModel,
    writer: StateWriter,
    loader: Loader,
    images_of: Callable[[int], str],
) -> NonFiniteLossError:
    """Find the step that spoilt the weights, write its replay file, and say all of it.

    Args:
        error: what the guard found.
        model: as training left it; it ends with the weights before that step.
        writer: of the run's states.
        loader: of the training batches.
        images_of: tells the images of a step.

    Returns:
        The error to raise.
    """
    logger.info(f"\nNot finite: {error} Looking for the first such step.")
    try:
        step, start = _go_back(error.step, model, loader, writer)
    except state_file.StateError as damaged:
        return NonFiniteLossError(
            f"{error} Images: {images_of(error.step)}. No replay file was written, because no "
            f"state before that step can be read: {damaged}",
            *(error.step, error.losses),
        )
    batch, images = loader.batch(step), images_of(step)
    path = Path(writer.log_dir, f"step_{step:08d}.replay")
    seen = error.losses if step == error.step else {}
    header = {**writer.header, "kind": "replay", "step": step, "images": images, "losses": seen}
    groups = {"model": values_of(model)["model"], "batch": batch.items()}
    state_file.write_state(path, header, groups)
    losses, norms = measure(model, writer.config, batch)
    finite = all(map(math.isfinite, (*losses.values(), *norms.values())))
    comment = ""
    if finite and seen:
        comment = "This time all is finite: the device does not repeat its rounding.\n"
    elif finite:
        comment = "All of it is finite: the update, with the learning rate, spoilt the weights.\n"
    epoch = writer.timetable.epoch_of(step) + 1
    return NonFiniteLossError(
        f"Training stopped: step {step} (epoch {epoch}) is the first whose loss, gradient or "
        f"update is not finite. Seen in training: {error} Computed again from the state of step "
        f"{start}:\n{describe_losses(losses, norms)}\n{comment}images: {images}\n"
        "What helps: a lower learning rate (--learning-rate, a tenth; or WARMUP_STEPS), and a look "
        "at these images and their annotations (mrcnn check). The weights before the step are "
        f"kept. What went wrong inside the step: mrcnn replay {path}",
        *(step, losses),
    )


def _go_back(
    step: int, model: TrainingModel, loader: Loader, writer: StateWriter
) -> tuple[int, int]:
    """Bring a model to before the first step that spoils loss or weights, at most `step`.

    Returns:
        (that step, the step of the state that it started from)
    """
    while True:
        state, _ = state_file.newest_state(writer.log_dir, up_to=step)
        if state is None:
            raise state_file.StateError(f"{os.fspath(writer.log_dir)}: it holds no state.")
        start = state.header["step"]
        restore(model, state, ("model", "optimizer"))
        first_bad = _run(model, loader, start, step)
        if first_bad is None and _is_finite(model):
            return step, start
        # Either earlier than the guard saw it, or in the update of the step before.
        step = step - 1 if first_bad is None else first_bad
        if step < start:
            raise state_file.StateError(f"{state.path}: its weights are not finite.")


def _run(model: TrainingModel, loader: Loader, start: int, stop: int) -> int | None:
    """Train the steps from `start` to before `stop`; the first with a loss that is not finite."""
    if start == stop:
        return None
    batches: Iterator[tuple[Batch]] = ((batch,) for batch in loader.batches(start, stop))
    # An epoch of one step each, so that the means are those of the step.
    history = model.fit(batches, steps_per_epoch=1, epochs=stop - start, verbose=0, shuffle=False)
    for number, loss in enumerate(history.history["loss"]):
        if not math.isfinite(loss):
            return start + number
    return None


def _is_finite(model: keras.Model) -> bool:
    try:
        check_finite(model)
    except NonFiniteWeightsError:
        return False
    return True


def batch_of(state: state_file.State) -> Batch:
    """The batch of a replay file."""
    return {name: np.asarray(array) for name, array in state.groups["batch"]}


def losses_of(state: state_file.State) -> dict[str, float]:
    """The losses that training saw, of a replay file; empty where it saw none."""
    losses = state.header.get("losses")
    if not isinstance(losses, dict):
        return {}
    return {name: float(value) for name, value in losses.items() if isinstance(value, int | float)}
