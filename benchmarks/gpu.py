"""Ours on JAX and on TensorFlow with XLA, and torchvision, side by side on a GPU.

    python -m benchmarks.gpu --minutes 13 --output gpu.jsonl --trace traces
    python -m benchmarks.gpu --device cpu --tiny --minutes 5      # tries the script without a GPU

Training steps and detections of ResNet-50 and 101 at 1024² and 800 × 1333, batches of 2, 4 and 8,
in bfloat16 and float32: 48 cases in the order of their importance, as many as the time allows. A
case begins only if the time that is left is more than the longest case of its kind took, and
nothing runs beyond the time that is given. In a case all frameworks that see the device take turns,
as in `benchmarks.peers`, on the same work: equal RoIs, positives and detections. torchvision runs
with automatic mixed precision and `channels_last`, and pads to multiples of 32, ours to multiples
of 64. A framework that is missing, or fails in a case (out of memory), is reported, and the others
go on.

One JSON line for each framework and call: as of `benchmarks.peers`, with the peak memory on the
device, `busy` (the share of the turn in which a kernel ran, by nvidia-smi: where it is low, the
device waits for the host), and `processor_seconds`, how long the host computed. `--trace FOLDER`
also writes a profile of each framework in the first case of a kind, which says what it waits for.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.__main__ import MODULES, check_equal
from benchmarks.peers.alternate import Command, Process, Record, Turn
from benchmarks.peers.ratios import summarize
from benchmarks.peers.rows import OURS, ROWS, TORCHVISION, Contestant, Row, specification

# One process must not take the memory of the others.
_SHARING = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
ENVIRONMENTS = {
    "jax": {"KERAS_BACKEND": "jax", **_SHARING},
    "tensorflow": {"KERAS_BACKEND": "tensorflow", **_SHARING},
    "torchvision": {},
}
FRAMEWORKS = (
    Contestant("jax", OURS),
    Contestant("tensorflow", OURS, {"settings": {"JIT_COMPILE": True}}),
    Contestant("torchvision", TORCHVISION, {"channels_last": True}),
)
ROUNDS, REPEATS = 3, 5
GRACE = 5.0  # seconds for ending processes
SAMPLE_MS = 50  # nvidia-smi


@dataclass(frozen=True)
class Case:
    """One kind of work in one type.

    Attributes:
        row: what is computed.
        dtype: it is computed in.
    """

    row: Row
    dtype: str

    @property
    def name(self) -> str:
        """Shown."""
        height, width = self.row.image_size
        backbone = self.row.backbone.replace("resnet", "r")
        size = f"{height}x{width}"
        return f"{self.row.kind}-{backbone}-{size}-b{self.row.batch_size}-{self.dtype}"


def cases() -> list[Case]:
    """All cases, the most telling ones first."""
    axes: tuple[dict[Any, int], ...] = (
        {"train": 0, "detect": 0},
        {"resnet50": 0, "resnet101": 2},
        {(1024, 1024): 0, (800, 1333): 2},
        {4: 0, 8: 2, 2: 3},
        {"bfloat16": 0, "float32": 1},
    )
    ranked = []
    for kind, backbone, size, batch, dtype in itertools.product(*axes):
        choice = (kind, backbone, size, batch, dtype)
        rank = sum(axis[value] for axis, value in zip(axes, choice, strict=True))
        ranked.append((rank, Case(Row(kind, size, batch, backbone), dtype)))
    return [case for _, case in sorted(ranked, key=lambda pair: pair[0])]


def tiny_cases() -> list[Case]:
    """The smallest of each kind."""
    return [
        Case(ROWS[f"{kind}-tiny"], dtype)
        for kind, dtype in itertools.product(("train", "detect"), ("float32", "bfloat16"))
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = _parser().parse_args(arguments)
    deadline = time.monotonic() + 60 * args.minutes

    def tell(line: dict[str, Any]) -> None:
        print(json.dumps(line), flush=True)
        if args.output:
            with open(args.output, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    longest: dict[str, float] = {}  # seconds of a case, by kind
    for case in tiny_cases() if args.tiny else cases():
        left, needed = deadline - time.monotonic(), longest.get(case.row.kind, 0.0)
        if left <= needed + GRACE:
            tell({"row": case.name, "skipped": f"{left:.0f} s are left, {needed:.0f} are needed"})
            continue
        started = time.monotonic()
        first = case.row.kind not in longest
        for line in race(case, args, deadline - GRACE, trace=first):
            tell({"row": case.name, **line})
        longest[case.row.kind] = max(needed, time.monotonic() - started)


def race(
    case: Case, args: argparse.Namespace, deadline: float, trace: bool
) -> Iterator[dict[str, Any]]:
    """Let the frameworks take turns in a case.

    Args:
        case: what is done.
        args: of the command line.
        deadline: when every process is ended, on the clock of `time.monotonic`.
        trace: whether a profile is written, if a folder for it is given.

    Yields:
        A line for each framework and call, and one for each framework that failed.
    """
    pythons = {OURS: sys.executable, TORCHVISION: args.torch_python}
    running: list[Process] = []
    failed: dict[str, str] = {}
    turns: list[Turn] = []
    busy: dict[str, list[float]] = {}
    facts: dict[str, dict[str, Any]] = {}
    commands = []
    for framework in FRAMEWORKS:
        if framework.name in args.frameworks:
            spec = specification(case.row, framework, 1.0, dtype=case.dtype, device=args.device)
            module = MODULES[framework.peer, case.row.kind]
            python, environment = pythons[framework.peer], ENVIRONMENTS[framework.name]
            commands.append(Command(framework.name, python, module, spec, environment))
    with contextlib.ExitStack() as stack:
        # Compiling takes longest, and on the host: beside a GPU all do it at the same time.
        together = 1 if args.device == "cpu" else len(commands)
        with ThreadPoolExecutor(together) as pool:
            starting = [(c.name, pool.submit(Process, c, deadline)) for c in commands]
        for name, future in starting:
            try:
                process = future.result()
            except RuntimeError as error:
                failed[name] = str(error)
                continue
            stack.callback(process.close)
            running.append(process)
            ready = process.ready
            facts[name] = {
                **ready["facts"],
                "first_seconds": ready["first_seconds"],
                "seconds_until_first": round(ready["seconds_until_first"], 1),
            }
        for number in range(args.rounds):
            for process in list(running):
                try:
                    with watch() as samples:
                        answer = process.round(args.repeats)
                except RuntimeError as error:
                    running.remove(process)
                    failed[process.name] = str(error)
                    continue
                turns.append(Turn(process.name, number, answer["samples"], 1.0, 1.0))
                busy.setdefault(process.name, []).extend(samples)
                facts[process.name]["peak_gb"] = round(answer["peak_gb"], 2)
        for process in running:
            if trace and args.trace:
                with contextlib.suppress(RuntimeError):  # a profile is not worth the figures
                    process.trace(str(Path(args.trace, f"{case.name}-{process.name}")))
    yield from _lines(_whole_rounds(turns), facts, busy)
    for name, said in failed.items():
        yield {"peer": name, "failed": said[-2000:]}


def _whole_rounds(turns: Sequence[Turn]) -> list[Turn]:
    """The turns of those who came to the end, so that each round has all of them."""
    last = max((turn.number for turn in turns), default=0)
    complete = {turn.name for turn in turns if turn.number == last}
    return [turn for turn in turns if turn.name in complete]


def _lines(
    turns: Sequence[Turn], facts: dict[str, dict[str, Any]], busy: dict[str, list[float]]
) -> Iterator[dict[str, Any]]:
    if not turns:
        return
    names = {turn.name for turn in turns}
    known = {name: facts[name] for name in names}
    try:
        check_equal(known)
    except ValueError as error:
        yield {"failed": str(error)}
        return
    for line in summarize(Record(turns, known), turns[0].name):
        # The convolution is not timed here: every minute counts.
        shown = {k: v for k, v in line.items() if "paced" not in k and "gflops" not in k}
        samples = busy.get(line["peer"])
        yield {**shown, "busy": round(statistics.mean(samples), 3) if samples else None}


@contextlib.contextmanager
def watch() -> Iterator[list[float]]:
    """The share of time in which a kernel ran, sampled while the body runs; empty without a GPU."""
    samples: list[float] = []
    program = shutil.which("nvidia-smi")
    if program is None:
        yield samples
        return
    query = [program, "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    process = subprocess.Popen(
        [*query, f"--loop-ms={SAMPLE_MS}"], stdout=subprocess.PIPE, text=True
    )

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            with contextlib.suppress(ValueError):  # "[N/A]" on a device that does not tell
                samples.append(float(line) / 100)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield samples
    finally:
        process.terminate()
        process.wait()
        reader.join()


def _parser() -> argparse.ArgumentParser:
    lines = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=lines[0])
    parser.add_argument("--minutes", type=float, default=13, help="for everything (default: 13)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="cases that say nothing, for a try")
    names = tuple(framework.name for framework in FRAMEWORKS)
    parser.add_argument("--frameworks", nargs="+", choices=names, default=names)
    parser.add_argument("--torch-python", default=sys.executable, help="that has torchvision")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--output", help="a file to which the lines are added")
    parser.add_argument("--trace", metavar="FOLDER", help="for profiles")
    return parser


if __name__ == "__main__":
    main()
