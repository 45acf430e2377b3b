"""On a Ray cluster of this machine, with a worker that is killed: every picture once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrcnn.prediction import cluster, parts
from mrcnn.prediction.cluster import Workers, _size
from mrcnn.prediction.stream import Predictor
from tests.prediction.disc_detector import DiscDetector
from tests.prediction.test_parts import rows
from tests.prediction.test_stream import NAMES, pictures

REPOSITORY = Path(__file__).resolve().parents[2]


class Slow(DiscDetector):
    """Takes its time, so that there is some to be killed in."""

    def detect_batch(self, batch):
        time.sleep(0.2 * len(batch))
        return super().detect_batch(batch)


def make() -> Predictor:
    return Predictor(Slow(), NAMES)


@pytest.fixture
def two_workers() -> Iterator[None]:
    ray = pytest.importorskip("ray", reason="pip install '.[ray]'")
    paths = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    environment = {"env_vars": {"PYTHONPATH": paths}}
    ray.init(address="local", num_cpus=2, runtime_env=environment, log_to_driver=False)
    yield
    ray.shutdown()


def kill_one(folder: Path, killed: list[int]) -> None:
    """Kill the worker that writes a part, when another part is done."""
    while not killed:
        under_way = sorted(folder.glob("part-*.part"))
        if under_way and list(folder.glob("part-??????")):
            pid = int(under_way[0].name.split(".")[-3])
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
        time.sleep(0.02)


@pytest.mark.slow
def test_a_killed_worker_loses_nothing_and_doubles_nothing(tmp_path: Path, two_workers: None):
    divided = parts.divide(pictures(30), 3)
    todo = parts.take_up(tmp_path, divided, {})
    killed: list[int] = []
    killer = threading.Thread(target=kill_one, args=(tmp_path, killed), daemon=True)
    killer.start()
    done = list(cluster.predict_on_cluster("auto", tmp_path, todo, make, Workers(2)))
    killer.join(5)
    assert killed, "no worker was killed"
    assert sorted(done) == list(range(10))
    assert parts.finish(tmp_path, divided) == parts.Totals(30, sum(k % 5 for k in range(30)), 0)
    assert [row["file_name"] for row in rows(tmp_path, "pictures")] == [
        f"{k}.png" for k in range(30)
    ]
    assert len(rows(tmp_path, "objects")) == sum(k % 5 for k in range(30))


@pytest.mark.parametrize(
    ("there", "asked", "expected"),
    [
        ({"CPU": 8.0}, Workers(), (2.0, 0.0, 4)),
        ({"CPU": 8.0}, Workers(8), (1.0, 0.0, 8)),
        ({"CPU": 1.0}, Workers(), (1.0, 0.0, 1)),
        ({"CPU": 32.0, "GPU": 4.0}, Workers(), (2.0, 1.0, 4)),
        ({"CPU": 32.0, "GPU": 4.0}, Workers(9), (2.0, 1.0, 4)),
        ({"CPU": 32.0, "GPU": 4.0}, Workers(gpus=0.5), (2.0, 0.5, 8)),
    ],
)
def test_workers_fit_the_cluster(there, asked, expected):
    assert _size(there, asked, parts=100) == expected
    assert _size(there, asked, parts=1)[2] == 1
