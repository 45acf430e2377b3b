"""What belongs to the whole process: freed memory, random seeds, names that NumPy dropped."""

from __future__ import annotations

import contextlib
import ctypes
import platform
import random
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

# Numbers of glibc's mallopt(3).
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Let the process keep the memory of freed arrays for the next ones.

    glibc gets every large array from the operating system and returns it when it is freed; each
    step of a network then pays for mapping and clearing the same memory again, which on a CPU
    takes up to half of the step. In return peak memory grows (by a fifth in a small network's
    training) and is held between steps. The setting applies to the whole process and can be made
    any number of times.

    Returns:
        Whether the allocator took the setting. Only glibc has it.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    never = -1
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, never))


def return_freed_memory() -> None:
    """Give what was freed until now back to the operating system, once. Only glibc can."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def returning_memory(function: Callable[P, T]) -> Callable[P, T]:
    """A function after whose first call freed memory is returned.

    For a step of a network, whose first call traces it: what that needed beside the graph (100 MB
    for ResNet-101 on TensorFlow) is in small pieces, which no array of a step can take.
    """
    called = False

    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        nonlocal called
        value = function(*args, **kwargs)
        if not called:
            called = True
            return_freed_memory()
        return value

    return run


def set_random_seed(seed: int) -> None:
    """Set the global seeds, as `keras.utils.set_random_seed` does.

    That imports TensorFlow with any backend where it is installed; this does not.
    """
    import keras

    keep_out = keras.backend.backend() != "tensorflow" and "tensorflow" not in sys.modules
    if keep_out:
        # None makes an import fail, as Python's reference says; the stubs do not know it.
        sys.modules["tensorflow"] = None  # type: ignore[assignment]
    try:
        keras.utils.set_random_seed(seed)
    finally:
        if keep_out:
            del sys.modules["tensorflow"]


def device_names() -> list[str]:
    """The devices that Keras's backend computes on, such as "gpu:0": those of one kind."""
    import keras

    if keras.backend.backend() != "torch":
        return keras.distribution.list_devices()
    import torch  # of which Keras lists none

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [f"gpu:{number}" for number in range(count)] or ["cpu:0"]


@contextlib.contextmanager
def seeded_initializers(seed: int) -> Iterator[None]:
    """Let the initializers that are made inside draw the same weights as after `set_random_seed`.

    Keras draws the seed of an initializer that is given none from Python's random generator. Its
    state, and with it every random number of the caller's, is afterwards what it was.
    """
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)


def restore_numpy_names() -> None:
    """Give NumPy 2 the names `sctypes` and `complex` again, if imgaug is installed.

    imgaug 0.4 reads them, the first while it is imported. Names that are there stay as they are.
    """
    if find_spec("imgaug") is None:
        return
    import numpy as np

    names = vars(np)
    if "sctypes" not in names:
        names["sctypes"] = {
            "int": [np.int8, np.int16, np.int32, np.int64],
            "uint": [np.uint8, np.uint16, np.uint32, np.uint64],
            "float": [np.float16, np.float32, np.float64, np.longdouble],
            "complex": [np.complex64, np.complex128, np.clongdouble],
            "others": [bool, object, bytes, str, np.void],
        }
    names.setdefault("complex", complex)
