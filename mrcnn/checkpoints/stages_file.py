"""The stages that a run has trained, as a file beside its losses.

What was asked for can differ from it: a run may have been stopped, resumed with another schedule,
or ended early by a callback.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mrcnn.files.atomic import write_json
from mrcnn.files.untrusted import load_json
from mrcnn.logger import logger

if TYPE_CHECKING:
    from mrcnn.checkpoints.identity import StageRun

STAGES_FILE = "stages.json"


class TrainedStage(NamedTuple):
    """A stage of a run; epochs count from 1, as on the screen and in the names of weights files."""

    first_epoch: int
    last_epoch: int  # the planned one; a callback may have ended the stage before it
    layers: str  # a group of `mrcnn.training.stages` or a regular expression
    learning_rate: float
    rate_schedule: str | None = None  # `Config.LEARNING_RATE_SCHEDULE`
    losses: str = "all"  # a group of `mrcnn.training.stages` or a regular expression


def record_stage(
    folder: str | os.PathLike[str], stage: StageRun, rate_schedule: str | None = None
) -> None:
    """Add a stage that begins, or that is resumed, to the record of a run's folder.

    Stages that began at the same epoch or later are trained anew: they are taken out.
    """
    first = stage.first_epoch + 1
    before = [
        done._replace(last_epoch=min(done.last_epoch, first - 1))
        for done in read_stages(folder)
        if done.first_epoch < first
    ]
    what = (stage.layers, stage.learning_rate, rate_schedule, stage.losses)
    new = TrainedStage(first, stage.last_epoch, *what)
    write_json(Path(folder, STAGES_FILE), [entry._asdict() for entry in (*before, new)])


def read_stages(folder: str | os.PathLike[str]) -> list[TrainedStage]:
    """The stages of a run's folder in their order; none where there is no record.

    A damaged record costs the loss curves their marks, but no training: it is warned of.
    """
    path = Path(folder, STAGES_FILE)
    if not path.is_file():
        return []
    try:
        stages = [TrainedStage(**entry) for entry in load_json(path)]
        for stage in stages:
            texts = isinstance(stage.layers, str) and isinstance(stage.losses, str)
            if not texts or stage.first_epoch < 1 or stage.last_epoch < 1:
                raise ValueError(f"received {stage._asdict()}")
            float(stage.learning_rate)
    except (ValueError, TypeError) as error:
        logger.warning(
            f"{path}: expected a list of stages with {', '.join(TrainedStage._fields)} ({error}). "
            f"The stages so far are not marked in the loss curves."
        )
        return []
    return stages
