"""Fixtures that all tests share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from mrcnn.files import download, json_items
from mrcnn.logger import PlainLines
from tests.files.server import Server

REPOSITORY = Path(__file__).resolve().parent.parent

# How long an example takes says something about the machine, not about the code.
settings.register_profile("mrcnn", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("mrcnn")

# Programs, which looking for examples in docstrings would run.
collect_ignore = ["scripts", "fixtures"]
FIXTURES = REPOSITORY / "tests" / "fixtures"
SHARED = REPOSITORY.parent / "shared"
# A minute and more each; `make test` gives each file to one process.
LONGEST_FILES = (
    "tests/commands/test_backends.py",
    "tests/training/test_session.py",
    "tests/ablation/test_grid.py",
    "tests/test_network.py",
    "tests/commands/test_cli.py",
    "tests/test_tutorial_scripts.py",
    "tests/samples/test_notebooks.py",
    "tests/test_docs.py",
    "tests/docs/test_pages.py",
    "tests/docs/test_site.py",
    "tests/training/test_alternating.py",
    "tests/commands/test_pretrain.py",
    "tests/runs/test_pretraining.py",
    "tests/training/test_gradnorm.py",
    "tests/training/test_compile.py",
    "tests/test_model.py",
    "tests/training/test_devices.py",
    "tests/training/test_detectron2.py",
)
SHARED_IS_ABSENT = "needs ../shared (the large parity fixtures, real images)"


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """The folder of small parity fixtures, which are part of the repository."""
    return FIXTURES


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of large fixtures and real images that lies beside a developer's checkout."""
    if not (SHARED / "fixtures").is_dir():
        pytest.skip(SHARED_IS_ABSENT)
    return SHARED


@pytest.fixture(scope="session")
def parity_file() -> Callable[[str], Path]:
    """Finds a parity fixture by its file name: complete where ../shared is, else the selection.

    `tests/test_fixtures.py` compares the two.
    """

    def find(name: str) -> Path:
        for folder in (SHARED / "fixtures", FIXTURES):
            if (folder / name).is_file():
                return folder / name
        pytest.skip(SHARED_IS_ABSENT)

    return find


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first, or one process ends with them while others wait."""
    place = {name: number for number, name in enumerate(LONGEST_FILES)}
    items.sort(key=lambda item: place.get(item.path.relative_to(REPOSITORY).as_posix(), len(place)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests did not run for want of ../shared: pytest shows a bare "s" of them."""
    skipped = terminalreporter.stats.get("skipped", [])
    absent = sum(SHARED_IS_ABSENT in str(report.longrepr) for report in skipped)
    if absent:
        terminalreporter.section("tests that did not run", yellow=True)
        tests = "1 test was" if absent == 1 else f"{absent} tests were"
        terminalreporter.line(f"{tests} skipped: {SHARED_IS_ABSENT}")


@pytest.fixture(autouse=True)
def plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let messages appear as in a program, in spite of pytest's own handlers of the root logger."""
    monkeypatch.setattr(PlainLines, "program_shows_messages", staticmethod(lambda: False))


@pytest.fixture(params=["as a list", "in the file"])
def annotations_either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let annotations be read as those of small files, and as those of large ones."""
    if request.param == "in the file":
        monkeypatch.setattr(json_items, "MIN_BYTES", 0)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of downloads on this machine, asked again without waiting."""
    monkeypatch.setattr(download, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 20.0)
    monkeypatch.setenv("no_proxy", "*")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()
