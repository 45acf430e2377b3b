"""Processes of several peers that take turns: A B C A B C …, with a probe between any two.

All stay alive from the first round to the last, and only one of them works at a time.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# What workers say of their work, by worker.
Facts = Mapping[str, Mapping[str, Any]]

REPOSITORY = Path(__file__).resolve().parents[2]
LINES_SHOWN = 30  # of what a process that failed has written
PROBES = 4  # calls of the probe, of which the fastest counts


@dataclass(frozen=True)
class Command:
    """How a worker is started.

    Attributes:
        name: shown.
        python: the interpreter that has its packages.
        module: of the worker, as after `python -m`.
        spec: what it is told.
        environment: variables besides the caller's.
    """

    name: str
    python: str
    module: str
    spec: Mapping[str, Any]
    environment: Mapping[str, str]


class Process:
    """A worker that is running and has done its work once.

    Attributes:
        name: shown.
        ready: what it said when its work was ready (`benchmarks.peers.worker.serve`).

    Args:
        command: of the worker.
        deadline: on the clock of `time.monotonic`, after which the process is ended if it has
            not answered; None: it may take as long as it likes.
    """

    def __init__(self, command: Command, deadline: float | None = None) -> None:
        self.name = command.name
        self._deadline = deadline
        self._log = tempfile.TemporaryFile(mode="w+", encoding="utf-8", errors="replace")
        spec = {**command.spec, "started": time.time()}
        self._process = subprocess.Popen(
            [command.python, "-m", command.module, json.dumps(spec)],
            cwd=REPOSITORY,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **command.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self.ready = self._answer()

    def round(self, repeats: int) -> dict[str, Any]:
        """Let it work, and return what it says of it.

        Raises:
            RuntimeError: it ended; says what it has written.
        """
        return self._ask({"repeats": repeats})

    def trace(self, folder: str) -> bool:
        """Let it write a profile of a round, and return whether it can."""
        return self._ask({"trace": folder})["traced"]

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, which `_answer` tells
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()
        self._log.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        timer = None
        if self._deadline is not None:
            left = max(0.0, self._deadline - time.monotonic())
            timer = threading.Timer(left, self._process.kill)
            timer.start()
        line = self._process.stdout.readline()
        if timer is not None:
            timer.cancel()
        if line:
            return json.loads(line)
        status = self._process.wait()
        self._log.seek(0)
        said = "\n".join(self._log.read().splitlines()[-LINES_SHOWN:])
        raise RuntimeError(f"{self.name}: its process ended with status {status}:\n{said}")


@dataclass(frozen=True)
class Turn:
    """One round of one worker.

    Attributes:
        name: of the worker.
        number: of the round.
        samples: (seconds, processor seconds) of each call, by what was called.
        before, after: what the probe measured, in operations a second.
    """

    name: str
    number: int
    samples: Mapping[str, Sequence[tuple[float, float]]]
    before: float
    after: float


@dataclass(frozen=True)
class Record:
    """All turns, and what each worker said of its work.

    Attributes:
        turns: in their order.
        facts: by worker.
    """

    turns: Sequence[Turn]
    facts: Facts


@contextlib.contextmanager
def running(commands: Sequence[Command]) -> Iterator[list[Process]]:
    """Start workers one after the other, so that none slows another's start; end them all."""
    processes: list[Process] = []
    try:
        for command in commands:
            processes.append(Process(command))
        yield processes
    finally:
        for process in processes:
            process.close()


def take_turns(
    commands: Sequence[Command],
    probe: Command,
    rounds: int,
    repeats: int,
    seconds: float,
    check: Callable[[Facts], None] = lambda facts: None,
) -> Record:
    """Let workers take turns.

    Args:
        commands: of the workers.
        probe: a worker whose one call does `operations`, a fact of it; its best call counts.
        rounds: at most; at least one.
        repeats: calls in a turn.
        seconds: after which no further round is begun.
        check: of what the workers say of their work, before the first round.
    """
    started = time.monotonic()
    turns: list[Turn] = []
    with running([*commands, probe]) as (*workers, prober):

        def measure() -> float:
            calls = prober.round(PROBES)["samples"]["convolution"]
            return prober.ready["facts"]["operations"] / min(wall for wall, _ in calls)

        facts = {worker.name: _described(worker.ready) for worker in workers}
        check(facts)
        for number in range(rounds):
            if turns and time.monotonic() - started > seconds:
                break
            before = measure()
            for worker in workers:
                answer = worker.round(repeats)
                after = measure()
                turns.append(Turn(worker.name, number, answer["samples"], before, after))
                facts[worker.name]["peak_gb"] = round(answer["peak_gb"], 2)
                before = after
    return Record(turns, facts)


def _described(ready: Mapping[str, Any]) -> dict[str, Any]:
    first = {name: round(value, 2) for name, value in ready["first_seconds"].items()}
    until = round(ready["seconds_until_first"], 1)
    return {**ready["facts"], "first_seconds": first, "seconds_until_first": until}
