"""What `MIXED_PRECISION = "auto"` means on this machine: bfloat16 where it is native.

A processor without instructions for bfloat16 emulates it, more slowly than it computes float32. So
"auto" takes bfloat16 on:

- x86 processors with AMX-BF16 or AVX512-BF16 and Arm ones with BF16, through oneDNN's convolutions,
  which TensorFlow and PyTorch use on a CPU; XLA, and so JAX, has none for it there;
- NVIDIA GPUs from compute capability 8.0 (Ampere) on, and TPUs.

Elsewhere, and where it cannot be found out, it takes float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import keras

from mrcnn.logger import logger
from mrcnn.process import device_names
from mrcnn.tensorflow_backend import compilation

if TYPE_CHECKING:
    from mrcnn.config import Config

AUTO = "auto"
# Words in /proc/cpuinfo; the processor has the instructions where one of them is there.
_CPU_FLAGS = ("amx_bf16", "avx512_bf16", "bf16")
_LEAST_CAPABILITY = (8, 0)  # of NVIDIA GPUs: Ampere
_CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Choice:
    """What "auto" takes.

    Attributes:
        dtype: a value of MIXED_PRECISION: "bfloat16", or None for float32.
        reason: half a sentence, after "because".
    """

    dtype: str | None
    reason: str


def choose(jit_compile: bool | None = None) -> Choice:
    """What is fastest on the device that Keras computes on.

    Args:
        jit_compile: `Config.JIT_COMPILE`.
    """
    backend = keras.backend.backend()
    devices = device_names()
    if any(device.startswith("tpu") for device in devices):
        return Choice("bfloat16", "TPUs compute it natively")
    if any(not device.startswith("cpu") for device in devices):
        return _on_gpu(_capability(backend))
    if backend == "jax" or compilation.default_jit_compile(jit_compile):
        return Choice(None, "XLA has no native bfloat16 convolutions on a CPU")
    return _on_cpu(cpu_flags())


def resolve(setting: str | None, jit_compile: bool | None = None) -> str | None:
    """A value of MIXED_PRECISION without "auto".

    Args:
        setting: MIXED_PRECISION.
        jit_compile: JIT_COMPILE.
    """
    return choose(jit_compile).dtype if setting == AUTO else setting


def settle(config: Config) -> None:
    """Let the settings of a model hold what "auto" is here, so that its run remembers it.

    A run that was begun in bfloat16 is resumed in bfloat16, or the difference is named.
    """
    if config.MIXED_PRECISION != AUTO:
        return
    choice = choose(config.JIT_COMPILE)
    config.MIXED_PRECISION = choice.dtype
    logger.info(
        f'MIXED_PRECISION = "auto" is {choice.dtype or "float32"} here, because {choice.reason}.'
    )


def hint(config: Config) -> str:
    """A sentence for those who compute in float32 where bfloat16 is native; otherwise ""."""
    if config.MIXED_PRECISION is not None:
        return ""
    choice = choose(config.JIT_COMPILE)
    if choice.dtype is None:
        return ""
    return (
        f"All is computed in float32. --mixed-precision auto would take {choice.dtype} here, "
        f"because {choice.reason}: about 1.5 times as fast or more, with the same results within "
        "the noise of a training (benchmarks/README.md, docs/results)."
    )


def _on_gpu(capability: tuple[int, int] | None) -> Choice:
    if capability is None:
        return Choice(None, "the GPU does not say whether it computes bfloat16 natively")
    has = f"the GPU has compute capability {capability[0]}.{capability[1]}"
    if capability >= _LEAST_CAPABILITY:
        return Choice("bfloat16", f"{has}, which computes it natively")
    return Choice(None, f"{has}, and only those from 8.0 on compute bfloat16 natively")


def _on_cpu(flags: set[str]) -> Choice:
    found = [flag for flag in _CPU_FLAGS if flag in flags]
    if found:
        return Choice("bfloat16", f"the processor computes it natively ({found[0]})")
    if flags:
        return Choice(None, "the processor has no instructions for bfloat16")
    return Choice(None, "the system does not say whether the processor computes bfloat16 natively")


def cpu_flags() -> set[str]:
    """The processor's features, as Linux names them; empty elsewhere."""
    try:
        lines = _CPUINFO.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return set()
    for line in lines:
        name, _, words = line.partition(":")
        if name.strip() in ("flags", "Features"):  # x86, Arm
            return set(words.split())
    return set()


def _capability(backend: str) -> tuple[int, int] | None:
    """The lowest compute capability of the GPUs; None: one has none, as those of AMD."""
    if backend == "tensorflow":
        return compilation.compute_capability()
    if backend == "jax":
        import jax

        found = [getattr(device, "compute_capability", "") for device in jax.local_devices()]
        parts = [str(capability).split(".") for capability in found]
        if not all(len(part) == 2 and all(word.isdigit() for word in part) for part in parts):
            return None
        return min((int(major), int(minor)) for major, minor in parts)
    return None
