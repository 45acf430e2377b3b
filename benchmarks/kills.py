"""Kill a training run again and again, and compare its result with an uninterrupted run's.

    python -m benchmarks.kills --kills 10
    python -m benchmarks.kills --trials 20 --kills 2    # workers 0 and 2, idle and under load

A small network is trained once without interruption, and once more by processes that are killed
with SIGKILL: half of the time at a random moment, otherwise while a file is being written (the
state of training or the weights of an epoch). Each next process continues with
`train(resume=True)`. One JSON line a trial says whether weights, optimizer, random states and
`losses.csv` are the same, bit for bit, and what was going on at each kill. With several trials the
first half run on a machine that is left alone, the second half beside processes that keep its
cores busy, and each other one with two loader threads instead of none; all are compared with the
one uninterrupted run, which is idle and has none. The exit status is 0 only if all are the same.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

STEPS_PER_EPOCH = 5
SECONDS_TO_WAIT = 1800  # for a process to get as far as the next kill
POLL = 0.0005  # seconds
# Busy for a random while, then asleep for a shorter one: the order of threads changes all the time.
SPIN = """
import random, time
while True:
    end = time.time() + random.random() * 0.05
    while time.time() < end:
        sum(range(1000))
    time.sleep(random.random() * 0.01)
"""


def main() -> int:
    """Run the command line. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=3, help="of each of the two stages")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--trials", type=int, default=1, help="killed runs to compare")
    parser.add_argument("--workers", type=int, default=0, help="loader threads, with one trial")
    parser.add_argument("--optimizer", choices=("sgd", "adam"), default="sgd")
    parser.add_argument("--width", type=int, default=16, help="channels: larger, longer writes")
    parser.add_argument("--work", metavar="FOLDER", help="be one of the processes")
    parser.add_argument(
        "--network",
        choices=("mask-rcnn", "stand-in"),
        default="mask-rcnn",
        help="the real one, small, or a few layers in its place",
    )
    args = parser.parse_args()
    if args.work:
        work(Path(args.work), args)
        return 0
    results = []
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        for result in compare(Path(folder), args):
            print(json.dumps(result), flush=True)
            results.append(result["same"])
    if args.trials > 1:
        print(f"{sum(results)} of {len(results)} trials the same, bit for bit")
    return 0 if all(results) else 1


def compare(folder: Path, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Train without and with kills, and compare: a result a trial."""
    whole = folder / "whole"
    if start(whole, args, workers=0).wait():
        raise RuntimeError(whole.with_suffix(".log").read_text(errors="replace")[-2000:])
    expected = end(whole)
    moments = random.Random(args.seed)
    for trial in range(args.trials):
        workers = 2 * (trial % 2) if args.trials > 1 else args.workers
        busy = 2 * (os.cpu_count() or 1) if trial >= (args.trials + 1) // 2 else 0
        killed = folder / f"killed_{trial}"
        with load(busy):
            result = train_with_kills(killed, workers, moments, args)
        received = end(killed)
        losses = np.array(expected["losses"]), np.array(received["losses"])  # a row an epoch each
        yield {
            "trial": trial,
            "workers": workers,
            "busy_processes": busy,
            **result,
            "same": expected["state"] == received["state"],
            "largest_difference_of_losses": float(np.max(np.abs(losses[0] - losses[1]))),
        }


def train_with_kills(
    folder: Path, workers: int, moments: random.Random, args: argparse.Namespace
) -> dict[str, Any]:
    """Train in a folder, kill the process again and again, and end the run. What was met."""
    met = {"at a random moment": 0, "during a write": 0}
    steps = 2 * args.epochs * STEPS_PER_EPOCH
    resumed_at = []
    for number in range(args.kills):
        goal = (number + 1) * steps // (args.kills + 1)
        process = start(folder, args, workers)
        in_write = wait_for(folder, goal, process, write=bool(number % 2))
        if not in_write:
            time.sleep(moments.uniform(0, 0.3))
        if process.poll() is not None:
            raise RuntimeError(f"The process ended with {process.returncode} before kill {number}.")
        process.send_signal(signal.SIGKILL)
        process.wait()
        # A temporary file is still there: the write was not finished.
        met["during a write" if list(folder.glob("*/*.part")) else "at a random moment"] += 1
        resumed_at.append(newest_step(folder))
    last = start(folder, args, workers)
    if last.wait():
        raise RuntimeError(f"The last process ended with {last.returncode}.")
    return {
        "kills": args.kills,
        **met,
        "steps": steps,
        "optimizer": args.optimizer,
        "resumed_at": resumed_at,
    }


@contextlib.contextmanager
def load(processes: int) -> Iterator[None]:
    """Keep the machine busy with so many processes."""
    spinning = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def start(folder: Path, args: argparse.Namespace, workers: int) -> subprocess.Popen:
    """A process that trains, or continues training, in a folder."""
    command = [sys.executable, "-m", "benchmarks.kills", "--work", str(folder)]
    command += ["--epochs", str(args.epochs), "--optimizer", args.optimizer]
    command += ["--width", str(args.width), "--network", args.network, "--workers", str(workers)]
    with open(folder.with_suffix(".log"), "ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def wait_for(folder: Path, goal: int, process: subprocess.Popen, write: bool) -> bool:
    """Wait until a run has reached a step; with `write`, until it is halted while it writes a file.

    Halted, because on a busy machine the write would be over before the process is killed.
    """
    deadline = time.monotonic() + SECONDS_TO_WAIT
    while process.poll() is None and time.monotonic() < deadline:
        if newest_step(folder) >= goal:
            if not write:
                return False
            if any(folder.glob("*/*.part")) and _halt(process):
                if any(folder.glob("*/*.part")):
                    return True
                process.send_signal(signal.SIGCONT)
        time.sleep(POLL)
    log = folder.with_suffix(".log").read_text(errors="replace")[-2000:]
    raise RuntimeError(f"The process did not get to step {goal}:\n{log}")


def _halt(process: subprocess.Popen) -> bool:
    """Stop a process where it is; False: it has ended."""
    process.send_signal(signal.SIGSTOP)
    found = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    return found is not None and found.si_code == os.CLD_STOPPED


def newest_step(folder: Path) -> int:
    steps = [int(path.stem.split("_")[1]) for path in folder.glob("*/step_*.state")]
    return max(steps, default=-1)


def end(folder: Path) -> dict[str, Any]:
    """What a run ended with: every variable of its newest state, and its losses.

    The running means of the losses are left out of the bitwise comparison: nothing depends on
    them, and TensorFlow adds up a scalar in the order of its threads.
    """
    from mrcnn.checkpoints import state_file

    (run,) = folder.iterdir()
    state, damaged = state_file.newest_state(run)
    assert state is not None and not damaged
    arrays = {
        (group, number): (array.dtype.str, array.shape, array.tobytes())
        for group, pairs in state.groups.items()
        if group != "metrics"
        for number, (_, array) in enumerate(pairs)
    }
    with open(run / "losses.csv", newline="", encoding="utf-8") as file:
        rows = [[float(value) for value in row] for row in list(csv.reader(file))[1:]]
    return {"state": arrays, "losses": rows}


def work(folder: Path, args: argparse.Namespace) -> None:
    """Train two stages in a folder, or continue training them."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    from benchmarks import stand_in
    from mrcnn.data.augment import HorizontalFlip
    from mrcnn.model import MaskRCNN
    from mrcnn.runs import settings as runs_settings

    settings = {
        "OPTIMIZER": args.optimizer,
        "STEPS_PER_EPOCH": STEPS_PER_EPOCH,
        "FPN_CLASSIF_FC_LAYERS_SIZE": args.width,
        "LOADER_WORKERS": args.workers,
    }
    if args.network == "mask-rcnn":
        settings |= {
            "TOP_DOWN_PYRAMID_SIZE": args.width,
            "RPN_CONV_FILTERS": args.width,
            "MASK_CONV_FILTERS": args.width,
            "RPN_ANCHOR_SCALES": (8, 16, 24, 32, 48),
            "RPN_TRAIN_ANCHORS_PER_IMAGE": 32,
            "PRE_NMS_LIMIT": 100,
            "POST_NMS_ROIS_TRAINING": 40,
            "TRAIN_ROIS_PER_IMAGE": 12,
            "EDGE_LOSS_FILTERS": ("sobel-x",),
        }
    config = runs_settings.configure(stand_in.StandInConfig, settings)
    keras.utils.set_random_seed(config.SEED)
    model_class = {"mask-rcnn": MaskRCNN, "stand-in": stand_in.StandIn}[args.network]
    model = model_class("training", config, folder)
    train_set, val_set = stand_in.Squares().add(7), stand_in.Squares().add(3)
    for number, (layers, rate) in enumerate((("heads", 2e-3), ("all", 1e-3)), start=1):
        model.train(
            train_set,
            val_set,
            learning_rate=rate,
            epochs=number * args.epochs,
            layers=layers,
            augmentation=HorizontalFlip(0.5),
            resume=True,
        )


if __name__ == "__main__":
    sys.exit(main())
