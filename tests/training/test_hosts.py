"""Several processes train as one: the same weights, one folder, one end."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
import pytest

from mrcnn.checkpoints import folders
from mrcnn.checkpoints.losses_file import LOSSES_FILE, read_losses_file
from mrcnn.commands import cli
from mrcnn.training import hosts
from mrcnn.training.hosts import Place, find_place

PROGRAM = Path(__file__).with_name("train_on_hosts.py")
REPOSITORY = Path(__file__).resolve().parents[2]


def start(
    what: str, folder: Path, *place: object, inside: Sequence[str] = (), **variables: str
) -> subprocess.Popen:
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        # Compiling takes most of the time here; what is compiled stays the same.
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]),
        **variables,
    }
    command = [*inside, sys.executable, str(PROGRAM), what, str(folder), *map(str, place)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, env=environment, **pipes)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def train(what: str, folder: Path, processes: int = 2) -> list[tuple[int, str]]:
    """Train with so many processes. Returns the exit status and the output of each."""
    if processes == 1:
        begun = [start(what, folder)]
    else:
        coordinator = f"127.0.0.1:{free_port()}"
        begun = [start(what, folder, coordinator, processes, k) for k in range(processes)]
    outputs = [process.communicate(timeout=900)[0] for process in begun]
    return [(process.returncode, text) for process, text in zip(begun, outputs, strict=True)]


def weights_of(folder: Path, what: str, processes: int = 2, index: int = 0) -> list[np.ndarray]:
    with np.load(folder / f"{what}-{processes}-{index}.npz") as arrays:
        return [arrays[name] for name in arrays.files]


def expect_same(one: list[np.ndarray], other: list[np.ndarray], tolerance: float = 1e-4) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance * max(np.abs(a).max(), 0.1), rtol=0)


def log_dir_of(folder: Path) -> Path:
    (found,) = (folder / "logs").iterdir()
    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes of it."""
    pytest.importorskip("jax", reason="the backend jax trains with others: pip install '.[jax]'")
    folder = tmp_path_factory.mktemp("alone")
    ((status, text),) = train("whole", folder, 1)
    assert status == 0, text[-3000:]
    return folder


def test_two_agree_and_one_that_is_gone_is_missed(tmp_path: Path):
    pytest.importorskip("jax", reason="the backend jax trains with others: pip install '.[jax]'")
    (status, text), (other_status, other_text) = train("agree", tmp_path)
    assert other_status == 3 and status == 1, text + other_text
    assert "said: Process 1 of 2: expected the settings of process 0; here of.B is 1, there 0" in (
        other_text
    )
    assert "here in another process they differ" in text
    assert "said: Process 0 has failed: FileNotFoundError" in other_text
    assert "No such file" in text and "Process 0 of 2 has lost another one" in text


@pytest.mark.slow
def test_a_stopped_training_of_two_ends_as_that_of_one(alone: Path, tmp_path: Path):
    """One of them gets a signal, both stop at the same step, and both continue."""
    stopped = train("stopped", tmp_path)
    assert [status for status, _ in stopped] == [143, 143], stopped
    assert "resume with --model last" in stopped[0][1] and "Epochs" not in stopped[1][1]
    run = log_dir_of(tmp_path)
    begun = len(read_losses_file(run / LOSSES_FILE)["epoch"])
    assert begun == 1 and max(folders.states_in(run)) == 10 + 4
    continued = train("whole", tmp_path)
    assert [status for status, _ in continued] == [0, 0], continued
    assert "Resuming at step 14" in continued[0][1]
    here = weights_of(tmp_path, "whole")
    expect_same(here, weights_of(tmp_path, "whole", index=1), 0)  # in both processes
    expect_same(weights_of(alone, "whole", 1), here)
    losses = [read_losses_file(log_dir_of(f) / LOSSES_FILE)["loss"] for f in (alone, tmp_path)]
    np.testing.assert_allclose(*losses, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["killed", "failed"])
def test_one_that_is_gone_ends_the_other_and_one_continues(alone: Path, tmp_path: Path, what: str):
    (status, text), (other_status, other_text) = train(what, tmp_path)
    assert status == 1 and "Process 0 of 2 has lost another one" in text, text[-3000:]
    assert "--model last" in text
    if what == "failed":
        assert other_status == 1 and "/not/there" in other_text
    ((status, text),) = train("whole", tmp_path, 1)  # on another number of processes
    assert status == 0 and "Resuming at step" in text, text[-3000:]
    expect_same(weights_of(alone, "whole", 1), weights_of(tmp_path, "whole", 1))


@pytest.mark.slow
def test_the_first_evaluates_for_all(tmp_path: Path):
    ends = train("evaluated", tmp_path)
    assert [status for status, _ in ends] == [0, 0], ends
    assert "segm_AP" in ends[0][1] and "segm_AP" not in ends[1][1]
    metrics = read_losses_file(log_dir_of(tmp_path) / LOSSES_FILE)
    assert len(metrics["val_segm_AP"]) == 2 and np.isfinite(metrics["val_segm_AP"]).all()


@pytest.mark.slow
def test_a_callback_of_one_ends_all(tmp_path: Path):
    ends = train("ended", tmp_path)
    assert [status for status, _ in ends] == [0, 0], ends
    assert all("epoch 1," in text for _, text in ends)


@pytest.mark.slow
def test_other_settings_are_named(tmp_path: Path):
    ends = train("other settings", tmp_path)
    assert [status for status, _ in ends] == [1, 1], ends
    assert "expected the settings and data of process 0" in ends[1][1]
    assert "here settings.LEARNING_MOMENTUM is 0.8, there 0.9;" in ends[1][1]


# --- A slow link -----------------------------------------------------------------------------

RATE = "20mbit"
SPACES = ("mrcnn-a", "mrcnn-b")


@pytest.fixture
def slow_link() -> Iterator[list[list[str]]]:
    """Commands that run another inside one of two network namespaces with a slow link."""

    def ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True)

    try:
        for space in SPACES:
            ip("netns", "add", space)
        ends = ["type", "veth", "peer", "name", "wire", "netns", SPACES[1]]
        ip("link", "add", "wire", "netns", SPACES[0], *ends)
        for number, space in enumerate(SPACES, start=1):
            ip("-n", space, "address", "add", f"10.77.0.{number}/24", "dev", "wire")
            # JAX's processes find each other by the names of their machines.
            hosts_file = Path("/etc/netns", space, "hosts")
            hosts_file.parent.mkdir(parents=True)
            hosts_file.write_text(f"10.77.0.{number} {socket.gethostname()}\n")
            for device in ("wire", "lo"):
                ip("-n", space, "link", "set", device, "up")
            limit = ["tbf", "rate", RATE, "burst", "32kbit", "latency", "400ms"]
            tc = ["tc", "-n", space, "qdisc", "add", "dev", "wire", "root", *limit]
            subprocess.run(tc, check=True, capture_output=True)
        yield [["ip", "netns", "exec", space] for space in SPACES]
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"network namespaces need Linux and its rights: {error}")
    finally:
        for space in SPACES:
            with contextlib.suppress(OSError):
                subprocess.run(["ip", "netns", "delete", space], capture_output=True)
            shutil.rmtree(Path("/etc/netns", space), ignore_errors=True)


@pytest.mark.slow
def test_over_a_slow_link(alone: Path, tmp_path: Path, slow_link: list[list[str]]):
    begun = [
        start("whole", tmp_path, "10.77.0.1:9911", 2, number, inside=inside)
        for number, inside in enumerate(slow_link)
    ]
    outputs = [process.communicate(timeout=900)[0] for process in begun]
    assert [process.returncode for process in begun] == [0, 0], outputs
    counter = Path("/sys/class/net/wire/statistics/tx_bytes")
    inside = [*slow_link[1], "cat", str(counter)]
    sent = int(subprocess.run(inside, check=True, capture_output=True, text=True).stdout)
    print(f"{sent / 1e6:.1f} MB sent at {RATE}; {outputs[0].splitlines()[-1]}")
    assert sent > 20 * 4e5  # the gradients of 20 steps
    expect_same(weights_of(alone, "whole", 1), weights_of(tmp_path, "whole"))


# --- Where a process finds its place --------------------------------------------------------


def test_options_say_it_all_or_nothing():
    assert find_place("node1:99", 4, 3, {}) == Place("node1:99", 4, 3)
    assert find_place(None, None, None, {}) is None
    assert find_place("node1:99", 1, 0, {}) is None
    with pytest.raises(ValueError, match="--processes and --process-id is missing"):
        find_place("node1:99", None, None, {})
    with pytest.raises(ValueError, match="expected HOST:PORT .*'node1'"):
        find_place("node1", 2, 0, {})
    for index in (-1, 2):
        with pytest.raises(ValueError, match=f"received {index} of 2"):
            find_place("node1:99", 2, index, {})


def test_torchrun_says_it():
    variables = {"WORLD_SIZE": "4", "RANK": "2", "MASTER_ADDR": "host", "MASTER_PORT": "500"}
    assert find_place(environment=variables) == Place("host:500", 4, 2)
    several = {**variables, "LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": "1"}
    several["TORCHELASTIC_USE_AGENT_STORE"] = "True"
    assert find_place(environment=several) == Place("host:501", 4, 2, (1,))
    assert find_place(environment={**variables, "WORLD_SIZE": "1", "RANK": "0"}) is None
    with pytest.raises(ValueError, match="MASTER_ADDR"):
        find_place(environment={"WORLD_SIZE": "2", "RANK": "1"})


def test_slurm_says_it():
    variables = {
        "SLURM_JOB_ID": "4100",
        "SLURM_NTASKS": "8",
        "SLURM_PROCID": "5",
        "SLURM_LOCALID": "1",
        "SLURM_STEP_NUM_NODES": "2",
        "SLURM_STEP_NODELIST": "gpu[03-04]",
    }
    assert find_place(environment=variables) == Place("gpu03:61444", 8, 5)
    seen = {**variables, "CUDA_VISIBLE_DEVICES": "0,1,2,3"}
    assert find_place(environment=seen) == Place("gpu03:61444", 8, 5, (1,))
    # A batch script, before srun: it runs alone.
    script = {k: v for k, v in variables.items() if k != "SLURM_STEP_NODELIST"}
    assert find_place(environment=script) is None


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("node7", "node7"),
        ("node7,other1", "node7"),
        ("node[001-015],other1", "node001"),
        ("node[003,007-015]", "node003"),
        ("rack[2-4]-gpu,other", "rack2-gpu"),
    ],
)
def test_the_first_node(nodes: str, first: str):
    assert hosts.first_of_nodes(nodes) == first


def test_alone_nothing_is_agreed_on():
    assert (hosts.count(), hosts.index(), hosts.is_first()) == (1, 0, True)
    assert hosts.largest(3) == 3 and hosts.any_of(True) and not hosts.any_of(False)
    assert hosts.of_first(lambda: {"a": (1,)}) == {"a": (1,)}
    hosts.expect_same("settings", {"a": 1})
    hosts.leave(3)
    with pytest.raises(ValueError, match="gloo"), hosts.telling_of_lost_processes():
        raise ValueError("gloo")


def test_the_command_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture):
    assert cli.main(["train", str(tmp_path), "--processes", "2"]) == 2
    assert "--coordinator and --process-id is missing" in "".join(capsys.readouterr())
    if keras.backend.backend() != "jax":
        place = ["--coordinator", "127.0.0.1:1", "--processes", "2", "--process-id", "1"]
        assert cli.main(["train", str(tmp_path), *place]) == 2
        assert "expected the backend jax (KERAS_BACKEND=jax)" in "".join(capsys.readouterr())
