"""Keeps what TensorFlow says while it is loaded from a command's screen, unless it is asked for.

Its C++ part writes to the standard error before it looks at any setting: which optimizations it
has, and on a machine without a GPU that there is none. Only these lines are left out. What is
written goes through a process of its own, so that nothing else is lost, even if loading crashes.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

KNOWN_LINES = (
    r"WARNING: All log messages before absl::InitializeLog\(\) is called are written to STDERR",
    r"I0000 \d\d:\d\d:.*",  # information
)
# Where there is a GPU, this is an error that its owner has to see.
KNOWN_LINES_WITHOUT_GPU = (r"E0000 \d\d:\d\d:.* failed call to cuInit.*",)
RETRACING = "triggered tf.function retracing"  # images of several sizes are meant to do that
SECONDS_TO_WAIT = 5.0

_FILTER = """
import re, sys
known = re.compile("|".join(sys.argv[1:]).encode())
for line in sys.stdin.buffer:
    if not known.fullmatch(line.rstrip(b"\\r\\n")):
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
"""


def hide_known_messages() -> None:
    """Leave known lines out of what TensorFlow writes when it is loaded, and its retracing hints.

    Without effect where TensorFlow is loaded already.
    """
    tensorflow_logger = logging.getLogger("tensorflow")
    if not any(isinstance(known, _NoRetracing) for known in tensorflow_logger.filters):
        tensorflow_logger.addFilter(_NoRetracing())
    if not any(isinstance(finder, _QuietFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _QuietFinder())


def known_lines() -> tuple[str, ...]:
    """Regular expressions of the lines that are left out on this machine."""
    has_gpu = any(Path("/dev").glob("nvidia[0-9]*")) or os.name == "nt"
    return KNOWN_LINES if has_gpu else KNOWN_LINES + KNOWN_LINES_WITHOUT_GPU


@contextmanager
def without_lines(patterns: Sequence[str]) -> Iterator[None]:
    """A context in which lines that match do not reach the standard error of the process.

    Args:
        patterns: regular expressions of whole lines.
    """
    sys.stderr.flush()
    program = [sys.executable, "-I", "-S", "-c", _FILTER, *patterns]
    with subprocess.Popen(program, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        shown = os.dup(2)
        os.dup2(process.stdin.fileno(), 2)
        process.stdin.close()
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(shown, 2)
            os.close(shown)
            # A program that was started meanwhile may still write.
            with suppress(subprocess.TimeoutExpired):
                process.wait(SECONDS_TO_WAIT)


class _NoRetracing(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return RETRACING not in record.getMessage()


class _QuietFinder(MetaPathFinder):
    """Finds TensorFlow as Python would, once, with a loader that leaves the lines out."""

    def find_spec(
        self, fullname: str, path: Any = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _QuietLoader(spec.loader)
        return spec


class _QuietLoader(Loader):
    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        with without_lines(known_lines()):
            self._loader.exec_module(module)
            module.config.list_physical_devices()  # looks for a GPU now, not in the first step
