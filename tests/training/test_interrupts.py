"""Ctrl-C and SIGTERM as requests to stop."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from mrcnn.training.interrupts import StopRequest


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_noted_and_raised_when_asked(number: int, capfd: pytest.CaptureFixture):
    handler = signal.getsignal(number)
    with StopRequest() as stop:
        stop.raise_if_received()  # none yet
        send(number)
        assert stop.signal == number
        with pytest.raises((KeyboardInterrupt, SystemExit)) as raised:
            stop.raise_if_received()
    if number == signal.SIGTERM:
        assert raised.type is SystemExit and raised.value.code == 128 + signal.SIGTERM
    else:
        assert raised.type is KeyboardInterrupt
    assert signal.getsignal(number) is handler
    assert "writing a checkpoint" in capfd.readouterr().err


def test_a_second_ctrl_c_stops_at_once():
    with StopRequest() as stop:
        send(signal.SIGINT)
        assert stop.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            send(signal.SIGINT)
            assert stop.signal is None
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_outside_the_main_thread_nothing_is_changed():
    handlers = []

    def enter() -> None:
        with StopRequest():
            handlers.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert handlers == [before]
