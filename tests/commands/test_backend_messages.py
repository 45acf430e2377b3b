"""The first screen of a command holds its own messages; real errors come through."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from mrcnn.commands import backend_messages, cli, drawn_sample
from mrcnn.commands.backend_messages import (
    KNOWN_LINES,
    KNOWN_LINES_WITHOUT_GPU,
    known_lines,
    without_backend_messages,
)
from tests.conftest import REPOSITORY

NOISE = """WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795933559.355023   19790 port.cc:153] oneDNN custom operations are on.
E0000 00:00:1795933999.100000   19790 util.cc:131] oneDNN supports DT_INT64 only on platforms with \
AVX-512. Falling back to the default Eigen-based implementation if present.
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
    assert written(NOISE + ERRORS) == (ERRORS + "after\n", 0)


def test_what_is_worth_knowing_is_not_known_noise():
    known = re.compile("|".join((*KNOWN_LINES, *KNOWN_LINES_WITHOUT_GPU)))
    for line in NOISE.splitlines() + CUDA.splitlines():
        assert known.fullmatch(line)
        assert not known.fullmatch(f"ValueError: {line}")
    int64 = NOISE.splitlines()[2]
    assert not known.fullmatch(int64.replace("INT64", "BFLOAT16"))  # slower than float32 there


def test_nothing_is_lost_in_a_crash():
    for end in ("os.abort()", "os.kill(os.getpid(), 11)", "os.kill(os.getpid(), 9)"):
        error, status = written(NOISE + ERRORS, end)
        assert status < 0 and error.startswith(ERRORS)
    error, status = written(NOISE + ERRORS + "\n", "raise OSError('a plain error')")
    assert status == 1 and error.startswith(ERRORS) and "a plain error" in error
    fatal = "import faulthandler, ctypes; faulthandler.enable(); ctypes.string_at(0)"
    error, status = written(NOISE, fatal)
    assert status == -signal.SIGSEGV and error.startswith("Fatal Python error: Segmentation fault")


def test_pythons_own_stream_is_not_looked_at():
    text = f"print({NOISE!r}, file=sys.stderr, end='')"
    assert written("", text) == (NOISE + "after\n", 0)
    # A program that is started, and ends later, writes where the process did.
    child = f"os.write(2, {ERRORS!r}.encode()); os.write(2, {NOISE!r}.encode())"
    start = f"import subprocess; subprocess.run([sys.executable, '-c', {'import os; ' + child!r}])"
    shown = ERRORS + NOISE.splitlines(keepends=True)[0]  # which is not the beginning of a line
    assert written("", start) == (shown + "after\n", 0)
    late = f"import time; time.sleep(1); {child}"
    start = f"import subprocess; subprocess.Popen([sys.executable, '-c', {'import os; ' + late!r}])"
    begun = time.monotonic()
    error, status = written("", start)
    assert status == 0 and error == "after\n" + shown
    assert time.monotonic() - begun > 1  # the screen is shown until the last program has ended


def test_a_line_without_an_end_is_shown_at_once():
    script = WRITE.format(end="sys.stdin.read(1)")
    command = [sys.executable, "-c", script, NOISE + "Password: "]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr.read(10) == b"Password: "
        process.stdin.write(b"x")
        process.stdin.flush()
        assert process.stderr.read() == b"after\n"


@pytest.mark.skipif(os.name == "nt", reason="groups of processes")
def test_ctrl_c_reaches_the_command_alone():
    script = WRITE.format(end="time.sleep(60)").replace("import os", "import time, os")
    command = [sys.executable, "-c", script, "ready\n"]
    options = {"stderr": subprocess.PIPE, "start_new_session": True, "text": True}
    with subprocess.Popen(command, **options) as process:
        assert process.stderr.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGINT)
        error = process.stderr.read()
    assert error.endswith("KeyboardInterrupt\n") and error.count("Traceback") == 1


def test_streams_are_put_back(capfd):
    stream, files = sys.stderr, len(os.listdir("/proc/self/fd")) if os.name != "nt" else 0
    for _ in range(3):
        with without_backend_messages():
            os.write(2, (NOISE + "one\n").encode())
            print("two", file=sys.stderr)
        assert sys.stderr is stream
        os.write(2, NOISE.encode())
    error = capfd.readouterr().err
    assert error.count("one\n") == error.count("two\n") == 3 and error.count(NOISE) == 3
    assert os.name == "nt" or len(os.listdir("/proc/self/fd")) == files


def test_without_a_standard_error_or_a_process_nothing_is_left_out(monkeypatch, capfd):
    close = "import os; os.close(2)\n"
    command = [sys.executable, "-c", close + WRITE.format(end="print(1)").rsplit("print", 1)[0], ""]
    script = command[2].replace("os.write(2, sys.argv[1].encode())", "pass")
    done = subprocess.run([*command[:2], script, ""], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("1\n", 0)

    def refuse(*args, **kwargs):
        raise OSError("no more processes")

    monkeypatch.setattr(backend_messages.subprocess, "Popen", refuse)
    with without_backend_messages():
        os.write(2, NOISE.encode())
    assert capfd.readouterr().err == NOISE


def test_that_the_driver_failed_is_told_where_there_is_a_gpu(monkeypatch):
    monkeypatch.setattr(backend_messages.Path, "glob", lambda self, pattern: iter(["nvidia0"]))
    assert not set(KNOWN_LINES_WITHOUT_GPU) & set(known_lines())
    if os.name != "nt":
        monkeypatch.setattr(backend_messages.Path, "glob", lambda self, pattern: iter(()))
        assert set(KNOWN_LINES_WITHOUT_GPU) <= set(known_lines())
        assert written(CUDA)[0] in ("after\n", CUDA + "after\n")  # as this machine is


def test_hints_at_retracing_are_left_out_and_other_warnings_are_not(caplog):
    logger = logging.getLogger("tensorflow")
    hint = "5 out of the last 5 calls to <f> triggered tf.function retracing. …"
    with without_backend_messages():
        logger.warning(hint)
        logger.warning("Something else")
    assert caplog.messages == ["Something else"]
    with without_backend_messages(verbose=True):
        logger.warning(hint)
    logger.warning(hint)
    assert caplog.messages == ["Something else", hint, hint]


# --- Every command and every sample ------------------------------------------------------------

SAMPLES = {
    "balloon/balloon": ["train", "--weights", "none"],
    "cityscapes/cityscapes": ["train", "--dataset", "DATA", "--model", "none"],
    "coco/coco": ["train", "--dataset", "DATA", "--model", "none"],
    "digits/digits": [],
    "edge_agreement/deeplab": ["--dataset", "DATA"],
    "edge_agreement/depth": [],
    "edge_agreement/ablation": ["small", "DATA", "--output", "OUT"],
    "edge_agreement/unet": ["--dataset", "DATA"],
    "nucleus/nucleus": ["train", "--dataset", "DATA", "--weights", "none"],
    "shapes/shapes": [],
}
COMMANDS = {
    "check": ["DATA"],
    "pretrain": ["DATA"],
    "train": ["DATA"],
    "evaluate": ["DATA", "--model", "none"],
    "predict": ["PICTURE"],
    "convert-data": ["DATA", "OUT", "--to", "coco"],
    "export": ["--format", "savedmodel"],
    "convert": ["FILE", "OUT.h5"],
    "ablate": ["DATA", "--output", "OUT"],
    "edges": ["--dataset", "DATA"],
    "demo": [],
    "replay": ["FILE"],
    "doctor-env": [],
}


def compute(*args: object) -> int:
    """What a command does, as far as the screen is concerned."""
    os.write(2, (NOISE + "an error\n").encode())
    return 0


def screens(main: Callable[[list[str]], int], arguments: list[str], capfd) -> list[str]:
    """The standard error of a command without and with -v."""
    found = []
    for options in ([], ["-v"]):
        assert main([*arguments, *options]) == 0
        found.append(capfd.readouterr().err)
    return found


def test_all_are_here():
    files = (REPOSITORY / "samples").glob("*/*.py")
    names = {
        path.relative_to(REPOSITORY / "samples").with_suffix("").as_posix()
        for path in files
        if "def main(" in path.read_text(encoding="utf-8")  # the others are what samples share
    }
    assert names == SAMPLES.keys() and set(cli.COMMANDS) == COMMANDS.keys()


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_is_silent_unless_asked(name: str, monkeypatch, capfd):
    path = REPOSITORY / f"samples/{name}.py"
    monkeypatch.syspath_prepend(path.parent)  # where a script finds what lies beside it
    spec = importlib.util.spec_from_file_location("a_sample", path)
    sample = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sample)
    for module in (sample, *([sample.unet] if hasattr(sample, "unet") else []), drawn_sample):
        for work in ("_run", "_train"):
            monkeypatch.setattr(module, work, compute, raising=False)
    monkeypatch.setattr("mrcnn.commands.ablate.run", compute)
    assert screens(sample.main, SAMPLES[name], capfd) == ["an error\n", NOISE + "an error\n"]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_silent_unless_asked(name: str, monkeypatch, capfd):
    monkeypatch.setattr(cli.module_of(name), "run", compute)
    arguments = [name, *COMMANDS[name]]
    assert screens(cli.main, arguments, capfd) == ["an error\n", NOISE + "an error\n"]


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


def test_a_command_that_loads_tensorflow_is_silent():
    pytest.importorskip("tensorflow")
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    command = [sys.executable, "-c", SCREEN, "demo"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
