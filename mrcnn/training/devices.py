"""Training steps on several devices of a machine, with the arithmetic of one.

On JAX, through `keras.distribution.DataParallel`: every device holds the weights and computes its
part of each batch, and the compiler adds what must be added. Losses are sums and means over the
whole batch, and the random numbers of targets are those of its images (`mrcnn.ops.noise`), so that
GPU_COUNT * IMAGES_PER_GPU images on any number of devices train alike, but for the order in which
floats are added.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

import keras

from mrcnn.config import Config
from mrcnn.logger import logger
from mrcnn.process import device_names
from mrcnn.training import hosts

_MORE_CPUS = "XLA_FLAGS=--xla_force_host_platform_device_count=N"


def count_of(asked: str | int) -> int:
    """How many devices are meant by a number or "all".

    Raises:
        ValueError: it is neither, there are not so many, or the backend spreads nothing.
    """
    backend = keras.backend.backend()
    there = len(device_names())
    text = str(asked).strip().lower()
    if text != "all" and (not text.isdecimal() or int(text) < 1):
        raise ValueError(f"devices: expected a number of at least 1, or 'all'; received {asked!r}.")
    count = there if text == "all" else int(text)
    if count > 1 and backend != "jax":
        raise ValueError(
            f"devices: expected the backend jax (KERAS_BACKEND=jax), which alone spreads steps "
            f"over devices here; received {backend!r} and {count} devices."
        )
    processes = hosts.count()
    if processes > 1 and count != there:
        raise ValueError(
            f"devices: expected all {there} of the {processes} processes that train together; "
            f"received {count}."
        )
    if count > there:
        raise ValueError(
            f"devices: expected at most {there}, which {backend} sees on this machine; received "
            f"{count}. Of a CPU, the environment variable {_MORE_CPUS} makes several."
        )
    return count


@contextlib.contextmanager
def spread(config: Config) -> Iterator[None]:
    """Let what is built and trained inside be spread over GPU_COUNT devices.

    Where there are not so many, or the backend is not JAX, a sentence says so, and one device takes
    the whole batch: scripts from elsewhere name the GPUs of another machine.
    """
    count = config.GPU_COUNT
    if count == 1 or keras.distribution.distribution() is not None:
        yield
        return
    try:
        count_of(count)
    except ValueError as error:
        _warn(
            f"GPU_COUNT = {count}: one device takes all {config.BATCH_SIZE} images of a step. "
            f"{error}"
        )
        yield
        return
    devices = device_names()[:count]
    # Each process reads its part of a batch itself; Keras would divide tf.data's alone.
    parallel = keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False)
    with parallel.scope():
        yield


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Let what is built and run inside be on one device, such as detection on single images."""
    around = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(around)


@functools.cache
def _warn(text: str) -> None:
    """Once a process."""
    logger.warning(text)
