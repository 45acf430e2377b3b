"""The first screen of a command holds its own messages; real errors come through."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest

from mrcnn.commands import backend_messages
from mrcnn.commands.backend_messages import KNOWN_LINES_WITHOUT_GPU, known_lines

NOISE = """WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795933559.355023   19790 port.cc:153] oneDNN custom operations are on.
"""
CUDA = "E0000 00:00:1795933566.186118   1 cuda_platform.cc:5] failed call to cuInit: INTERNAL\n"
ERRORS = """E0000 00:00:1795933566.186118   19790 other.cc:52] something else failed
F0000 00:00:1795933566.186118   19790 cpu_guard.cc:1] compiled to use AVX instructions
The last words, without an end"""

WRITE = """
import os, sys
from mrcnn.commands.backend_messages import known_lines, without_lines
with without_lines(known_lines()):
    os.write(2, sys.argv[1].encode())
    {end}
print("after", file=sys.stderr)
"""


def written(text: str, end: str = "pass") -> tuple[str, int]:
    command = [sys.executable, "-c", WRITE.format(end=end), text]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.stderr, done.returncode


def test_only_known_lines_are_left_out():
    assert written(NOISE + ERRORS + "\n" + NOISE) == (ERRORS + "\nafter\n", 0)


def test_nothing_is_lost_in_a_crash():
    error, status = written(NOISE + ERRORS, "os.abort()")
    assert status < 0 and error.startswith(ERRORS)
    error, status = written(NOISE + ERRORS + "\n", "raise OSError('a plain error')")
    assert status == 1 and error.startswith(ERRORS) and "a plain error" in error


def test_that_the_driver_failed_is_told_where_there_is_a_gpu(monkeypatch):
    monkeypatch.setattr(backend_messages.Path, "glob", lambda self, pattern: iter(["nvidia0"]))
    assert not set(KNOWN_LINES_WITHOUT_GPU) & set(known_lines())
    if os.name != "nt":
        monkeypatch.setattr(backend_messages.Path, "glob", lambda self, pattern: iter(()))
        assert set(KNOWN_LINES_WITHOUT_GPU) <= set(known_lines())
        assert written(CUDA)[0] in ("after\n", CUDA + "after\n")  # as this machine is


@pytest.fixture
def restored():
    logger, finders = logging.getLogger("tensorflow"), list(sys.meta_path)
    filters = list(logger.filters)
    yield
    sys.meta_path[:] = finders
    logger.filters[:] = filters


def test_hints_at_retracing_are_left_out_and_other_warnings_are_not(restored, caplog):
    backend_messages.hide_known_messages()
    backend_messages.hide_known_messages()  # a second command in the process
    logger = logging.getLogger("tensorflow")
    logger.warning("5 out of the last 5 calls to <f> triggered tf.function retracing. …")
    logger.warning("Something else")
    assert caplog.messages == ["Something else"]


SCREEN = """
import sys
from mrcnn.commands import cli
def run(args):
    import tensorflow as tf
    tf.constant(1)
    return 0
from mrcnn.commands import demo
demo.run = run
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("option", [[], ["-v"]])
def test_a_command_that_loads_tensorflow_is_silent_unless_asked(option):
    pytest.importorskip("tensorflow")
    command = [sys.executable, "-c", SCREEN, "demo", *option]
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0
    if not option:
        assert done.stderr == ""
