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
# TensorFlow, tests/commands/test_cli.py trains and evaluates too; JAX compiles each stage anew, for
# half a minute, and tests/training/test_devices.py trains on it.
@pytest.mark.parametrize(
    ("backend", "schedule", "with_last"),
    [
        pytest.param("jax", "scratch", False, marks=pytest.mark.slow),
        pytest.param("jax", "paper-160k", True, marks=pytest.mark.slow),
        pytest.param("torch", "scratch", True, marks=pytest.mark.slow),
        pytest.param("tensorflow", "scratch", True, marks=pytest.mark.slow),
        pytest.param("tensorflow", "paper-160k", True, marks=pytest.mark.slow),
    ],
)
def test_two_stages_then_the_last_one_then_an_evaluation(
    backend: str, schedule: str, with_last: bool, tmp_path: Path
):
    pytest.importorskip(backend)
    data, logs = tmp_path / "shapes", tmp_path / "logs"
    write_shapes(data, train=6, val=3, image_size=(64, 64))
    train = ["train", str(data), "--logs", str(logs), "--schedule", schedule]
    first_stages = [*train, "--training-mode", "base", "--steps", "8", *TINY]
    last_stage = [*train, "--training-mode", "fine", "--steps", "2", "--model", "last"]
    commands = [first_stages, *([last_stage] if with_last else []), ["evaluate", str(data)]]
    subprocess.run(
        [sys.executable, "-c", COMMANDS, json.dumps(commands), str(logs / "*" / "*_0*.h5")],
        cwd=REPOSITORY,
        env={**os.environ, "KERAS_BACKEND": backend},
        check=True,
    )
    (run,) = logs.iterdir()
    # Two stages, of five epochs, and one of one.
    epochs = [int(path.stem[-4:]) for path in sorted(run.glob("*_0*.h5"))]
    assert epochs == list(range(1, 7 if with_last else 6))
    assert set(read_metrics(run / "coco_val.csv")) == {"segm", "bbox", "boundary"}
