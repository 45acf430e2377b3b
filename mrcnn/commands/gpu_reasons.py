"""Why a backend sees no GPU, from what the machine and the packages say; and what to do."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

NVIDIA_VENDOR = "0x10de"
_DISPLAY_CLASS = "0x03"  # of PCI devices: display controllers, those that only compute included
_DRIVER_FILE = Path("/proc/driver/nvidia/version")
_PCI = Path("/sys/bus/pci/devices")
# Without a number: what the packages of `tensorflow[and-cuda]` bring, and what a system has.
CUDA_LIBRARIES = ("cudart", "cublas", "cudnn", "cufft", "cusolver", "cusparse")
_PACKAGES = {"cudart": "cuda_runtime"}  # of the folder `nvidia`, where it is called otherwise


@dataclass(frozen=True)
class Machine:
    """What there is beside the backend.

    Attributes:
        card: whether the computer has an NVIDIA GPU; None: the system does not say.
        driver: what the driver says of itself; "": none is loaded.
        device_files: whether programs can reach the GPU, which a container can be kept from.
        hidden_by: an environment variable that hides all GPUs, such as CUDA_VISIBLE_DEVICES=-1;
            "": none does.
        windows: whether this is Windows itself, not its Linux (WSL).
    """

    card: bool | None
    driver: str
    device_files: bool
    hidden_by: str = ""
    windows: bool = False


@dataclass(frozen=True)
class Build:
    """What a backend was built for.

    Attributes:
        backend: "tensorflow", "jax" or "torch".
        gpu: whether it can use NVIDIA GPUs.
        missing: CUDA libraries that it would look for and that are not there.
    """

    backend: str
    gpu: bool
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reason:
    """Why no GPU is seen.

    Attributes:
        text: half a sentence.
        advice: what to do.
        is_fault: whether a GPU is there that ought to be seen.
    """

    text: str
    advice: str
    is_fault: bool


_INSTALL = {
    "tensorflow": 'pip install "mrcnn[gpu]", which brings the CUDA libraries',
    "jax": 'pip install "jax[cuda13]" (or cuda12, as the driver is)',
    "torch": "install PyTorch for CUDA, as https://pytorch.org says",
}


def why_no_gpu(machine: Machine, build: Build) -> Reason:
    """The first thing that stands between a backend and a GPU.

    Args:
        machine: of `look_at_machine`.
        build: of the backend.
    """
    if machine.card is False and not machine.driver and not machine.device_files:
        return Reason(
            "this computer has no NVIDIA GPU",
            "train small networks here, as docs/settings.md says; for large ones use another "
            "computer",
            is_fault=False,
        )
    if machine.windows and build.backend != "torch":
        return Reason(
            f"{build.backend} uses no GPU on Windows itself",
            "run it in Windows' Linux (WSL 2), where it does",
            is_fault=False,
        )
    there = machine.card or bool(machine.driver) or machine.device_files
    if machine.hidden_by:
        return Reason(
            f"{machine.hidden_by} hides all GPUs",
            f"unset {machine.hidden_by.partition('=')[0]}, or set it to 0",
            is_fault=there,
        )
    if not machine.driver:
        text = "no NVIDIA driver is loaded"
        if machine.card is None:
            text += ", and the system does not say whether there is a GPU"
        return Reason(
            text,
            "if there is one, install NVIDIA's driver and restart the computer, until nvidia-smi "
            "lists the GPU",
            is_fault=bool(there),
        )
    if not machine.device_files:
        return Reason(
            "the driver is loaded, but its devices (/dev/nvidia0) are not here",
            "start the container with --gpus all (and NVIDIA's container toolkit on the host)",
            is_fault=True,
        )
    if not build.gpu:
        return Reason(
            f"this {build.backend} was built for CPUs alone", _INSTALL[build.backend], is_fault=True
        )
    if build.missing:
        return Reason(
            f"CUDA libraries are missing: {', '.join(build.missing)}",
            _INSTALL[build.backend],
            is_fault=True,
        )
    return Reason(
        "driver, devices and CUDA libraries are there, but the backend does not open the GPU",
        "see what it says of itself: mrcnn doctor-env --verbose; often the driver is older than "
        "the CUDA version, or another process has taken the GPU (nvidia-smi)",
        is_fault=True,
    )


def look_at_machine(environment: Mapping[str, str] = os.environ) -> Machine:
    """What this computer says of NVIDIA GPUs."""
    try:
        driver = _DRIVER_FILE.read_text(encoding="utf-8", errors="replace").splitlines()[0]
        driver = " ".join(driver.removeprefix("NVRM version:").split())
    except (OSError, IndexError):
        driver = ""
    on_wsl = Path("/dev/dxg").exists() and Path("/usr/lib/wsl/lib/libcuda.so.1").exists()
    files = on_wsl or any(Path("/dev").glob("nvidia[0-9]*"))
    if on_wsl and not driver:
        driver = "of Windows, through WSL"
    return Machine(_has_card(), driver, files, _hidden_by(environment), os.name == "nt")


def missing_libraries() -> tuple[str, ...]:
    """The CUDA libraries that neither the packages of `nvidia` nor the system has."""
    return tuple(name for name in CUDA_LIBRARIES if not _has_library(name))


def _has_card() -> bool | None:
    if sys.platform == "darwin":
        return False
    if not _PCI.is_dir():
        return None
    for device in _PCI.iterdir():
        try:
            vendor = (device / "vendor").read_text().strip()
            kind = (device / "class").read_text().strip()
        except OSError:
            continue
        if vendor == NVIDIA_VENDOR and kind.startswith(_DISPLAY_CLASS):
            return True
    return False


def _hidden_by(environment: Mapping[str, str]) -> str:
    value = environment.get("CUDA_VISIBLE_DEVICES")
    if value is not None and value.split(",")[0].strip() in ("", "-1", "none", "NoDevFiles"):
        return f"CUDA_VISIBLE_DEVICES={value}"
    return ""


def _has_library(name: str) -> bool:
    nvidia = find_spec("nvidia")
    for folder in (nvidia.submodule_search_locations or ()) if nvidia else ():
        # Packages of CUDA 12 have a folder a library, those of CUDA 13 one for all.
        own = Path(folder, _PACKAGES.get(name, name), "lib")
        if any(own.glob(f"lib{name}.so*")) or any(Path(folder).glob(f"cu*/lib/lib{name}.so*")):
            return True
    for version in ("", ".13", ".12", ".11", ".10", ".9", ".8"):
        try:
            ctypes.CDLL(f"lib{name}.so{version}")
        except OSError:
            continue
        return True
    return False
