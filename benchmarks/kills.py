"""Kill a training run again and again, and compare its result with an uninterrupted run's.

    python -m benchmarks.kills --kills 10

A small network is trained once without interruption, and once more by processes that are killed
with SIGKILL: half of the time at a random moment, otherwise while a file is being written (the
state of training or the weights of an epoch). Each next process continues with
`train(resume=True)`. One JSON line says whether weights, optimizer, random states and `losses.csv`
are the same, bit for bit, and what was going on at each kill. The exit status is 0 only if they
are.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

STEPS_PER_EPOCH = 5
SECONDS_TO_WAIT = 300  # for a process to get as far as the next kill
POLL = 0.0005  # seconds


def main() -> int:
    """Run the command line. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=3, help="of each of the two stages")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
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
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        result = compare(Path(folder), args)
    print(json.dumps(result))
    return 0 if result["same"] else 1


def compare(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Train without and with kills, and compare."""
    moments = random.Random(args.seed)
    whole, killed = folder / "whole", folder / "killed"
    start(whole, args).wait()
    met = {"at a random moment": 0, "during a write": 0}
    steps = 2 * args.epochs * STEPS_PER_EPOCH
    resumed_at = []
    for number in range(args.kills):
        goal = (number + 1) * steps // (args.kills + 1)
        process = start(killed, args)
        in_write = wait_for(killed, goal, process, write=bool(number % 2))
        if not in_write:
            time.sleep(moments.uniform(0, 0.3))
        if process.poll() is not None:
            raise RuntimeError(f"The process ended with {process.returncode} before kill {number}.")
        process.send_signal(signal.SIGKILL)
        process.wait()
        # A temporary file is still there: the write was not finished.
        met["during a write" if list(killed.glob("*/*.part")) else "at a random moment"] += 1
        resumed_at.append(newest_step(killed))
    last = start(killed, args)
    if last.wait():
        raise RuntimeError(f"The last process ended with {last.returncode}.")
    expected, received = end(whole), end(killed)
    same = expected["state"] == received["state"]
    losses = np.array(expected["losses"]), np.array(received["losses"])  # a row an epoch each
    return {
        "kills": args.kills,
        **met,
        "steps": steps,
        "optimizer": args.optimizer,
        "resumed_at": resumed_at,
        "same": same,
        "largest_difference_of_losses": float(np.max(np.abs(losses[0] - losses[1]))),
    }


def start(folder: Path, args: argparse.Namespace) -> subprocess.Popen:
    """A process that trains, or continues training, in a folder."""
    command = [sys.executable, "-m", "benchmarks.kills", "--work", str(folder)]
    command += ["--epochs", str(args.epochs), "--optimizer", args.optimizer]
    command += ["--width", str(args.width), "--network", args.network]
    with open(folder.with_suffix(".log"), "ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def wait_for(folder: Path, goal: int, process: subprocess.Popen, write: bool) -> bool:
    """Wait until a run has reached a step and, with `write`, is writing a file."""
    deadline = time.monotonic() + SECONDS_TO_WAIT
    while process.poll() is None and time.monotonic() < deadline:
        if newest_step(folder) >= goal:
            if not write:
                return False
            if any(folder.glob("*/*.part")):
                return True
        time.sleep(POLL)
    log = folder.with_suffix(".log").read_text(errors="replace")[-2000:]
    raise RuntimeError(f"The process did not get to step {goal}:\n{log}")


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
