"""What a training shows: one bar with the time that is left, and a row an epoch.

The bar is for terminals. A pipe gets the rows, and now and then a line in a long epoch.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import keras

from mrcnn.checkpoints.timetable import Timetable
from mrcnn.logger import PlainLines, logger
from mrcnn.screen import terminal
from mrcnn.screen.epoch_table import EpochTable
from mrcnn.training.pace import duration

if TYPE_CHECKING:
    from mrcnn.checkpoints.writer import StateWriter

Logs = Mapping[str, float] | None
REDRAW_SECONDS = 0.1
LOG_SECONDS = 600.0  # between two lines of an epoch where there is no bar
_BAR = 20


class Progress(keras.callbacks.Callback):
    """Shows how far a training is.

    Args:
        total, epochs: steps and epochs of the whole run, all its stages; at least the stage's.
    """

    async_safe = True  # no step waits for it

    def __init__(self, total: int = 0, epochs: int = 0) -> None:
        super().__init__()
        self._total, self._epochs = total, epochs
        self._line = terminal.StatusLine()
        self._lock = threading.Lock()
        self._epoch = self._step = 0
        self._training = False
        self._epoch_began = self._drawn = self._said = time.monotonic()
        # When the first step that counts was done, and which; the one before it compiles the graph.
        self._measured_from: tuple[float, int] | None = None

    def begin(self, timetable: Timetable, writer: StateWriter) -> None:
        """Take up a stage.

        Args:
            timetable: of the stage.
            writer: of the states, which knows the best epoch so far.
        """
        self._timetable, self._writer = timetable, writer
        self._total = max(self._total, timetable.last_step)
        epochs = max(self._epochs, timetable.last_epoch)
        self._table = EpochTable(epochs, writer.metric, _table_width())

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._epoch, self._epoch_began = epoch, time.monotonic()
        self._said = self._epoch_began
        self._step = self._timetable.step(epoch)
        self._training = True

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        with self._lock:  # Keras has several threads
            now = time.monotonic()
            self._step = max(self._step, self._timetable.step(self._epoch, batch) + 1)
            if self._measured_from is None:
                self._measured_from = (now, self._step)
            loss = (logs or {}).get("loss")
            text = "" if loss is None else f"loss {float(loss):.4f}"
            self._show(now, text)

    def on_test_batch_end(self, batch: int, logs: Logs = None) -> None:
        if self._training:
            with self._lock:
                self._show(time.monotonic(), f"validation, batch {batch + 1}")

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._training = False
        took = duration(time.monotonic() - self._epoch_began)
        coloured = not PlainLines.program_shows_messages()
        for row in self._table.rows(epoch + 1, logs or {}, self._writer.best, took):
            style = "bold" if row.header else "green" if row.best else ""
            text = row.text
            logger.info(terminal.styled(text, style, sys.stdout) if style and coloured else text)

    def on_train_end(self, logs: Logs = None) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar away."""
        self._line.clear()

    def _show(self, now: float, text: str) -> None:
        if not logger.isEnabledFor(logging.INFO):
            return
        if not terminal.is_terminal(sys.stdout):
            if now - self._said >= LOG_SECONDS:
                self._said = now
                logger.info(f"step {self._step} of {self._total}{self._pace(now)}; {text}")
        elif now - self._drawn >= REDRAW_SECONDS:
            self._drawn = now
            share = self._step / self._total
            bar = "#" * int(share * _BAR)
            place = f"step {self._step}/{self._total} [{bar:.<{_BAR}}] {share:.0%}"
            self._line.show(f"{place}{self._pace(now)}, {text}")

    def _pace(self, now: float) -> str:
        """How long a step took on average, validations included, and all that is left will take."""
        began, first = self._measured_from or (now, self._step)
        if self._step <= first:
            return ""
        seconds = (now - began) / (self._step - first)
        return f", {seconds:.2g} s a step, {duration(seconds * (self._total - self._step))} left"


def show_themselves(callbacks: Iterable[keras.callbacks.Callback]) -> bool:
    """Whether a script has brought Keras's own bar, beside which there is no other."""
    return any(isinstance(callback, keras.callbacks.ProgbarLogger) for callback in callbacks)


def _table_width() -> int:
    """Columns for a row; what is no terminal has room for all."""
    return terminal.width() if terminal.is_terminal(sys.stdout) else 1000
