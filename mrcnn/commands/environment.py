"""What this machine and its packages are, as facts that are shown or written as JSON."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import mrcnn
from mrcnn.commands import gpu_reasons
from mrcnn.process import device_names

PACKAGES = (
    *("keras", "tensorflow", "jax", "torch", "numpy", "scipy", "h5py"),
    *("pillow", "scikit-image", "pycocotools", "matplotlib"),
)
# Of a processor's features those that a network's speed depends on; the last two lines have
# bfloat16.
CPU_FEATURES = (
    *("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_vnni", "asimd", "sve"),
    *("avx512_bf16", "amx_bf16", "amx_int8", "bf16"),
)
LEAST_DISK_GB = 2.0  # weights of each epoch of a small network, and two states
_GB = 1e9


def look(logs: str) -> dict[str, Any]:
    """All facts, by topic, as JSON has them.

    Args:
        logs: the folder whose disk is looked at; it need not exist.
    """
    found: dict[str, Any] = {
        "versions": _versions(),
        "system": _system(),
        "memory": _memory(),
        "disk": _disk(logs),
        "backend": _backend(),
        "extras": _extras(),
    }
    found["problems"] = list(_problems(found))
    return found


def version_of(package: str) -> str | None:
    """The version of an installed package; None: it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _versions() -> dict[str, str | None]:
    return {
        "mrcnn": mrcnn.__version__,
        "python": platform.python_version(),
        **{name: version_of(name) for name in PACKAGES},
    }


def _system() -> dict[str, Any]:
    from mrcnn import precision

    flags = precision.cpu_flags()
    return {
        "platform": platform.platform(),
        "python": sys.executable,
        "processor": _processor(),
        "cores": os.cpu_count(),
        "cores_of_this_process": _usable_cores(),
        "features": [name for name in CPU_FEATURES if name in flags],
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _usable_cores() -> int | None:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _memory() -> dict[str, float | None]:
    """In GB; a container's limit counts where it is lower."""
    sizes = {}
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            name, _, rest = line.partition(":")
            sizes[name] = int(rest.split()[0]) * 1024 / _GB
    except (OSError, ValueError, IndexError):
        pass
    limit = None
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(name).read_text().strip()
        except OSError:
            continue
        if text.isdigit() and int(text) / _GB < sizes.get("MemTotal", 0):
            limit = int(text) / _GB
        break
    return {
        "total_gb": sizes.get("MemTotal"),
        "available_gb": sizes.get("MemAvailable"),
        "limit_gb": limit,
    }


def _disk(logs: str) -> dict[str, Any]:
    folder = Path(logs).absolute()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    return {
        "folder": str(folder),
        "free_gb": shutil.disk_usage(there).free / _GB,
        "writable": os.access(there, os.W_OK),
    }


def _backend() -> dict[str, Any]:
    """What Keras computes with and on."""
    import keras

    from mrcnn import precision
    from mrcnn.tensorflow_backend import compilation

    name = keras.backend.backend()
    devices = [str(device) for device in device_names()]
    choice = precision.choose()
    found: dict[str, Any] = {
        "name": name,
        "devices": devices,
        "native_precision": choice.dtype or "float32",
        "precision_reason": choice.reason,
        "xla": compilation.default_jit_compile(None),
        "onednn": compilation.has_onednn(),
        "gpu_seen": any(not device.lower().startswith("cpu") for device in devices),
    }
    if not found["gpu_seen"]:
        machine = gpu_reasons.look_at_machine()
        reason = gpu_reasons.why_no_gpu(machine, _build(name))
        found["no_gpu"] = asdict(reason)
        found["driver"] = machine.driver
    return found


def _build(backend: str) -> gpu_reasons.Build:
    from importlib.util import find_spec

    from mrcnn.tensorflow_backend import compilation

    if backend == "tensorflow":
        gpu = compilation.built_with_cuda()
        return gpu_reasons.Build(backend, gpu, gpu_reasons.missing_libraries() if gpu else ())
    if backend == "jax":
        plugins = ("jax_cuda13_plugin", "jax_cuda12_plugin")
        gpu = any(find_spec(name) is not None for name in plugins)
        return gpu_reasons.Build(backend, gpu, gpu_reasons.missing_libraries() if gpu else ())
    import torch

    return gpu_reasons.Build(backend, torch.version.cuda is not None)


# --- Extras ------------------------------------------------------------------------------------


def _extras() -> dict[str, dict[str, Any]] | None:
    """What each extra of mrcnn lacks; None: mrcnn runs from its source and does not say."""
    try:
        wanted = metadata.requires("mrcnn") or []
    except metadata.PackageNotFoundError:
        return None
    found: dict[str, dict[str, Any]] = {}
    for text in wanted:
        extra = re.search(r"""extra\s*==\s*['"]([\w-]+)['"]""", text)
        if extra:
            entry = found.setdefault(extra[1], {"installed": True, "missing": []})
            entry["missing"] += _missing(text)
            entry["installed"] = not entry["missing"]
    return found


def _missing(requirement: str) -> list[str]:
    """The packages of a requirement, those of its own extras included, that are not there."""
    match = re.match(r"([\w.-]+)(?:\[([\w,.-]+)\])?", requirement)
    assert match is not None, requirement
    name, extras = match[1], (match[2] or "").split(",")
    if version_of(name) is None:
        return [name]
    missing = []
    for text in metadata.requires(name) or []:
        extra = re.search(r"""extra\s*==\s*['"]([\w-]+)['"]""", text)
        of_extra = extra is not None and extra[1] in extras
        own = re.match(r"[\w.-]+", text)
        if of_extra and own is not None and version_of(own[0]) is None:
            missing.append(own[0])
    return missing


# --- What is wrong -------------------------------------------------------------------------------


def _problems(found: dict[str, Any]) -> Iterator[str]:
    """Sentences that say what is wrong and what to do."""
    reason = found["backend"].get("no_gpu")
    if reason and reason["is_fault"]:
        yield f"No GPU is seen: {reason['text']}. {_sentence(reason['advice'])}"
    disk = found["disk"]
    if not disk["writable"]:
        yield (
            f"{disk['folder']} cannot be written. Choose another folder with --logs, or ask for "
            "the right to write there."
        )
    if disk["free_gb"] < LEAST_DISK_GB:
        yield (
            f"The disk of {disk['folder']} has {disk['free_gb']:.1f} GB left. Free some, choose "
            "another with --logs, or train with --checkpoints-kept 1."
        )
    available = found["memory"]["limit_gb"] or found["memory"]["available_gb"]
    if available is not None and available < 2:
        yield (
            f"{available:.1f} GB of memory are left. Close other programs, or train with "
            "--batch-size 1, a smaller --image-size and --workers 1."
        )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
