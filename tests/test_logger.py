"""Messages: plain lines, unless the program shows them itself."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrcnn import logger as logger_module

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    """Leave the package's logger as it was."""
    logger = logging.getLogger("mrcnn")
    handlers, level = list(logger.handlers), logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)


def in_a_program(statements: str) -> tuple[str, str]:
    """What a program writes: its standard output, its standard error."""
    text = f"import logging, sys\nfrom mrcnn.logger import logger\n{statements}"
    run = subprocess.run(
        [sys.executable, "-c", text], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return run.stdout, run.stderr


def test_information_is_a_plain_line_and_warnings_go_to_the_standard_error():
    output, errors = in_a_program(
        "logger.info('\\nEpochs %d to %d', 1, 2)\n"
        "logger.info('100 % of {1}')\n"
        "logger.warning('a spike')\n"
        "logger.error('broken')\n"
        "logger.debug('a detail')"
    )
    assert output == "\nEpochs 1 to 2\n100 % of {1}\n"
    assert errors == "a spike\nbroken\n"


def test_a_program_that_set_up_logging_gets_each_message_once():
    output, errors = in_a_program(
        "logging.basicConfig(stream=sys.stderr, format='%(levelname)s %(name)s: %(message)s')\n"
        "logger.info('one')\n"
        "logger.warning('two')"
    )
    assert output == "" and errors == "INFO mrcnn: one\nWARNING mrcnn: two\n"


def test_a_program_may_redirect_this_logger_alone():
    output, errors = in_a_program(
        "logging.getLogger('mrcnn').addHandler(logging.StreamHandler(sys.stderr))\n"
        "logger.info('one')"
    )
    assert output == "" and errors == "one\n"


def test_a_level_silences_information(capsys: pytest.CaptureFixture):
    logging.getLogger("mrcnn").setLevel("WARNING")
    logger_module.logger.info("one")
    logger_module.logger.warning("two")
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == "two\n"


def test_a_level_that_the_program_chose_before_stays():
    run = subprocess.run(
        [
            *(sys.executable, "-c"),
            "import logging; logging.getLogger('mrcnn').setLevel('ERROR')\n"
            "from mrcnn.logger import logger; logger.warning('one'); logger.error('two')",
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "" and run.stderr == "two\n"


def test_a_replaced_stream_gets_the_lines(monkeypatch: pytest.MonkeyPatch):
    """As a notebook's does, after the package was imported."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    logger_module.logger.info("one")
    assert stream.getvalue() == "one\n"


def test_a_reload_does_not_double_the_lines():
    output, _ = in_a_program(
        "import importlib, mrcnn.logger\n"
        "importlib.reload(mrcnn.logger)\n"
        "mrcnn.logger.logger.info('one')\n"
        "logger.info('two')"
    )
    assert output == "one\ntwo\n"


def test_a_stream_that_is_closed_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stdout", stream)
    logger_module.logger.info("one")  # an error here would end a training
    assert "Logging error" in capsys.readouterr().err
