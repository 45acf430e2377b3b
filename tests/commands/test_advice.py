"""Errors end with what to do."""

from __future__ import annotations

import errno
import os

import pytest

from mrcnn.commands import advice, check, cli


class ResourceExhaustedError(Exception):
    """As TensorFlow calls it."""


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "x.h5"), "x.h5: No such"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "Free some space"),
        (PermissionError(errno.EACCES, "Permission denied", "/root"), "Ask for the right"),
        (FileNotFoundError("Weights file x: no such file. Give one."), "Give one."),
        (ValueError("--score: expected a number; received 2."), "received 2."),
        (MemoryError(), "--batch-size 1"),
        (ResourceExhaustedError("OOM when allocating\ngraph"), "--batch-size 1"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory"), "--batch-size 1"),
    ],
)
def test_what_to_do(error: Exception, says: str):
    assert says in advice.message(error)


def run_into(error: Exception, monkeypatch: pytest.MonkeyPatch) -> int:
    def run(args):
        raise error

    monkeypatch.setattr(check, "run", run)
    return cli.main(["check", "data"])


def test_memory_and_missing_packages_end_a_command_without_a_traceback(monkeypatch, capsys):
    for error in (
        ResourceExhaustedError("OOM when allocating tensor\n and the whole graph"),
        ImportError("videos need imageio. Install it: pip install 'mrcnn[video]'"),
    ):
        assert run_into(error, monkeypatch) == 2
    said = capsys.readouterr().err
    assert "mrcnn: OOM when allocating tensor\nThe step does not fit" in said
    assert "whole graph" not in said and "pip install 'mrcnn[video]'" in said


def test_what_was_not_expected_keeps_its_traceback_and_asks_for_a_report(monkeypatch, capsys):
    with pytest.raises(KeyError):
        run_into(KeyError("x"), monkeypatch)
    assert "mrcnn doctor-env --json" in capsys.readouterr().err
