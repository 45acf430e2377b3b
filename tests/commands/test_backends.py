"""The commands on each backend, in a process of their own: a backend is chosen once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mrcnn.datasets.shapes import write_shapes
from tests.commands.test_cli import TINY, read_metrics
from tests.conftest import REPOSITORY

COMMANDS = """
import glob, json, sys
from mrcnn.commands import cli

*training, evaluation = json.loads(sys.argv[1])
for command in training:
    assert cli.main(command) == 0
weights = sorted(glob.glob(sys.argv[2]))
assert cli.main([*evaluation, "--model", weights[-1]]) == 0
"""


# The longer schedules of the paper differ from this one in their number of steps only. With
# TensorFlow, tests/commands/test_cli.py trains and evaluates too.
@pytest.mark.parametrize(
    ("backend", "schedule"),
    [
        ("jax", "paper-160k"),
        *(
            pytest.param(*combination, marks=pytest.mark.slow)
            for combination in (
                *(("jax", "scratch"), ("tensorflow", "scratch"), ("tensorflow", "paper-160k")),
            )
        ),
    ],
)
def test_two_stages_then_the_last_one_then_an_evaluation(
    backend: str, schedule: str, tmp_path: Path
):
    pytest.importorskip(backend)
    data, logs = tmp_path / "shapes", tmp_path / "logs"
    write_shapes(data, train=6, val=3, image_size=(64, 64))
    train = ["train", str(data), "--logs", str(logs), "--schedule", schedule]
    first_stages = [*train, "--training-mode", "base", "--steps", "8", *TINY]
    last_stage = [*train, "--training-mode", "fine", "--steps", "2", "--model", "last"]
    commands = [first_stages, last_stage, ["evaluate", str(data)]]
    subprocess.run(
        [sys.executable, "-c", COMMANDS, json.dumps(commands), str(logs / "*" / "*_0*.h5")],
        cwd=REPOSITORY,
        env={**os.environ, "KERAS_BACKEND": backend},
        check=True,
    )
    (run,) = logs.iterdir()
    # Three stages, of five epochs and one.
    epochs = [path.stem[-4:] for path in sorted(run.glob("*_0*.h5"))]
    assert epochs == ["0001", "0002", "0003", "0004", "0005", "0006"]
    assert set(read_metrics(run / "coco_val.csv")) == {"segm", "bbox", "boundary"}
