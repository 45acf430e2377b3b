"""Colours and the status line are for terminals; a pipe gets plain lines."""

from __future__ import annotations

import io
import sys

import pytest

from mrcnn.logger import logger
from mrcnn.screen import terminal


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def a_terminal(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """Standard output and error are a terminal; called in a test, whose capturing comes before."""
    made = Screen()
    monkeypatch.setattr(sys, "stdout", made)
    monkeypatch.setattr(sys, "stderr", made)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return made


def test_a_terminal_has_colours_unless_no_color_is_set(monkeypatch):
    screen = a_terminal(monkeypatch)
    assert terminal.styled("text", "red", screen) == "\x1b[31mtext\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "")  # an empty one counts as none (no-color.org)
    assert terminal.has_colours(screen)
    monkeypatch.setenv("NO_COLOR", "1")
    assert terminal.styled("text", "red", screen) == "text" and terminal.is_terminal(screen)


def test_a_pipe_a_closed_stream_and_a_dumb_terminal_have_none(monkeypatch):
    screen = a_terminal(monkeypatch)
    closed = io.StringIO()
    closed.close()
    for stream in (io.StringIO(), closed, None):
        assert terminal.styled("text", "red", stream) == "text"
    monkeypatch.setenv("TERM", "dumb")
    assert not terminal.is_terminal(screen)


def test_messages_appear_above_the_status_line(monkeypatch):
    screen = a_terminal(monkeypatch)
    line = terminal.StatusLine()
    line.show("half way")
    logger.info("a message")
    line.clear()
    text = screen.getvalue()
    assert text == (
        "\r\x1b[Khalf way"  # drawn
        "\r\x1b[Ka message\n"  # taken away, and the message on a line of its own
        "\r\x1b[Khalf way"  # drawn below
        "\r\x1b[K"
    )
    logger.info("afterwards")
    assert screen.getvalue().removeprefix(text) == "afterwards\n"


def test_the_status_line_is_no_longer_than_the_terminal(monkeypatch):
    screen = a_terminal(monkeypatch)
    line = terminal.StatusLine()
    line.show("x" * 100)
    assert screen.getvalue() == "\r\x1b[K" + "x" * 39
    line.clear()


def test_warnings_are_yellow_and_errors_red_on_a_terminal(monkeypatch):
    screen = a_terminal(monkeypatch)
    logger.warning("look out")
    logger.error("it is broken")
    assert screen.getvalue() == "\x1b[33mlook out\x1b[0m\n\x1b[31mit is broken\x1b[0m\n"


def test_a_pipe_gets_messages_as_they_are(capsys: pytest.CaptureFixture):
    logger.info("one")
    logger.error("two")
    assert capsys.readouterr() == ("one\n", "two\n")
