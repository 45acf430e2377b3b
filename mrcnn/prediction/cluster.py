"""Predicting on the machines of a Ray cluster (https://docs.ray.io), part by part.

Ray Data starts the workers, gives each a part at a time, and gives the part of a worker that died
to another one. What is written, and that it is written once, is `mrcnn.prediction.parts`'.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrcnn.logger import logger
from mrcnn.prediction.parts import Part, predict_part
from mrcnn.prediction.stream import Predictor

HERE = "local"


@dataclass(frozen=True)
class Workers:
    """The workers of a cluster.

    Attributes:
        count: None: one a GPU, and without GPUs one for every two cores.
        cores, gpus: that each takes; None: a GPU where there are some, and at most two cores.
    """

    count: int | None = None
    cores: float | None = None
    gpus: float | None = None


def import_ray() -> Any:
    """The package ray, with its Data.

    Raises:
        ImportError: it is not installed; says how to install it.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError(
            f"--ray needs the package ray ({error}). Install it: pip install 'mrcnn[ray]'."
        ) from error
    return ray


def predict_on_cluster(
    address: str,
    folder: str | os.PathLike[str],
    parts: Sequence[Part],
    make: Callable[[], Predictor],
    workers: Workers | None = None,
) -> Iterator[int]:
    """Predict on parts with the workers of a cluster.

    Args:
        address: of the cluster, "auto" for that of this machine, or "local" to start one.
        folder: of the parts, which all machines see under this path.
        parts: those that are to be done.
        make: makes a worker's predictor. Every machine has what it needs: package and weights.
        workers: how many, of what size.

    Yields:
        The number of each part that is done, as they are done.

    Raises:
        ConnectionError: there is no cluster at the address.
        ImportError: Ray is not installed.
    """
    ray = import_ray()
    if not ray.is_initialized():
        try:
            ray.init(address=address, log_to_driver=False, configure_logging=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ConnectionError(
                f"--ray {address}: expected the address of a Ray cluster, 'auto' for the one of "
                f"this machine, or '{HERE}' to start one; {error}"
            ) from error
    cores, gpus, count = _size(ray.cluster_resources(), workers or Workers(), len(parts))
    logger.info(f"Ray: {count} workers of {cores:g} cores and {gpus:g} GPUs each")
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # it tells of its own plans
    rows = [{"part": part} for part in parts]
    done = ray.data.from_items(rows, override_num_blocks=max(1, len(rows))).map_batches(
        _Worker,
        fn_constructor_args=(make, str(Path(folder).absolute())),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=count),
        num_cpus=cores,
        num_gpus=gpus,
    )
    for row in done.iter_rows():
        yield int(row["done"])


def _size(there: dict[str, float], workers: Workers, parts: int) -> tuple[float, float, int]:
    """Cores and GPUs of a worker, and how many there are."""
    gpus = workers.gpus if workers.gpus is not None else min(1.0, there.get("GPU", 0.0))
    cores = workers.cores
    if cores is None:
        cores = min(2.0, there.get("CPU", 1.0) / (workers.count or 1))
    fitting = [there.get("CPU", 1.0) / cores] if cores else []
    if gpus:
        fitting.append(there.get("GPU", 0.0) / gpus)
    most = max(1, int(min(fitting, default=1)))
    return cores, gpus, max(1, min(workers.count or most, most, parts))


class _Worker:
    """A process of the cluster: it holds the network, and does a part at a time."""

    def __init__(self, make: Callable[[], Predictor], folder: str) -> None:
        self._predictor, self._folder = make(), folder

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        for part in batch["part"]:
            predict_part(self._folder, part, self._predictor)
        return {"done": [part.number for part in batch["part"]]}
