"""Says which figures got worse by more than their noise.

    python -m benchmarks.compare benchmarks/results/first.json new.json
    python -m benchmarks.compare benchmarks/results/first.json     # measures the same figures now

Compares the medians of two files of `benchmarks.figures`. The noise of a median is half of what its
samples span. A figure has fallen when it is worse by more than the noise of both, and by more than
MIN_NOISE. Times are compared on machines of the same kind only; ratios that a process measured
within itself are compared everywhere. The exit status is 1 if a figure has fallen.
"""

from __future__ import annotations

import argparse
import enum
import json
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import figures

# Of the old median: changes below it are noise even where all samples agree.
MIN_NOISE = 0.02


class Verdict(enum.StrEnum):
    FELL = "fell"
    ROSE = "rose"
    SAME = "same within its noise"
    OTHER_MACHINE = "not compared: another machine"
    MISSING = "not compared: not in both files"


@dataclass(frozen=True)
class Comparison:
    """One figure, old and new.

    Attributes:
        change: of the median, as a share of the old one; positive is better.
        noise: the change that is none, as a share of the old median.
    """

    name: str
    verdict: Verdict
    old: float = math.nan
    new: float = math.nan
    change: float = math.nan
    noise: float = math.nan

    def __str__(self) -> str:
        if math.isnan(self.change):
            return f"{self.name}: {self.verdict}"
        return (
            f"{self.name}: {self.verdict} ({self.old:.4g} -> {self.new:.4g}, "
            f"{self.change:+.1%} where + is better, noise {self.noise:.1%})"
        )


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Comparison]:
    """Compare the figures of two files (as `json.load` gives them), in the order of the old."""
    same_machine = old["machine"] == new["machine"]
    names = [*old["figures"], *(name for name in new["figures"] if name not in old["figures"])]
    return [
        _compare_figure(name, old["figures"].get(name), new["figures"].get(name), same_machine)
        for name in names
    ]


def _compare_figure(
    name: str, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None, same_machine: bool
) -> Comparison:
    if old is None or new is None:
        return Comparison(name, Verdict.MISSING)
    if not same_machine and not old["relative"]:
        return Comparison(name, Verdict.OTHER_MACHINE)
    before, after = statistics.median(old["samples"]), statistics.median(new["samples"])
    gain = after - before if old["higher_is_better"] else before - after
    change = gain / before
    noise = max((_spread(old["samples"]) + _spread(new["samples"])) / before, MIN_NOISE)
    if abs(change) <= noise:
        verdict = Verdict.SAME
    else:
        verdict = Verdict.ROSE if change > 0 else Verdict.FELL
    return Comparison(name, verdict, before, after, change, noise)


def _spread(samples: list[float]) -> float:
    """Half of what the samples span: of a handful, nothing finer can be told."""
    return (max(samples) - min(samples)) / 2


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path, help="a file of benchmarks.figures")
    parser.add_argument("new", type=Path, nargs="?", help="another; default: measure now")
    parser.add_argument("--repeats", type=int, default=5, help="of a measurement now")
    args = parser.parse_args()
    old = json.loads(args.old.read_text(encoding="utf-8"))
    if args.new:
        new = json.loads(args.new.read_text(encoding="utf-8"))
    else:
        names = list(dict.fromkeys(name.split(" ")[0] for name in old["figures"]))
        new = figures.measure(names, args.repeats)
    comparisons = compare(old, new)
    print(f"{old['commit'][:10]} ({old['date']}) -> {new['commit'][:10]} ({new['date']})")
    for comparison in comparisons:
        print(comparison)
    return int(any(comparison.verdict is Verdict.FELL for comparison in comparisons))


if __name__ == "__main__":
    raise SystemExit(main())
