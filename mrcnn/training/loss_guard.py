"""Watches the loss of every step: stops at one that is not finite, logs one that jumps or diverges.

Keras hands callbacks the running means of the epoch, and fetches them from the device in a
thread of its own when every callback allows it, as this one does. So watching waits for no step:
the answer comes a few steps late, and the steps in between are thrown away with their weights
(`mrcnn.training.nonfinite` goes back to before the first bad step). The loss of a step is the
difference of two running sums, exact to about 1e-7 times the number of steps.
"""

from __future__ import annotations

import math
import statistics
import threading
from collections import deque
from collections.abc import Callable, Mapping

import keras

from mrcnn.checkpoints.timetable import Timetable
from mrcnn.logger import logger

# A loss is compared with the median of the last steps, once there are enough of them.
SPIKE_WINDOW, SPIKE_WARM_UP = 100, 20  # steps
# Training has diverged when the median of the last steps is so many times that of the first.
DIVERGED_STEPS, DIVERGED_FACTOR = 20, 100.0
DIVERGED = """
    !!! The loss has left its range: {now:.4g} at step {step}, after {first:.4g} in the first
    !!! {steps} steps (medians). Training has diverged, and what it learns from here on is worth
    !!! nothing. Stop it, and begin again with a lower learning rate (a tenth), WARMUP_STEPS, or a
    !!! lower GRADIENT_CLIP_NORM. The weights of the epochs before are kept.
"""


class NonFiniteLossError(FloatingPointError):
    """The loss of a step is NaN or infinite.

    Attributes:
        step: of the whole training, counted from 0.
        losses: of the step, by name.
    """

    def __init__(self, message: str, step: int, losses: Mapping[str, float]) -> None:
        super().__init__(message)
        self.step = step
        self.losses = dict(losses)


class LossGuard(keras.callbacks.Callback):
    """Callback that raises a `NonFiniteLossError`, logs spikes, and says once that it diverges.

    Args:
        timetable: of the stage.
        spike_factor: `Config.LOSS_SPIKE_FACTOR`.
        images_of: tells the images of a step, for the log.
    """

    async_safe = True  # lets Keras call `on_train_batch_end` in its own thread, see above

    def __init__(
        self,
        timetable: Timetable,
        spike_factor: float | None,
        images_of: Callable[[int], str],
    ) -> None:
        super().__init__()
        self.timetable = timetable
        self.spike_factor = spike_factor
        self.images_of = images_of
        self.recent: deque[float] = deque(maxlen=SPIKE_WINDOW)
        self.spikes: list[int] = []
        self.diverged_at: int | None = None
        self._first: list[float] = []  # losses
        self._last: deque[float] = deque(maxlen=DIVERGED_STEPS)
        self._lock = threading.Lock()

    def begin(self, epoch: int, batch: int) -> None:
        """Expect the losses of an epoch from a batch on; the metrics hold those before it."""
        with self._lock:
            self._epoch, self._next = epoch, batch
            self._waiting: dict[int, dict[str, float]] = {}
            means = self.model.get_metrics_result() if batch else {}
            self._sums = {name: batch * float(mean) for name, mean in means.items()}

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        with self._lock:
            # Keras has several threads: what comes early waits for its turn.
            self._waiting[batch] = dict(logs or {})
            while self._next in self._waiting:
                self._take(self._next, self._waiting.pop(self._next))
                self._next += 1

    def _take(self, batch: int, means: dict[str, float]) -> None:
        sums = {name: (batch + 1) * mean for name, mean in means.items()}
        losses = {name: total - self._sums.get(name, 0.0) for name, total in sums.items()}
        self._sums = sums
        step = self.timetable.step(self._epoch, batch)
        if not all(math.isfinite(loss) for loss in losses.values()):
            raise NonFiniteLossError(f"Step {step}: {text_of(losses)}.", step, losses)
        loss = losses.get("loss")
        if loss is None:
            return
        if self.spike_factor is not None and len(self.recent) >= SPIKE_WARM_UP:
            usual = statistics.median(self.recent)
            if loss > self.spike_factor * usual:
                self.spikes.append(step)
                logger.warning(
                    "Loss spike at step %d (epoch %d): %s; the median of the last %d steps is "
                    "%.4g. Images: %s",
                    *(step, self._epoch + 1, text_of(losses), len(self.recent), usual),
                    self.images_of(step),
                )
        self.recent.append(loss)
        self._look_for_divergence(step, loss)

    def _look_for_divergence(self, step: int, loss: float) -> None:
        if len(self._first) < DIVERGED_STEPS:
            self._first.append(loss)
            return
        self._last.append(loss)
        if self.diverged_at is not None or len(self._last) < DIVERGED_STEPS:
            return
        first, now = statistics.median(self._first), statistics.median(self._last)
        if now > DIVERGED_FACTOR * abs(first):
            self.diverged_at = step
            values = {"now": now, "first": first, "step": step, "steps": DIVERGED_STEPS}
            logger.error(DIVERGED.format(**values))


def text_of(losses: Mapping[str, float]) -> str:
    """Losses by name, the total first."""
    names = sorted(losses, key=lambda name: (name != "loss", name))
    return ", ".join(f"{name} {losses[name]:.6g}" for name in names)
