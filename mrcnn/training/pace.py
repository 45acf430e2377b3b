"""How long training will take: said after the first steps, and after the second epoch."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping

import keras

from mrcnn.logger import logger

STEPS = 10  # measured before it is said; the first of all is left out, for it compiles the graph


class Pace(keras.callbacks.Callback):
    """Says the time of a step, and when the whole training ends if it continues like this.

    One object serves all stages of a training.

    Args:
        steps: that are left in all stages together.
    """

    async_safe = True  # no step waits for it

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.left = steps
        self._begun: list[float] = []  # when the first steps began
        self._epoch_began: tuple[float, int] | None = None
        self._said_epoch = False

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        if self._begun and not self._said_epoch:  # the first epoch compiles the graph
            self._epoch_began = (time.perf_counter(), self.left)

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        self.left -= 1
        if len(self._begun) > STEPS + 1:
            return
        self._begun.append(time.perf_counter())
        if len(self._begun) == STEPS + 2:
            # The second step may still compile, and a step may wait for a file: the median.
            times = [b - a for a, b in zip(self._begun[1:], self._begun[2:], strict=False)]
            step = statistics.median(times)
            left = self.left + 1
            logger.info(
                f"{step:.2g} s a step: {left} steps are left, about {duration(left * step)} "
                "without validation."
            )

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        if self._said_epoch or self._epoch_began is None:
            return
        began, left = self._epoch_began
        done = left - self.left
        if done and self.left > 0:
            whole = (time.perf_counter() - began) / done * self.left
            logger.info(f"The rest takes about {duration(whole)}, validation included.")
        self._said_epoch = True


def duration(seconds: float) -> str:
    """A time in words, to about two digits."""
    if not math.isfinite(seconds):
        return "an unknown time"
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes / 1440:.1f} days"
