"""A peer's process: it sets its work up once, and does it again whenever it is told to.

Each peer has packages of its own, perhaps another Python; so this needs the standard library alone.
The parent's side is `benchmarks.peers.alternate`. What is said goes through standard output, a JSON
line at a time; whatever a package prints there is moved to standard error.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Spec = dict[str, Any]


@dataclass
class Work:
    """What a peer does in a round.

    Attributes:
        calls: what is timed, by name; a round calls each in turn.
        facts: about the work, shown beside the times.
        count: facts that are known after the calls only; asked for once.
        memory: the peak memory in GB.
        trace: writes a profile of one round into a folder, for the framework's own viewer.
    """

    calls: dict[str, Callable[[], Any]]
    facts: dict[str, Any] = field(default_factory=dict)
    count: Callable[[], dict[str, Any]] = dict
    memory: Callable[[], float] = lambda: peak_memory()
    trace: Callable[[str], Any] | None = None


def serve(prepare: Callable[[Spec], Work]) -> None:
    """Prepare the work that the command line describes, and do it as often as told.

    Args:
        prepare: makes the work from its description, the one argument of the process.
    """
    spec = json.loads(sys.argv[1])
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as channel:
        os.dup2(2, 1)

        def say(message: dict[str, Any]) -> None:
            channel.write(json.dumps(message) + "\n")
            channel.flush()

        work = prepare(spec)
        first = {name: timed(call)[0] for name, call in work.calls.items()}
        until_first = time.time() - spec["started"]
        for _ in range(spec["warm_up"]):
            for call in work.calls.values():
                call()
        facts = {**work.facts, **work.count()}
        say({"facts": facts, "first_seconds": first, "seconds_until_first": until_first})
        for line in sys.stdin:
            told = json.loads(line)
            if "trace" in told:
                if work.trace is not None:
                    work.trace(told["trace"])
                say({"traced": work.trace is not None})
                continue
            samples: dict[str, list[tuple[float, float]]] = {name: [] for name in work.calls}
            for _ in range(told["repeats"]):
                for name, call in work.calls.items():
                    samples[name].append(timed(call))
            say({"samples": samples, "peak_gb": work.memory()})


def timed(function: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of one call, and processor seconds of all threads of this process."""
    started, processor_started = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - started, time.process_time() - processor_started


def peak_memory() -> float:
    """GB of this process at its largest."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
