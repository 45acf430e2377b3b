"""Which step of a run is which step of an epoch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Timetable:
    """The epochs of a stage and their steps, all counted from the start of the run.

    Every epoch has `steps_per_epoch` steps but the last, which has what is left of the stage: so
    a stage has exactly the steps that were asked for.

    Attributes:
        first_epoch: epochs done when the stage begins.
        first_step: steps done by then.
        last_step: steps done when it ends.
        steps_per_epoch: `Config.STEPS_PER_EPOCH`.
    """

    first_epoch: int
    first_step: int
    last_step: int
    steps_per_epoch: int

    @property
    def last_epoch(self) -> int:
        """Epochs done when the stage ends."""
        return self.first_epoch + -(-(self.last_step - self.first_step) // self.steps_per_epoch)

    def step(self, epoch: int, step_in_epoch: int = 0) -> int:
        """The steps done after `epoch` whole epochs and some steps of the next one.

        Of an epoch before the stage, where only the number is known, each is taken to be whole.
        """
        step = self.first_step + (epoch - self.first_epoch) * self.steps_per_epoch
        if epoch >= self.last_epoch:
            step = self.last_step
        return max(0, step) + step_in_epoch

    def length(self, epoch: int) -> int:
        """The steps of an epoch, counted from 0."""
        return self.step(epoch + 1) - self.step(epoch)

    def epoch_of(self, step: int) -> int:
        """The epoch, counted from 0, that a step of the stage, counted from 0, belongs to."""
        return self.first_epoch + (step - self.first_step) // self.steps_per_epoch
