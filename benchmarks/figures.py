"""Figures that are kept: which they are, and how they are measured and stored.

    python -m benchmarks.figures paste rle --repeats 5 --output benchmarks/results/idle.json
    python -m benchmarks.figures --list

A file of figures says on what machine and at what commit they were measured. Each figure has one
sample from every repeat, and every repeat is a process of its own: what a process decides once
(oneDNN's kernels, where memory lies) then counts as noise, not as a difference.
`benchmarks.compare` compares two such files.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGES = ("numpy", "keras", "tensorflow", "jax")


@dataclass(frozen=True)
class Figure:
    """One number of a benchmark.

    Attributes:
        command: module and options, as after `python -m benchmarks.`.
        key: of the JSON line that the benchmark prints.
        higher_is_better: whether a larger number is the better one.
        relative: whether it is a ratio to something that the same process measured (a large
            convolution, another way to do the same), so that it holds on other machines too.
        line: what the JSON line must hold besides, where a benchmark prints several.
    """

    command: tuple[str, ...]
    key: str
    higher_is_better: bool = False
    relative: bool = False
    line: tuple[tuple[str, Any], ...] = ()


def _paced(command: tuple[str, ...], seconds: str) -> tuple[Figure, Figure]:
    """Seconds, and their ratio to the limit that the convolution sets (`benchmarks.limits`)."""
    return Figure(command, seconds), Figure(command, "ratio_to_limit", relative=True)


def _beside(command: tuple[str, ...], time: str, boxes: str) -> tuple[Figure, Figure]:
    """A time, and how many times as long another way takes (`benchmarks.detection`)."""
    line = (("boxes", boxes),)
    ratio = Figure(command, "ratio", higher_is_better=True, relative=True, line=line)
    return Figure(command, time, line=line), ratio


# A name stands for all figures of one command, which is run once in a repeat.
FIGURES: dict[str, tuple[Figure, ...]] = {
    "training-128": _paced(("training_step", "--row", "shapes"), "seconds"),
    "training-128-bfloat16": _paced(
        ("training_step", "--row", "shapes", "--dtype", "bfloat16"), "seconds"
    ),
    "training-256": _paced(("training_step", "--row", "coco-256"), "seconds"),
    "inference-256": _paced(("inference", "--image-size", "256"), "graph_seconds"),
    "inference-1024": _paced(("inference", "--image-size", "1024"), "graph_seconds"),
    "loader": (
        Figure(
            ("loader", "--image-size", "512", "--engine", "caller", "--steps", "24"),
            "images_per_cpu_second",
            higher_is_better=True,
            line=(("engine", "caller"),),
        ),
    ),
    # Beside resizing every mask, and beside encoding pasted masks.
    "paste": _beside(("detection", "paste"), "pasted_median_ms", "the whole image"),
    "rle": _beside(("detection", "rle"), "from_boxes_median_ms", "3 to 90 % of the sides"),
    "suppression": (Figure(("kernels", "suppression"), "together_ms"),),
}


@dataclass(frozen=True)
class Machine:
    """What a time depends on, besides the code."""

    processor: str
    cores: int
    system: str
    python: str
    packages: Mapping[str, str]

    @classmethod
    def here(cls) -> Machine:
        versions = {}
        for name in PACKAGES:
            try:
                versions[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
        return cls(
            _processor(),
            os.cpu_count() or 1,
            platform.system(),
            platform.python_version(),
            versions,
        )


def _processor() -> str:
    """The processor's name, with what tells apart those that share one."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {name.strip(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    name = facts.get("model name") or platform.machine()
    return f"{name} (family {facts.get('cpu family')}, model {facts.get('model')})"


def commit() -> str:
    """The commit that is checked out, with "+" behind it where tracked files differ from it."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(REPOSITORY), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")


def find_line(lines: Sequence[Mapping[str, Any]], figure: Figure) -> float:
    """The figure's number among the JSON lines of its benchmark.

    Raises:
        ValueError: if no line or several lines have it.
    """
    found = [
        line
        for line in lines
        if figure.key in line and all(line.get(key) == value for key, value in figure.line)
    ]
    if len(found) != 1:
        command = " ".join(figure.command)
        raise ValueError(f"benchmarks.{command}: {len(found)} lines with {figure.key!r}, not 1")
    return float(found[0][figure.key])


def measure(names: Sequence[str], repeats: int) -> dict[str, Any]:
    """Measure the figures of some names; the repeats take turns, as a machine's load changes."""
    samples: dict[str, list[float]] = {}
    for repeat in range(repeats):
        for name in names:
            lines = _run(FIGURES[name][0].command)
            for figure in FIGURES[name]:
                samples.setdefault(f"{name} {figure.key}", []).append(find_line(lines, figure))
        print(f"repeat {repeat + 1} of {repeats} done", file=sys.stderr)
    described = {f"{name} {f.key}": f for name in names for f in FIGURES[name]}
    return {
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": asdict(Machine.here()),
        "figures": {
            key: {
                "command": "python -m benchmarks." + " ".join(figure.command),
                "higher_is_better": figure.higher_is_better,
                "relative": figure.relative,
                "samples": samples[key],
            }
            for key, figure in described.items()
        },
    }


def _run(command: Sequence[str]) -> list[dict[str, Any]]:
    module, *options = command
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *options],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to measure; see --list")
    parser.add_argument("--list", action="store_true", help="say what can be measured")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, help="a JSON file; default: print it")
    args = parser.parse_args()
    unknown = sorted(set(args.names) - set(FIGURES))
    if args.list or not args.names or unknown:
        for name, figures in FIGURES.items():
            print(f"{name}: python -m benchmarks.{' '.join(figures[0].command)}")
        if unknown:
            parser.error(f"no figures are called {', '.join(unknown)}")
        return
    text = json.dumps(measure(args.names, args.repeats), indent=1) + "\n"
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(text, encoding="utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
