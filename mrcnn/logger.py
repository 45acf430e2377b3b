"""The package's one logger, `mrcnn`.

Its messages appear as plain lines, as Matterport's `print` showed them, unless the program has
set up logging itself: then they go there and nowhere else. On a terminal, warnings are yellow and
errors red.
`logging.getLogger("mrcnn").setLevel("WARNING")` silences what is only information.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from mrcnn.screen.terminal import above_status_line, styled

_STYLES = {logging.WARNING: "yellow", logging.ERROR: "red", logging.CRITICAL: "red"}


class PlainLines(logging.Handler):
    """Writes messages to the standard output, warnings and errors to the standard error.

    Silent where the program has added handlers, to the root logger or to this package's: these
    show the messages. The streams are looked up for each message, because notebooks and tests
    replace them.
    """

    @staticmethod
    def program_shows_messages() -> bool:
        added = (*logging.getLogger().handlers, *logging.getLogger("mrcnn").handlers)
        return not all(isinstance(handler, PlainLines) for handler in added)

    def emit(self, record: logging.LogRecord) -> None:
        if self.program_shows_messages():
            return
        try:
            stream = sys.stderr if record.levelno >= logging.WARNING else sys.stdout
            text, style = self.format(record), _STYLES.get(record.levelno)
            with above_status_line():
                print(styled(text, style, stream) if style else text, file=stream, flush=True)
        except Exception:  # as every handler of the standard library does
            self.handleError(record)


@contextmanager
def keeping_handlers() -> Iterator[None]:
    """Undo what a library does to the root logger, as TensorFlow does when it saves a model.

    Its handler would count as the program's, and the messages of this package would look like its.
    """
    root = logging.getLogger()
    before = list(root.handlers)
    try:
        yield
    finally:
        for handler in list(root.handlers):
            if handler not in before:
                root.removeHandler(handler)


def _make_logger() -> logging.Logger:
    made = logging.getLogger("mrcnn")
    for handler in list(made.handlers):
        # By its name, because the class is another one after a reload of this module.
        if type(handler).__name__ == PlainLines.__name__:
            made.removeHandler(handler)
    made.addHandler(PlainLines())
    if made.level == logging.NOTSET:
        made.setLevel(logging.INFO)
    return made


logger = _make_logger()
