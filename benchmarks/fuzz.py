"""Fuzz the readers of untrusted files for a given time.

    python -m benchmarks.fuzz --seconds 300
    python -m benchmarks.fuzz --seconds 60 --reader coco --reader weights

Each reader runs in a process of its own, with bounded memory, for its share of the time. One JSON
line for each reader: executions, how many files were read and how many refused, the growth of the
peak memory in MiB, and the failures found, with the seed that finds each again (`--seed`). The exit
status is 1 if there were any.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

EXAMPLES = 200  # for a seed
MAX_FAILURES = 5  # of a reader, then it stops
HANG_SECONDS = 120  # beyond its time, after which a reader counts as hanging


def fuzz(name: str, seconds: float, seed: int, memory_mib: int, folder: Path) -> dict:
    """Fuzz a reader in this process, and return the content of its JSON line."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as seeded

    from benchmarks.fuzz_targets import TARGETS, execute

    target, counts, failures = TARGETS[name], Counter(), []
    importlib.import_module(target.needs)
    work = folder / name
    deadline = time.monotonic() + seconds
    peak = _peak_mib()
    if memory_mib:
        limit = _virtual_bytes() + (memory_mib << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given(target.cases)
    def run(case: object) -> None:
        nonlocal failing
        if time.monotonic() > deadline and not failing:  # a failure is tried again, and shrunk
            return
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        failing = True
        counts[execute(target, case, work)] += 1
        failing = False

    while time.monotonic() < deadline and len(failures) < MAX_FAILURES:
        failing = False
        try:
            seeded(seed)(run)()
        except Exception as error:
            notes = " ".join(getattr(error, "__notes__", ()))
            failures.append(
                {
                    "seed": seed,
                    "error": f"{type(error).__name__}: {error}"[:500],
                    "case": notes[:800],
                }
            )
        seed += 1
    return {
        "reader": name,
        "executions": sum(counts.values()),
        **{kind: counts[kind] for kind in ("read", "refused")},
        "peak_growth_mib": round(_peak_mib() - peak, 1),
        "failures": failures,
    }


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _virtual_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def _in_process(name: str, seconds: float, arguments: argparse.Namespace, folder: str) -> dict:
    """The line of a reader that was fuzzed in another process, which may crash or hang."""
    command = [sys.executable, "-m", "benchmarks.fuzz", "--folder", folder, "--reader", name]
    command += ["--seconds", str(seconds), "--seed", str(arguments.seed)]
    command += ["--memory-mib", str(arguments.memory_mib)]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, timeout=seconds + HANG_SECONDS)
    except subprocess.TimeoutExpired:
        return {"reader": name, "failures": [{"error": f"hangs at the file in {folder}/{name}"}]}
    if done.returncode:
        problem = f"ended with {done.returncode} at the file in {folder}/{name}"
        return {"reader": name, "failures": [{"error": problem}]}
    return json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="for all readers together")
    parser.add_argument("--reader", action="append", help="repeatable (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the first cases")
    parser.add_argument("--memory-mib", type=int, default=2048, help="for a reader; 0: no limit")
    parser.add_argument("--folder", help=argparse.SUPPRESS)  # in the process of a reader
    arguments = parser.parse_args()
    if arguments.folder:
        (name,) = arguments.reader
        options = (arguments.seconds, arguments.seed, arguments.memory_mib)
        print(json.dumps(fuzz(name, *options, Path(arguments.folder))))
        return 0

    from benchmarks.fuzz_targets import TARGETS

    readers = arguments.reader or list(TARGETS)
    if unknown := set(readers) - set(TARGETS):
        parser.error(f"--reader: expected some of {list(TARGETS)}; received {sorted(unknown)}")
    # In memory where that is possible: a case is a handful of small files.
    in_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    failed, folder = False, tempfile.mkdtemp(prefix="fuzz-", dir=in_memory)
    for name in readers:
        line = _in_process(name, arguments.seconds / len(readers), arguments, folder)
        failed |= bool(line["failures"])
        print(json.dumps(line), flush=True)
    if not failed:  # else the last file of each reader is kept
        shutil.rmtree(folder)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
