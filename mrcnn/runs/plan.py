"""The plan of a training: what the options and the run that continues say about its length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from mrcnn.logger import logger
from mrcnn.training import stages
from mrcnn.training.stages import Stage

# The options that a run remembers, beside its settings.
SCHEDULE_OPTIONS = ("schedule", "training_mode", "steps", "scale", "learning_rate")


@dataclass(frozen=True)
class Plan:
    """The stages of a training.

    Attributes:
        stages: in their order.
        start: the epoch at which the first of them begins; None: where the run is.
        options: of `SCHEDULE_OPTIONS`, that led to the stages.
    """

    stages: list[Stage]
    start: int | None
    options: dict[str, Any]

    @property
    def steps(self) -> int:
        """Of all stages."""
        return sum(stage.steps for stage in self.stages)

    def as_json(self, start: int) -> dict[str, Any]:
        """As `stored_plan` takes it.

        Args:
            start: the epoch at which the first stage began.
        """
        return {**self.options, "stages": [s.as_tuple() for s in self.stages], "start": start}


def stored_plan(training: Mapping[str, Any]) -> Plan | None:
    """The plan in a run's `config.json`; None where it holds none.

    Raises:
        ValueError: what it holds is no plan.
    """
    if "stages" not in training:
        return None
    try:
        # Older runs name no losses: they trained with all.
        found = [
            Stage(str(layers), rate, steps, *losses)
            for layers, rate, steps, *losses in training["stages"]
        ]
        start = int(training["start"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"config.json: training: expected the stages of a run; {error!r} in {training!r}."
        ) from error
    options = {name: training.get(name) for name in SCHEDULE_OPTIONS}
    return Plan(found, start, options)


def continued(plan: Plan, given: Mapping[str, Any]) -> Plan | None:
    """The plan of a run that continues, or None where the options ask for other stages.

    Another number of steps alone is no other schedule: see `of_length`.

    Args:
        plan: of the run.
        given: options of `SCHEDULE_OPTIONS`; None: not given.
    """
    agree = all(
        value in (None, plan.options[name]) for name, value in given.items() if name != "steps"
    )
    return plan if agree else None


def of_length(plan: Plan, steps: int | None, finished: bool, done: int) -> Plan:
    """A run's plan with another number of steps in all; what was trained of it stays.

    The last stage becomes longer or shorter. Once it is over, what is added is a stage of its own,
    of the same layers and rate.

    Args:
        plan: of the run.
        steps: in all; None: as planned.
        finished: whether the run has trained its plan.
        done: steps trained.

    Raises:
        ValueError: more steps than that are trained already.
    """
    if steps is None or steps == plan.steps:
        return plan
    if steps < done and not finished:
        raise ValueError(
            f"--steps {steps}: expected at least the {done} steps that the run has trained."
        )
    if not finished:
        found = stages.extended(plan.stages, steps)
    elif steps < plan.steps:
        return plan
    else:
        found = [*plan.stages, replace(plan.stages[-1], steps=steps - plan.steps)]
    logger.info(
        f"The run continues to {steps} steps in all, in place of {plan.steps}: "
        f"{describe_stages(found)}."
    )
    return Plan(found, plan.start, {**plan.options, "steps": steps, "scale": None})


def describe_stages(chosen: Sequence[Stage]) -> str:
    """The stages in words."""
    return "; ".join(
        f"{stage.steps} steps, layers {_what_learns(stage)}, rate {stage.learning_rate:g}"
        for stage in chosen
    )


def _what_learns(stage: Stage) -> str:
    """The layers of a stage, and its losses where they are not all."""
    return stage.layers + ("" if stage.losses == "all" else f" (losses: {stage.losses})")


def describe(
    config: Config, plan: Plan, train_set: Dataset, val_set: Dataset | None, weights: str
) -> str:
    """What is about to be trained, in a few lines.

    Args:
        config: of the training.
        plan: its length.
        train_set, val_set: prepared.
        weights: what it starts from, as a sentence.
    """
    steps, batch = plan.steps, config.BATCH_SIZE
    epochs = stages.epochs(plan.stages, config.STEPS_PER_EPOCH)[-1]
    passes = steps * batch / max(1, train_set.num_images)
    validation = "none" if val_set is None else f"{val_set.num_images} images"
    if val_set is not None:
        images = min(val_set.num_images, config.VALIDATION_STEPS * batch)
        validation += f", {images} of them after each epoch"
    lines = [
        f"training     {train_set.num_images} images",
        f"validation   {validation}",
        f"start        {weights}",
        f"length       {_counted(steps, 'step')} of {_counted(batch, 'image')} "
        f"({_counted(f'{passes:.3g}', 'pass', 'passes')} through the data) in "
        f"{_counted(epochs, 'epoch')} of {_counted(min(steps, config.STEPS_PER_EPOCH), 'step')}",
    ]
    for number, stage in enumerate(plan.stages, start=1):
        lines.append(
            f"  stage {number}    {stage.steps} steps at rate {stage.learning_rate:g}, layers: "
            f"{_what_learns(stage)}"
        )
    lines.append(
        "time         follows after ten steps; --steps, --image-size and --backbone shorten it"
    )
    return "\n".join(lines)


def _counted(count: int | str, one: str, several: str = "") -> str:
    """A number with its noun."""
    return f"{count} {one if str(count) == '1' else several or one + 's'}"
