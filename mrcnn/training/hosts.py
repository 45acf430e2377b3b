"""One training by several processes, of one machine or of many.

On JAX. Every process runs the same program; `join` makes their devices one pool, over which
`mrcnn.training.devices` spreads each step. A process reads only its part of each batch. The first
one alone writes the folder of the run and evaluates; what it finds, and whether to stop, it tells
the others, so that all take the same steps.

Every function here that is called by one process must be called by all, in the same order.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import keras
import numpy as np

from mrcnn.logger import logger

CONNECT_SECONDS = 300  # for all processes to come
SILENT_SECONDS = 100  # after which a process that says nothing counts as dead
FINISH_SECONDS = 86400  # that the others wait at the end, such as for process 0's evaluation
_SLURM_PORTS = (61440, 4096)  # the first, and how many
_OTHER_GONE = re.compile(r"gloo|nccl|coordination service|connection (closed|reset)", re.IGNORECASE)


class HostsError(ConnectionError):
    """The processes cannot train together, or no longer."""


@dataclass(frozen=True)
class Place:
    """A process among those that train together.

    Attributes:
        coordinator: HOST:PORT, where process 0 listens.
        count: of the processes.
        index: this one's, from 0.
        local_devices: the numbers of this machine's GPUs that are this process's; None: all.
    """

    coordinator: str
    count: int
    index: int
    local_devices: tuple[int, ...] | None = None


def find_place(
    coordinator: str | None = None,
    processes: int | None = None,
    process_id: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> Place | None:
    """This process's place, by what was given, else by the variables of Slurm or torchrun.

    Args:
        coordinator, processes, process_id: HOST:PORT of process 0, how many there are, and which
            one this is; all of them or none.
        environment: None: of the process.

    Returns:
        None: the process trains alone.

    Raises:
        ValueError: a part is missing, or cannot be.
    """
    environment = os.environ if environment is None else environment
    given = {"coordinator": coordinator, "processes": processes, "process-id": process_id}
    if any(value is not None for value in given.values()):
        missing = [f"--{name}" for name, value in given.items() if value is None]
        if missing:
            raise ValueError(
                f"--coordinator, --processes and --process-id: expected all three or none; "
                f"{' and '.join(missing)} is missing."
            )
        return _checked(str(coordinator), _number(processes), _number(process_id), "")
    if int(environment.get("WORLD_SIZE", "1") or 1) > 1 and "RANK" in environment:
        return _of_torchrun(environment)
    if int(environment.get("SLURM_NTASKS", "1") or 1) > 1 and "SLURM_STEP_NODELIST" in environment:
        return _of_slurm(environment)
    return None


def _number(value: int | None) -> int:
    return -1 if value is None else int(value)


def _checked(
    coordinator: str, count: int, index: int, source: str, local: tuple[int, ...] | None = None
) -> Place | None:
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(
            f"coordinator{source}: expected HOST:PORT of process 0, such as node1:9911; received "
            f"{coordinator!r}."
        )
    if count < 1 or not 0 <= index < count:
        raise ValueError(
            f"process-id{source}: expected a number from 0 to below the number of processes; "
            f"received {index} of {count}."
        )
    return Place(coordinator, count, index, local) if count > 1 else None


def _of_torchrun(environment: Mapping[str, str]) -> Place | None:
    source = " (of MASTER_ADDR, MASTER_PORT, WORLD_SIZE and RANK)"
    address, port = environment.get("MASTER_ADDR", ""), environment.get("MASTER_PORT", "")
    if environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True" and port.isdecimal():
        port = str(int(port) + 1)  # on its own port torchrun listens itself
    local = None
    if int(environment.get("LOCAL_WORLD_SIZE", "1")) > 1:
        local = (int(environment.get("LOCAL_RANK", "0")),)
    count, index = int(environment["WORLD_SIZE"]), int(environment["RANK"])
    return _checked(f"{address}:{port}", count, index, source, local)


def _of_slurm(environment: Mapping[str, str]) -> Place | None:
    source = " (of SLURM_STEP_NODELIST, SLURM_NTASKS and SLURM_PROCID)"
    first, many = _SLURM_PORTS
    port = first + int(environment.get("SLURM_JOB_ID", "0")) % many
    host = first_of_nodes(environment["SLURM_STEP_NODELIST"])
    count, index = int(environment["SLURM_NTASKS"]), int(environment.get("SLURM_PROCID", "-1"))
    nodes = int(environment.get("SLURM_STEP_NUM_NODES", environment.get("SLURM_NNODES", "1")))
    local = None
    seen = [name for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    # A task that sees one GPU alone has been given it; one that sees its neighbours' takes its own.
    if count > nodes and len(seen) > 1:
        local = (int(environment.get("SLURM_LOCALID", "0")),)
    return _checked(f"{host}:{port}", count, index, source, local)


def first_of_nodes(nodes: str) -> str:
    """The first of Slurm's list of nodes, such as "node01" of "node[01-04,09],big1"."""
    match = re.match(r"([^,\[]+)(?:\[([^\],-]+)[^\]]*\]([^,\[]*))?", nodes)
    return "".join(part or "" for part in match.groups()) if match else nodes


def join(place: Place | None) -> None:
    """Make this process one of those that train together. Comes before anything is computed.

    An exception that ends a process afterwards ends the others too. What only informs is shown by
    process 0; the warnings of the others say whose they are.

    Raises:
        ValueError: the backend is not JAX.
        HostsError: something was computed before, or not all processes came in time.
    """
    if place is None or count() > 1:
        return
    backend = keras.backend.backend()
    if backend != "jax":
        raise ValueError(
            f"{place.count} processes are to train together: expected the backend jax "
            f"(KERAS_BACKEND=jax), which alone spreads steps over processes here; received "
            f"{backend!r}."
        )
    import jax

    try:
        jax.distributed.initialize(
            place.coordinator,
            place.count,
            place.index,
            local_device_ids=place.local_devices,
            cluster_detection_method="deactivate",
            initialization_timeout=CONNECT_SECONDS,
            heartbeat_timeout_seconds=SILENT_SECONDS,
            shutdown_timeout_seconds=FINISH_SECONDS,
        )
    except RuntimeError as error:
        raise HostsError(
            f"Process {place.index} of {place.count} cannot join the others at "
            f"{place.coordinator}: {error}"
        ) from None
    _quiet(place)
    _end_at_once(place)
    _warn_of_own_name(place)
    logger.info(
        f"{place.count} processes train together on {len(jax.devices())} devices, "
        f"{len(jax.local_devices())} of them this one's; coordinator: {place.coordinator}."
    )


def _warn_of_own_name(place: Place) -> None:
    """On CPUs JAX gives the others the address of this machine's name, which must not be its own.

    Debian's /etc/hosts, for one, has 127.0.1.1 for it.
    """
    import jax

    name = socket.gethostname()
    with contextlib.suppress(OSError):
        listens = socket.gethostbyname(place.coordinator.rpartition(":")[0])
        own = socket.gethostbyname(name)
        if jax.default_backend() == "cpu" and own.startswith("127.") > listens.startswith("127."):
            logger.warning(
                f"The name of this machine, {name}, means {own} here, where no other machine "
                "finds it. Give it its address in /etc/hosts, or the first step will fail."
            )


def count() -> int:
    """How many processes train together."""
    return _jax_says("process_count", 1)


def index() -> int:
    """Which of them this is, from 0."""
    return _jax_says("process_index", 0)


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return index() == 0


def shard() -> tuple[int, int]:
    """(index, count): this process's part of each batch."""
    return index(), count()


def _jax_says(name: str, alone: int) -> int:
    if keras.backend.backend() != "jax":
        return alone
    import jax

    # Asked otherwise, JAX would take hold of its devices, after which no process can join.
    return int(getattr(jax, name)()) if jax.distributed.is_initialized() else alone


# --- What all agree on -------------------------------------------------------------------------


def largest(value: int) -> int:
    """The largest of what the processes give."""
    if count() == 1:
        return value
    from jax.experimental import multihost_utils

    return int(np.max(multihost_utils.process_allgather(np.array([value], np.int32))))


def any_of(flag: bool) -> bool:
    """Whether a flag is set in any process."""
    return largest(int(flag)) > 0


def of_first(make: Callable[[], Any]) -> Any:
    """What process 0 makes, for all; the others wait.

    Args:
        make: called by process 0 alone. What it returns must fit into JSON.

    Raises:
        HostsError: in the others, when `make` fails, which raises its error in process 0.
    """
    if count() == 1:
        return make()
    if not is_first():
        sent = json.loads(_spread(b""))
        if "error" in sent:
            raise HostsError(f"Process 0 has failed: {sent['error']}")
        return sent["made"]
    try:
        made = make()
    except BaseException as error:
        _spread(json.dumps({"error": f"{type(error).__name__}: {error}"}).encode())
        raise
    _spread(json.dumps({"made": made}).encode())
    return made


def _spread(content: bytes) -> bytes:
    """The bytes of process 0."""
    from jax.experimental import multihost_utils

    size = int(multihost_utils.broadcast_one_to_all(np.array(len(content), np.int32)))
    sent = np.zeros(size, np.uint8)
    if is_first():
        sent[:] = np.frombuffer(content, np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(sent), np.uint8).tobytes()


def expect_same(what: str, values: Mapping[str, Any]) -> None:
    """Check that all processes have the same values.

    Args:
        what: the values are, for the message.
        values: by name; must fit into JSON. Of dicts, each entry is compared by itself.

    Raises:
        HostsError: one has others; in that process, with the names.
    """
    if count() == 1:
        return
    here = _flat(json.loads(json.dumps(values, default=str)))
    first = of_first(lambda: here)
    different = [
        f"{name} is {here.get(name)!r}, there {first.get(name)!r}"
        for name in sorted({*here, *first})
        if here.get(name) != first.get(name)
    ]
    if any_of(bool(different)):
        text = "; ".join(different) or "in another process they differ"
        raise HostsError(
            f"Process {index()} of {count()}: expected the {what} of process 0; here {text}. Start "
            "all processes with the same command, code and data."
        )


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Entries of dicts as "name.entry"."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{before}{name}.")
        else:
            found[f"{before}{name}"] = value
    return found


@contextmanager
def telling_of_lost_processes() -> Iterator[None]:
    """Let the error of a step in which another process is gone say so.

    Raises:
        HostsError: another process is gone.
    """
    if count() == 1:
        yield
        return
    try:
        yield
    except (RuntimeError, ValueError) as error:  # of JAX, by the kind of its status
        if not _OTHER_GONE.search(str(error)):
            raise
        raise HostsError(
            f"Process {index()} of {count()} has lost another one, which has ended or cannot be "
            "reached; the training ends here too. Start all again with --model last (in a script, "
            f"train(resume=True)). What JAX says: {str(error).splitlines()[0]}"
        ) from None


# --- What a process of several does otherwise --------------------------------------------------


def _quiet(place: Place) -> None:
    if place.index == 0:
        return
    logger.setLevel("WARNING")
    mark = f"[process {place.index}] "

    def named(record: Any) -> bool:
        if not str(record.msg).startswith(mark):
            record.msg = f"{mark}{record.msg}"
        return True

    logger.addFilter(named)


def _end_at_once(place: Place) -> None:
    """Let an exception end the process without waiting for the others, which wait for it."""
    before = sys.excepthook

    def hook(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        before(kind, error, traceback)
        if not issubclass(kind, KeyboardInterrupt):  # at which all stop together
            leave(1)

    sys.excepthook = hook


def leave(status: int) -> None:
    """End a process of several with an exit status, now. Alone, it does nothing.

    At a usual end JAX waits for all processes, also for those that wait for this one.
    """
    if count() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
