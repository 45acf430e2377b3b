"""Training steps on several devices of a machine, with the arithmetic of one.

Every device holds the weights and computes its part of each batch. On JAX, through
`keras.distribution.DataParallel`, the network is of the whole batch, and the compiler divides it
and adds what must be added. On TensorFlow, through `tf.distribute.MirroredStrategy`, it is of a
part (`mrcnn.training.replicated`). Losses are sums and means over the whole batch, and the random
numbers of targets are those of its images (`mrcnn.ops.noise`), so that GPU_COUNT * IMAGES_PER_GPU
images on any number of devices train alike, but for the order in which floats are added.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

import keras

from mrcnn.config import Config
from mrcnn.logger import logger
from mrcnn.process import device_names
from mrcnn.tensorflow_backend import replicas
from mrcnn.training import hosts

BACKENDS = ("tensorflow", "jax")
_MORE_CPUS = {
    "tensorflow": "tf.config.set_logical_device_configuration, called first,",
    "jax": "the environment variable XLA_FLAGS=--xla_force_host_platform_device_count=N",
}


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
    if count > 1 and backend not in BACKENDS:
        raise ValueError(
            f"devices: expected a backend that spreads steps over devices, one of "
            f"{', '.join(BACKENDS)} (KERAS_BACKEND); received {backend!r} and {count} devices."
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
            f"{count}. Of a CPU, {_MORE_CPUS[backend]} makes several."
        )
    return count


@contextlib.contextmanager
def spread(config: Config) -> Iterator[None]:
    """Let what is built, compiled and trained inside be spread over GPU_COUNT devices.

    Where there are not so many, or the backend spreads nothing, a sentence says so, and one device
    takes the whole batch: scripts from elsewhere name the GPUs of another machine. What is in the
    scope of a caller's own distribution, or strategy of `tf.distribute`, stays in it.

    Raises:
        ValueError: the settings ask for what TensorFlow cannot do on several devices.
    """
    count = config.GPU_COUNT
    if replicas.count() > 1:
        _expect_replicable(config, replicas.count())
        yield
        return
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
    if keras.backend.backend() == "tensorflow":
        _expect_replicable(config, count)
        with replicas.strategy(tuple(devices)).scope():
            yield
        return
    # Each process reads its part of a batch itself; Keras would divide tf.data's alone.
    parallel = keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False)
    with parallel.scope():
        yield


@contextlib.contextmanager
def spread_steps(config: Config) -> Iterator[None]:
    """Let the steps that are trained inside be spread as the model was when it was built.

    On TensorFlow a model knows by itself; what is built beside it, to evaluate, is on one device.
    """
    if keras.backend.backend() == "tensorflow":
        yield
        return
    with spread(config):
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


def _expect_replicable(config: Config, count: int) -> None:
    where = f"where {count} devices share a step on TensorFlow"
    if config.JIT_COMPILE:
        raise ValueError(
            f"JIT_COMPILE: expected None or False {where}, for each of which XLA would compile a "
            "step of its own; received True. On JAX (KERAS_BACKEND=jax) XLA compiles one for all."
        )
    if config.MIXED_PRECISION == "float16":
        raise ValueError(
            f"MIXED_PRECISION: expected 'bfloat16', 'auto' or None {where}: Keras cannot scale the "
            "loss there, as 'float16' needs; received 'float16'."
        )
    if config.BATCH_SIZE % count:
        raise ValueError(
            f"IMAGES_PER_GPU * GPU_COUNT: expected a multiple of {count} {where}; received "
            f"{config.BATCH_SIZE}."
        )


@functools.cache
def _warn(text: str) -> None:
    """Once a process."""
    logger.warning(text)
