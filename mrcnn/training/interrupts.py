"""Ctrl-C and SIGTERM as a request to stop at the next step, so that a state is written first."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

from mrcnn.training import hosts

_NAMES: dict[int, str] = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


class StopRequest:
    """A context in which the first signal is noted; a second Ctrl-C stops at once.

    Outside the main thread, where Python allows no handlers, nothing is changed. A SIGINT that
    the process was started to ignore stays ignored.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in _NAMES:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._handlers[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def agree(self) -> None:
        """Let the signal of one process be that of all that train together."""
        self.signal = hosts.largest(self.signal or 0) or None

    def raise_if_received(self) -> None:
        """Raise what the signal would have raised: KeyboardInterrupt, or SystemExit(143)."""
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        if self.signal is not None:
            raise SystemExit(128 + self.signal)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            hosts.leave(128 + number)
            raise KeyboardInterrupt
        self.signal = number
        # Not print: a handler may interrupt a print.
        text = f"\n{_NAMES[number]}: writing a checkpoint after this step (Ctrl-C: stop at once).\n"
        os.write(2, text.encode())
