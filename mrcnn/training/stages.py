"""Training stages: which layers learn, from which losses, how fast and for how long.

A stage names its layers by a group (`LAYER_GROUPS`) or by a regular expression on layer names,
and its losses likewise (`LOSS_GROUPS`). Schedules are lists of stages; those of the Edge Agreement
paper (arXiv 1809.07069) are in `SCHEDULES`, beside those of other sources.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mrcnn.setting_rules.names import LOSS_NAMES
from mrcnn.weights.layers import weighted_layers

if TYPE_CHECKING:
    import keras

_HEADS = r"(mrcnn_.*)|(rpn_.*)|(fpn_.*)"


def _from_stage(first: int) -> str:
    """The ResNet stages from `first` to 5, with their batch normalization, and the heads."""
    backbone = "|".join(f"(res{stage}.*)|(bn{stage}.*)" for stage in range(first, 6))
    return f"{backbone}|{_HEADS}"


# "heads" to "all" are Matterport's: its heads are all but the ResNet. The others take the network
# apart for alternating training: the features (ResNet, of any kind, and feature pyramid), the RPN,
# and the branches for classes, boxes and masks. Learned weights of losses go with each.
LAYER_GROUPS = {
    "heads": _HEADS,
    "3+": _from_stage(3),
    "4+": _from_stage(4),
    "5+": _from_stage(5),
    "all": ".*",
    "features+rpn": r"(?!mrcnn_).*|mrcnn_loss_weights",
    "features+branches": r"(?!rpn_).*",
    "rpn": r"rpn_.*|mrcnn_loss_weights",
    "branches": r"mrcnn_.*",
}
LOSS_GROUPS = {"all": ".*", "rpn": "rpn_.*", "branches": "mrcnn_.*"}

MODES = ("full", "base", "fine")


def layer_regex(layers: str) -> str:
    """Return the regular expression of a layer group, or `layers` itself if it is one.

    Raises:
        ValueError: if `layers` is neither a group nor a valid regular expression.
    """
    regex = LAYER_GROUPS.get(layers, layers)
    try:
        re.compile(regex)
    except (re.error, TypeError) as error:
        raise ValueError(
            f"layers: expected one of {list(LAYER_GROUPS)} or a regular expression on layer "
            f"names; received {layers!r} ({error})."
        ) from None
    return regex


def trained_losses(losses: str) -> tuple[str, ...]:
    """The names of `LOSS_NAMES` that a group or regular expression on whole names means.

    Raises:
        ValueError: `losses` is neither a group nor a regular expression that matches one.
    """
    found: tuple[str, ...] = ()
    reason = ""
    try:
        pattern = re.compile(LOSS_GROUPS.get(losses, losses))
        found = tuple(name for name in LOSS_NAMES if pattern.fullmatch(name))
    except (re.error, TypeError) as error:
        reason = f" ({error})"
    if not found:
        raise ValueError(
            f"losses: expected one of {list(LOSS_GROUPS)} or a regular expression on the losses "
            f"{', '.join(LOSS_NAMES)}; received {losses!r}{reason}."
        )
    return found


@dataclass(frozen=True)
class Stage:
    """One stage of training.

    Attributes:
        layers: that learn: a key of `LAYER_GROUPS` or a regular expression on layer names.
        learning_rate: of the optimizer, above 0.
        steps: optimizer steps (batches), at least 1.
        losses: that they learn from: a key of `LOSS_GROUPS` or a regular expression on losses.
    """

    layers: str
    learning_rate: float
    steps: int
    losses: str = "all"

    def __post_init__(self) -> None:
        layer_regex(self.layers)
        trained_losses(self.losses)
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(
                f"Stage.learning_rate: expected a finite number above 0; "
                f"received {self.learning_rate}."
            )
        if self.steps < 1 or self.steps != int(self.steps):
            raise ValueError(
                f"Stage.steps: expected an integer of at least 1; received {self.steps}."
            )

    def as_tuple(self) -> tuple[Any, ...]:
        """Its values for a file, from which `Stage(*values)` makes it; all losses need no name."""
        values = (self.layers, self.learning_rate, self.steps)
        return values if self.losses == "all" else (*values, self.losses)


def _paper(last_steps: int) -> tuple[Stage, ...]:
    """Heads, then ResNet stage 4 and up, then everything at a tenth of the rate."""
    return (
        Stage("heads", 1e-3, 40_000),
        Stage("4+", 1e-3, 80_000),
        Stage("all", 1e-4, last_steps),
    )


# For a random start, where frozen layers would stay noise: everything learns from the first
# step, at rates that suit trained batch statistics (TRAIN_BN = None). Steep losses first need a
# few steps at a lower rate.
_SCRATCH = (Stage("all", 4e-3, 1_000), Stage("all", 2e-2, 13_000), Stage("all", 2e-3, 6_000))

# The four steps of Faster R-CNN (Ren et al. 2015, section 3.2) on one network: the RPN with the
# features, the branches with the features, then each alone on features that stay. The lengths are
# those of its published code; its rates fall to a tenth for the last quarter of each step, for
# which there is LEARNING_RATE_SCHEDULE here. Proposals come from the network as it is.
_ALTERNATING = (
    Stage("features+rpn", 1e-3, 80_000, losses="rpn"),
    Stage("features+branches", 1e-3, 40_000, losses="branches"),
    Stage("rpn", 1e-3, 80_000, losses="rpn"),
    Stage("branches", 1e-3, 40_000, losses="branches"),
)


def _cityscapes(factor: int) -> tuple[Stage, ...]:
    """Appendix A of Mask R-CNN: 24k steps of 8 images at 0.01, and at 0.001 from 18k on.

    Args:
        factor: of the steps, by which the rates are divided: for batches so much smaller.
    """
    return (
        Stage("all", 1e-2 / factor, 18_000 * factor),
        Stage("all", 1e-3 / factor, 6_000 * factor),
    )


# The longer runs of the paper extend the last stage only.
def _falling(layers: str, rate: float, first: int, lengths: Sequence[int]) -> tuple[Stage, ...]:
    """Stages whose rates fall to a tenth each, after some steps at a quarter of the first one.

    Args:
        layers: that learn.
        rate: of the first stage.
        first: of its steps, those at a quarter of the rate.
        lengths: of the stages, in steps.
    """
    falling = [Stage(layers, rate / 10**k, steps) for k, steps in enumerate(lengths)]
    falling[0] = replace(falling[0], steps=lengths[0] - first)
    return (Stage(layers, rate / 4, first), *falling)


# In steps of 16 and of 64 images; smaller batches take so many times the steps (`--scale`), and so
# much less of the rate. Where the published schedules let the rate rise in a line, the first steps
# here have a quarter of it.
_COCO_1X = _falling("3+", 2e-2, 1_000, (60_000, 20_000, 10_000))
_COCO_3X = _falling("3+", 2e-2, 1_000, (210_000, 40_000, 20_000))
_JITTER_100 = _falling("all", 1e-1, 500, (163_889, 13_657, 6_829))

SCHEDULES = {
    "paper-160k": _paper(40_000),
    "paper-320k": _paper(200_000),
    "paper-640k": _paper(520_000),
    "scratch": _SCRATCH,
    "alternating": _ALTERNATING,
    "cityscapes-24k": _cityscapes(1),
    "cityscapes-48k": _cityscapes(2),
    "coco-1x": _COCO_1X,
    "coco-3x": _COCO_3X,
    "coco-100-epochs": _JITTER_100,
}


def matching_layers(model: keras.Model, layers: str) -> list[keras.Layer]:
    """Return the layers with weights whose whole name matches, in the order of the model.

    Layers inside `rpn_model` are matched by their own names; a match of an inner model's name
    takes all of its layers.

    Args:
        model: the network.
        layers: a key of `LAYER_GROUPS` or a regular expression.

    Raises:
        ValueError: if no layer matches.
    """
    pattern = re.compile(layer_regex(layers))
    candidates = list(weighted_layers(model))
    found = [
        layer
        for layer, owners in candidates
        if any(pattern.fullmatch(name) for name in (layer.name, *owners))
    ]
    if not found:
        some = ", ".join(layer.name for layer, _ in candidates[:3]) or "none"
        raise ValueError(
            f"layers: {layers!r} matches no layer of the model. Expected one of "
            f"{list(LAYER_GROUPS)} or a regular expression on whole layer names such as: {some}."
        )
    return found


def schedule(name: str, scale: float = 1.0) -> list[Stage]:
    """Return the stages of a schedule, each with `scale` times its steps (at least 1).

    Raises:
        ValueError: if the name is unknown or the scale not above 0.
    """
    if name not in SCHEDULES:
        raise ValueError(f"schedule: expected one of {list(SCHEDULES)}; received {name!r}.")
    if not 0 < scale < math.inf:
        raise ValueError(f"scale: expected a finite number above 0; received {scale}.")
    return [replace(stage, steps=max(1, round(stage.steps * scale))) for stage in SCHEDULES[name]]


def of_length(stages: Sequence[Stage], steps: int) -> list[Stage]:
    """The stages in the same proportions, with exactly `steps` steps in all.

    What rounding leaves goes to the stages that it cost most. A stage that is left without a step
    is left out.

    Raises:
        ValueError: `steps` is below 1.
    """
    if steps < 1 or steps != int(steps):
        raise ValueError(f"steps: expected a whole number of at least 1; received {steps}.")
    total = sum(stage.steps for stage in stages)
    shares = [stage.steps * steps / total for stage in stages]
    lengths = [int(share) for share in shares]
    by_loss = sorted(range(len(stages)), key=lambda i: (lengths[i] - shares[i], -i))
    for i in by_loss[: steps - sum(lengths)]:
        lengths[i] += 1
    return [
        replace(stage, steps=length)
        for stage, length in zip(stages, lengths, strict=True)
        if length
    ]


def extended(stages: Sequence[Stage], steps: int) -> list[Stage]:
    """The stages with `steps` steps in all: the last one takes the difference.

    So what was trained of a schedule stays what it was when the whole is made longer or shorter.

    Raises:
        ValueError: `steps` is below 1.
    """
    if steps < 1:
        raise ValueError(f"steps: expected a whole number of at least 1; received {steps}.")
    found: list[Stage] = []
    for number, stage in enumerate(stages, start=1):
        left = steps - sum(before.steps for before in found)
        length = left if number == len(stages) else min(left, stage.steps)
        if length > 0:
            found.append(replace(stage, steps=length))
    return found


def of_rate(stages: Sequence[Stage], learning_rate: float) -> list[Stage]:
    """The stages with this rate in the fastest, and the others in proportion."""
    factor = learning_rate / max(stage.learning_rate for stage in stages)
    return [replace(stage, learning_rate=factor * stage.learning_rate) for stage in stages]


def select(stages: Sequence[Stage], mode: str) -> list[Stage]:
    """Return the stages of a training mode of the Edge Agreement fork.

    Args:
        stages: at least one; two or more for "base".
        mode: "full": all stages; "base": all but the last; "fine": the last only.

    Raises:
        ValueError: if the mode is unknown or leaves no stage.
    """
    if mode not in MODES:
        raise ValueError(f"mode: expected one of {list(MODES)}; received {mode!r}.")
    chosen = {"full": stages, "base": stages[:-1], "fine": stages[-1:]}[mode]
    if not chosen:
        raise ValueError(f"mode {mode!r} leaves no stage of the {len(stages)} given.")
    return list(chosen)


def epochs(stages: Sequence[Stage], steps_per_epoch: int, start: int = 0) -> list[int]:
    """Return the number of the epoch at which each stage ends.

    Epochs count on through the stages, as `train(epochs=…)` does. The last epoch of a stage has
    what is left of its steps.

    Args:
        stages: in the order of training.
        steps_per_epoch: at least 1.
        start: the epochs that are done already, when training resumes.
    """
    if steps_per_epoch < 1:
        raise ValueError(f"steps_per_epoch: expected at least 1; received {steps_per_epoch}.")
    ends = []
    for stage in stages:
        start += math.ceil(stage.steps / steps_per_epoch)
        ends.append(start)
    return ends


def epoch_ends(stages: Sequence[Stage], steps_per_epoch: int) -> list[int]:
    """The steps done at the end of each epoch; the last one of a stage may be short."""
    ends, done = [], 0
    for stage in stages:
        ends += [
            done + min(step + steps_per_epoch, stage.steps)
            for step in range(0, stage.steps, steps_per_epoch)
        ]
        done += stage.steps
    return ends
