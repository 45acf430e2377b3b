"""What frameworks know of their device: its peak memory, and what ran on it when.

On a CPU the memory is that of the process.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.peers.worker import Spec, peak_memory


def memory_of_keras(spec: Spec) -> Callable[[], float]:
    """Peak GB of the backend of Keras.

    Raises:
        RuntimeError: a GPU is asked for, and the backend sees none.
    """
    if spec["device"] == "cpu":
        return peak_memory
    import keras

    if keras.backend.backend() == "jax":
        import jax

        device = jax.devices()[0]
        if device.platform != "gpu":
            raise RuntimeError(f"device: expected a GPU; JAX sees {device.platform} alone.")
        return lambda: device.memory_stats()["peak_bytes_in_use"] / 1e9
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        raise RuntimeError("device: expected a GPU; TensorFlow sees none.")
    return lambda: tf.config.experimental.get_memory_info("GPU:0")["peak"] / 1e9


def memory_of_torch(spec: Spec) -> Callable[[], float]:
    """Peak GB of PyTorch.

    Raises:
        RuntimeError: a GPU is asked for, and PyTorch sees none.
    """
    if spec["device"] == "cpu":
        return peak_memory
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError("device: expected a GPU; PyTorch sees none.")
    return lambda: torch.cuda.max_memory_allocated() / 1e9


def tracer_of_keras(call: Callable[[], Any]) -> Callable[[str], None]:
    """Writes a profile of one call by JAX or TensorFlow, which TensorBoard and XProf show."""
    import keras

    def trace(folder: str) -> None:
        if keras.backend.backend() == "jax":
            import jax

            with jax.profiler.trace(folder):
                call()
        else:
            import tensorflow as tf

            with tf.profiler.experimental.Profile(folder):
                call()

    return trace


def tracer_of_torch(call: Callable[[], Any]) -> Callable[[str], None]:
    """Writes a profile of one call by PyTorch: a table of operations, and a trace for Chrome."""
    import torch

    def trace(folder: str) -> None:
        with torch.profiler.profile() as profile:
            call()
        by = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        Path(folder).mkdir(parents=True, exist_ok=True)
        profile.export_chrome_trace(str(Path(folder, "trace.json")))
        table = profile.key_averages().table(sort_by=by, row_limit=40)
        Path(folder, "operations.txt").write_text(table, encoding="utf-8")

    return trace
