"""Ours, torchvision and a fork of Matterport's package, side by side.

    python -m benchmarks.peers train-r101-256 --output peers.jsonl
    python -m benchmarks.peers train-r101-256 --dtype bfloat16 --positives 0.25
    python -m benchmarks.peers detect-r101-1024 --fork CHECKOUT --fork-python ENV/bin/python
    python -m benchmarks.peers load-1024 --dataset DIR --subset train --year 2017
    python -m benchmarks.peers --table peers.jsonl

Each peer has a process of its own, which stays alive; they take turns, so that a machine that
slows down slows all alike, and the convolution of `benchmarks.limits` is timed between any two
turns. One JSON line for each peer and call: median and best seconds, the ratio to our time in the
same round with its spread, the peak memory, and how fast the convolution was before and after each
turn. Compare the ratios; times are this machine's at that minute.

The work is the same for all: the same images, RoIs and positives (ours by objects that are chosen
among its own proposals, torchvision's by a bound on the positives that it draws), frozen batch
statistics, one bound on the gradients. `--positives 1` (the default) fills every slot for positive
RoIs, which are a third of all; 0.25 a quarter of them, and then a quarter of the RoIs.
torchvision's layers are changed to Matterport's sizes (`benchmarks.peers.of_torchvision`);
"torchvision-shipped" has its own. The fork's network works on every slot in any case.

torchvision comes with `pip install "mrcnn[bench]"`, or is found in another environment with
`--torch-python`. A fork takes part when its checkout is given; `benchmarks.peers.fork` says which
packages it needs, and what has to be changed in it.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers import rows
from benchmarks.peers.alternate import Command, Facts, take_turns
from benchmarks.peers.ratios import summarize, table
from benchmarks.peers.rows import CONTESTANTS, FORK, OURS, ROWS, TORCHVISION, Contestant, Row

# In bfloat16 two graphs of one network round differently, so that a proposal comes or goes.
MOST_UNEQUAL = 1.1
MODULES = {
    (OURS, "train"): "benchmarks.peers.ours",
    (OURS, "detect"): "benchmarks.peers.ours",
    (OURS, "load"): "benchmarks.peers.ours_loader",
    (TORCHVISION, "train"): "benchmarks.peers.of_torchvision",
    (TORCHVISION, "detect"): "benchmarks.peers.of_torchvision",
    (TORCHVISION, "load"): "benchmarks.peers.torchvision_loader",
    (FORK, "train"): "benchmarks.peers.fork",
    (FORK, "detect"): "benchmarks.peers.fork",
    (FORK, "load"): "benchmarks.peers.fork_loader",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = _parser().parse_args(arguments)
    if args.table:
        text = Path(args.table).read_text(encoding="utf-8")
        print(table(json.loads(line) for line in text.splitlines()))
        return
    for name in args.rows:
        for line in compare(name, args):
            print(json.dumps(line), flush=True)
            if args.output:
                with open(args.output, "a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")


def compare(name: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Let the contestants of a row take turns.

    Raises:
        ValueError: there is no contestant, or two of them did not do the same work.
    """
    row = ROWS[name]
    chosen = contestants(row, args)
    commands = [command(row, contestant, args) for contestant in chosen]
    probe = Command(
        "convolution",
        sys.executable,
        "benchmarks.peers.convolution",
        {"dtype": "float32", "warm_up": 1},
        {},
    )
    repeats = args.repeats or rows.repeats_of(row)
    record = take_turns(commands, probe, args.rounds, repeats, 60 * args.minutes, check_equal)
    lines = summarize(record, chosen[0].name, "processor" if row.kind == "load" else "wall")
    return [{"row": name, **line} for line in lines]


def contestants(row: Row, args: argparse.Namespace) -> list[Contestant]:
    """Who takes part: those asked for, or all that can, in the order that they are listed.

    Raises:
        ValueError: one that was asked for cannot take part, or there is none.
    """
    able = [
        contestant
        for contestant in CONTESTANTS.values()
        if row.kind in contestant.kinds and (args.fork or contestant.peer != FORK)
    ]
    asked = args.only or [
        contestant.name
        for contestant in able
        if contestant.options.get("dtype", "float32") in args.dtype
    ]
    unable = sorted(set(asked) - {contestant.name for contestant in able})
    if unable or not asked:
        raise ValueError(
            f"--only: expected some of {', '.join(c.name for c in able)}, which can {row.kind} "
            f"here (a fork needs --fork); received {', '.join(unable) or 'none'}."
        )
    return [contestant for contestant in able if contestant.name in asked]


def command(row: Row, contestant: Contestant, args: argparse.Namespace) -> Command:
    """How a contestant's worker is started."""
    pythons = {OURS: sys.executable, TORCHVISION: args.torch_python, FORK: args.fork_python}
    more: dict[str, Any] = {"channels_last": args.channels_last}
    if contestant.peer == FORK:
        more["checkout"] = str(Path(args.fork).resolve())
    if row.kind == "load":
        if not args.dataset:
            raise ValueError("--dataset: expected a folder in COCO's layout; received none.")
        more |= {"dataset": str(Path(args.dataset).resolve()), "batches": args.batches}
        more |= {"subset": args.subset, "year": args.year}
    return Command(
        contestant.name,
        pythons[contestant.peer],
        MODULES[contestant.peer, row.kind],
        rows.specification(row, contestant, args.positives, **more),
        {},
    )


def check_equal(facts: Facts) -> None:
    """Check that all worked on as many RoIs, positives and detections, and on finite numbers.

    Raises:
        ValueError: they did not, so that their times say nothing about each other.
    """
    for fact in ("rois", "positives", "found"):
        values = {name: known[fact] for name, known in facts.items() if fact in known}
        if values and max(values.values()) > MOST_UNEQUAL * min(values.values()):
            raise ValueError(f"{fact}: expected equal work; received {values}.")
    losses = {name: known["loss"] for name, known in facts.items() if "loss" in known}
    if not all(map(math.isfinite, losses.values())):
        raise ValueError(f"loss: expected finite numbers; received {losses}.")


def _parser() -> argparse.ArgumentParser:
    lines = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=lines[0])
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--only", nargs="+", choices=tuple(CONTESTANTS), help="who takes part")
    parser.add_argument(
        "--dtype",
        nargs="+",
        default=["float32"],
        choices=("float32", "bfloat16"),
        help="those who compute in it take part, unless --only says who (default: float32)",
    )
    parser.add_argument(
        "--positives", type=float, default=1.0, help="share of the positive slots (default: 1)"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, help="calls in a round (default: by the row)")
    parser.add_argument("--minutes", type=float, default=60, help="after which no round is begun")
    parser.add_argument("--torch-python", default=sys.executable, help="that has torchvision")
    parser.add_argument("--fork", help="checkout of a fork of Matterport's package")
    parser.add_argument("--fork-python", default=sys.executable, help="that has its packages")
    parser.add_argument("--channels-last", action="store_true", help="torchvision's layout")
    parser.add_argument("--dataset", help="folder in COCO's layout, for the loaders")
    parser.add_argument("--subset", default="train")
    parser.add_argument("--year", default="2017")
    parser.add_argument("--batches", type=int, default=8, help="of a loader's call")
    parser.add_argument("--output", help="a file to which the lines are added")
    parser.add_argument("--table", metavar="FILE", help="show such a file as a table, and end")
    return parser


if __name__ == "__main__":
    main()
