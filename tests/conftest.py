"""Fixtures that all tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrcnn.logger import PlainLines

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of parity fixtures and real images that lies beside a developer's checkout."""
    folder = REPOSITORY.parent / "shared"
    if not (folder / "fixtures").is_dir():
        pytest.skip("the folder ../shared (parity fixtures, real images) is not here")
    return folder


@pytest.fixture(autouse=True)
def plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let messages appear as in a program: pytest's own handlers of the root logger do not count."""
    monkeypatch.setattr(PlainLines, "program_shows_messages", staticmethod(lambda: False))
