"""What only a terminal gets: colours, and a line at the bottom that is drawn again and again.

A pipe or a file gets plain lines: neither escape codes nor carriage returns. tqdm's bars follow the
same rule by `disable=None`, but for downloads, which are long.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}
_END = "\x1b[0m"
_CLEAR = "\r\x1b[K"  # to the beginning of the line, and erase it
FALLBACK_WIDTH = 100


def is_terminal(stream: Any) -> bool:
    """Whether somebody looks at a stream who sees a line being drawn again."""
    try:
        return bool(stream.isatty()) and os.environ.get("TERM") != "dumb"
    except (AttributeError, ValueError):  # there is none, or it is closed
        return False


def has_colours(stream: Any) -> bool:
    """Whether to write in colours: on a terminal, unless NO_COLOR is set (https://no-color.org)."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR")


def styled(text: str, style: str, stream: Any) -> str:
    """A text in a style of `STYLES`, where the stream has colours; otherwise as it is."""
    return f"\x1b[{STYLES[style]}m{text}{_END}" if text and has_colours(stream) else text


def width() -> int:
    """Columns of the terminal; where there is none, `FALLBACK_WIDTH`."""
    return shutil.get_terminal_size((FALLBACK_WIDTH, 24)).columns


class StatusLine:
    """The last line of a terminal, which says how far something is.

    One process shows one of them. Messages of `mrcnn.logger` appear above it; what others print
    begins at its end, and it is drawn again below.
    """

    _shown: StatusLine | None = None
    _lock = threading.RLock()

    def __init__(self) -> None:
        self.text = ""

    def show(self, text: str) -> None:
        """Draw it anew, cut to the width of the terminal."""
        with self._lock:
            self.text = text[: max(1, width() - 1)]
            StatusLine._shown = self
            _write(_CLEAR + self.text)

    def clear(self) -> None:
        """Take it away."""
        with self._lock:
            if StatusLine._shown is self:
                StatusLine._shown = None
                _write(_CLEAR)


@contextmanager
def above_status_line() -> Iterator[None]:
    """A context in which whole lines can be written: the status line is away meanwhile."""
    with StatusLine._lock:
        line = StatusLine._shown
        if line is not None:
            line.clear()
        try:
            yield
        finally:
            if line is not None:
                line.show(line.text)


def _write(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except (OSError, ValueError):  # the terminal is gone; what it showed of a training is not
        pass
