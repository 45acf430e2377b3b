"""Steps on several devices: the arithmetic of one, and what is said where there are not so many."""

from __future__ import annotations

import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import keras
import pytest

from mrcnn.commands import chosen, cli, train
from mrcnn.config import Config
from mrcnn.runs.settings import configure
from mrcnn.training import devices

PROGRAM = Path(__file__).with_name("train_on_devices.py")
REPOSITORY = Path(__file__).resolve().parents[2]


OTHERS = (
    *("others:uncertainty", "others:gradnorm", "others:accumulated", "others:averaged"),
    *("others:torchvision", "others:shapes", "others:statistics"),
)


@pytest.mark.parametrize(
    ("what", "backend"),
    [
        ("same_end", "tensorflow"),
        pytest.param("own_strategy", "tensorflow", marks=pytest.mark.slow),
        *(
            pytest.param(what, backend, marks=pytest.mark.slow)
            for what in ("same_end", "continued", "evaluated", "one_batch", *OTHERS)
            for backend in devices.BACKENDS
            if (what, backend) != ("same_end", "tensorflow")
        ),
    ],
)
def test_two_devices_train_as_one(tmp_path: Path, what: str, backend: str):
    pytest.importorskip(backend, reason=f"pip install '.[{backend}]'")
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, str(PROGRAM), what, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "apart" in done.stdout


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow's replicas")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"JIT_COMPILE": True}, "JIT_COMPILE: expected None or False where 2 devices"),
        ({"MIXED_PRECISION": "float16"}, "MIXED_PRECISION: expected 'bfloat16'.*'float16'"),
    ],
)
def test_what_tensorflow_cannot_do_is_said_first(monkeypatch, settings: dict, message: str):
    monkeypatch.setattr(devices, "count_of", int)
    config = configure(Config, {"NAME": "own", "GPU_COUNT": 2, "IMAGES_PER_GPU": 1, **settings})
    with pytest.raises(ValueError, match=message), devices.spread(config):
        pytest.fail("it was spread")


@pytest.mark.parametrize("asked", ["none", "0", "-1", "1.5", ""])
def test_other_numbers_are_refused(asked: str):
    with pytest.raises(ValueError, match="devices: expected a number of at least 1, or 'all'"):
        devices.count_of(asked)


def test_one_and_all_are_understood():
    there = len(keras.distribution.list_devices())
    assert devices.count_of("1") == devices.count_of(1) == 1
    if there == 1:
        assert devices.count_of("all") == 1


def test_more_than_there_are_is_said(caplog):
    backend = keras.backend.backend()
    known = backend in devices.BACKENDS
    expected = "expected at most" if known else "expected a backend that spreads steps"
    with pytest.raises(ValueError, match=f"devices: {expected} .*; received"):
        devices.count_of("77")
    # Scripts from elsewhere: one device takes it all.
    config = configure(Config, {"NAME": "own", "GPU_COUNT": 77, "IMAGES_PER_GPU": 1})
    devices._warn.cache_clear()
    with devices.spread(config):
        assert keras.distribution.distribution() is None
    with devices.spread(config):
        pass
    said = [record.getMessage() for record in caplog.records if "GPU_COUNT = 77" in record.message]
    assert len(said) <= 1  # once, where the logger hands it on


def test_devices_share_the_images_of_a_step(monkeypatch):
    monkeypatch.setattr(devices, "count_of", int)

    def settings(batch_size: int | None) -> dict:
        return chosen.settings_from_args(Namespace(devices="2", batch_size=batch_size))

    assert settings(8) == {"GPU_COUNT": 2, "IMAGES_PER_GPU": 4}
    assert settings(None) == {"GPU_COUNT": 2}
    with pytest.raises(ValueError, match="--batch-size: expected a multiple of the 2 devices"):
        settings(7)
    # A run of 2 x 3 images that continues on another number of devices.
    args = Namespace(devices="6", batch_size=None)
    train._keep_images_of_a_step(args, {"IMAGES_PER_GPU": 3, "GPU_COUNT": 2})
    assert chosen.settings_from_args(args) == {"GPU_COUNT": 6, "IMAGES_PER_GPU": 1}


def test_the_command_says_it_before_anything_is_trained(tmp_path: Path, capsys):
    command = ["train", str(tmp_path), "--devices", "many"]
    assert cli.main(command) == 2
    assert "devices: expected a number" in "".join(capsys.readouterr())
