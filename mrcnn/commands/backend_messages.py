"""Keeps what TensorFlow says of itself from a command's screen, unless it is asked for.

Its C++ part writes to the standard error whatever the settings are: which optimizations it has,
that there is no GPU, which kernels a processor lacks. Only lines of these forms are left out, and
only of what is written past Python: Python's own stream (tracebacks, warnings, progress bars) goes
to the screen as ever. A process of its own does it, so that nothing is lost in a crash.
"""

from __future__ import annotations

import io
import logging
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

KNOWN_LINES = (
    r"WARNING: All log messages before absl::InitializeLog\(\) is called are written to STDERR",
    r"I0000 \d\d:\d\d:.*",  # information
    # Of whole numbers, which are Eigen's on every processor. Of bfloat16 it is worth knowing.
    r"E0000 \d\d:\d\d:.*\] oneDNN supports DT_(U?INT\d+|BOOL) only on platforms with AVX-512\..*",
)
# Where there is a GPU, this is an error that its owner has to see.
KNOWN_LINES_WITHOUT_GPU = (r"E0000 \d\d:\d\d:.* failed call to cuInit.*",)
SECONDS_TO_WAIT = 0.2  # for the end of the filter, when all is shown
RETRACING = "triggered tf.function retracing"  # images of several sizes are meant to do that

# Of a line without an end, only what may turn out to be known is held back. The end of the context
# is NUL and a random text, wherever it stands, and is answered.
_FILTER = r"""
import os, re, sys
end = b"\0" + sys.argv[1].encode()
known = re.compile("|".join(sys.argv[2:]).encode())
beginnings = (b"WARNING: All log", b"I0000 ", b"E0000 ")

def show(data):
    while data:
        try:
            data = data[os.write(2, data):]
        except OSError:  # the screen is gone, but who writes should not be stopped by it
            return

def show_line(line, rest):
    if shown or not known.fullmatch(line.rstrip(b"\r")):
        show(line + rest)

held, shown = b"", False  # of the line without an end: what was not shown; whether a part was
while chunk := os.read(0, 1 << 16):
    held += chunk
    if end in held:
        before, held = held.split(end)
        *lines, last = before.split(b"\n")
        for line in lines:
            show_line(line, b"\n")
            shown = False
        show_line(last, b"")
        shown = False
        os.write(1, b".")
    *lines, held = held.split(b"\n")
    for line in lines:
        show_line(line, b"\n")
        shown = False
    whole = held.find(b"\0") + 1 or len(held) + 1
    part, held = held[: whole - 1], held[whole - 1 :]
    if shown or not any(part[: len(b)] == b[: len(part)] for b in beginnings):
        show(part)
        shown = shown or bool(part)
    else:
        held = part + held
show_line(held, b"")
"""


@contextmanager
def without_backend_messages(verbose: bool = False) -> Iterator[None]:
    """A context in which a command's screen holds no known messages of TensorFlow.

    Args:
        verbose: leave nothing out.
    """
    if verbose:
        yield
        return
    tensorflow_logger, no_retracing = logging.getLogger("tensorflow"), _NoRetracing()
    tensorflow_logger.addFilter(no_retracing)
    try:
        with without_lines(known_lines()):
            yield
    finally:
        tensorflow_logger.removeFilter(no_retracing)


def known_lines() -> tuple[str, ...]:
    """Regular expressions of the lines that are left out on this machine."""
    has_gpu = any(Path("/dev").glob("nvidia[0-9]*")) or os.name == "nt"
    return KNOWN_LINES if has_gpu else KNOWN_LINES + KNOWN_LINES_WITHOUT_GPU


@contextmanager
def without_lines(patterns: Sequence[str]) -> Iterator[None]:
    """A context in which lines that match do not reach the standard error of the process.

    What Python writes to `sys.stderr` is not looked at. Where there is no standard error, or no
    process can be started, nothing is left out.

    Args:
        patterns: regular expressions of whole lines.
    """
    end = secrets.token_hex(16)
    try:
        screen = os.dup(2)
    except OSError:
        yield
        return
    try:
        process = _start_filter(end, patterns)
    except OSError:
        os.close(screen)
        yield
        return
    assert process.stdin is not None and process.stdout is not None
    before = sys.stderr
    own = sys.stderr = _beside_standard_error(before, screen)
    os.dup2(process.stdin.fileno(), 2)
    try:
        yield
    finally:
        if sys.stderr is own:
            sys.stderr = before
        if own is not None:  # as in a program without a console
            with suppress(OSError, ValueError):
                own.flush()
        os.dup2(screen, 2)
        os.close(screen)
        # Programs that were started meanwhile may still write; all lines until now are shown.
        with suppress(OSError), process.stdin:
            process.stdin.write(b"\0" + end.encode())
        with process.stdout:
            process.stdout.read(1)
        try:
            process.wait(SECONDS_TO_WAIT)
        except subprocess.TimeoutExpired:
            _unended.append(process)


_unended: list[subprocess.Popen[bytes]] = []  # filters whose pipe other programs still hold
_streams: list[TextIO] = []  # which loggers that were set up meanwhile may continue writing to


def _start_filter(end: str, patterns: Sequence[str]) -> subprocess.Popen[bytes]:
    # A group of its own: Ctrl-C is for the command, whose last words are still to be shown.
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _FILTER, end, *patterns],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )


def _beside_standard_error(stream: TextIO, screen: int) -> TextIO:
    """A stream to the same screen that does not go through the standard error; others stay."""
    try:
        if not isinstance(stream, io.TextIOWrapper) or stream.fileno() != 2:
            return stream
        stream.flush()
    except (OSError, ValueError):  # it is closed
        return stream
    options: dict[str, Any] = {"encoding": stream.encoding, "errors": stream.errors}
    _streams.append(open(os.dup(screen), "w", buffering=1, **options))
    return _streams[-1]


class _NoRetracing(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return RETRACING not in record.getMessage()
