"""The command `mrcnn doctor-env`: what this machine has, and whether a GPU is seen or why not."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mrcnn.commands import environment, options
from mrcnn.files.atomic import write_json
from mrcnn.logger import logger
from mrcnn.screen import terminal

HELP = "show versions, devices, precision, memory, and whether the GPU is seen and why not"

ONEDNN = (
    "oneDNN's are {}; TF_ENABLE_ONEDNN_OPTS={} turns them {}. Which is faster depends on the "
    "processor and the image size: measure a few steps"
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mrcnn doctor-env`."""
    parser.description = (
        "Show what a training would find here: versions, devices and what they compute natively, "
        "the processor's features, memory, disk, extras; and if no GPU is seen, why not and what "
        "to do. Exits with 1 if something is wrong."
    )
    options.add_options(parser, "logs", "json")


def run(args: argparse.Namespace) -> int:
    """Look, and show it."""
    found = environment.look(args.logs)
    if args.json == options.TO_STANDARD_OUTPUT:
        logger.info(json.dumps(found, indent=1))
    else:
        for title, text in _lines(found):
            logger.info(f"{terminal.styled(f'{title:<12}', 'bold', sys.stdout)} {text}")
        for problem in found["problems"]:
            logger.warning(problem)
        if not found["problems"]:
            logger.info("Nothing is wrong.")
        if args.json:
            write_json(Path(args.json), found)
            logger.info(f"All of it: {args.json}")
    return 1 if found["problems"] else 0


def _lines(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(title, text) of each line."""
    versions, system, backend = found["versions"], found["system"], found["backend"]
    yield "mrcnn", f"{versions['mrcnn']}, Python {versions['python']} ({system['python']})"
    there = [f"{k} {v}" for k, v in versions.items() if v and k not in ("mrcnn", "python")]
    yield "packages", ", ".join(there)
    yield "system", system["platform"]
    cores = f"{system['cores_of_this_process']} of {system['cores']} cores"
    yield "processor", f"{system['processor']}; {cores}"
    yield "", f"features: {', '.join(system['features']) or 'the system does not say'}"
    xla = "graphs are compiled with XLA" if backend["xla"] else "without XLA"
    yield "backend", f"{backend['name']}, {xla}; devices: {', '.join(backend['devices'])}"
    yield (
        "precision",
        f"{backend['native_precision']} with --mixed-precision auto, because "
        f"{backend['precision_reason']}",
    )
    if backend["gpu_seen"]:
        yield "GPU", "seen"
    else:
        reason = backend["no_gpu"]
        yield "GPU", f"none is seen: {reason['text']}"
        yield "", f"what to do: {reason['advice']}"
        if backend["onednn"] is not None:
            words = ("on", 0, "off") if backend["onednn"] else ("off", 1, "on")
            yield "kernels", ONEDNN.format(*words)
    yield "memory", _memory(found["memory"])
    disk = found["disk"]
    rights = "" if disk["writable"] else ", which cannot be written"
    yield "disk", f"{disk['free_gb']:.0f} GB free for {disk['folder']}{rights}"
    yield from _extras(found["extras"])


def _memory(memory: dict[str, float | None]) -> str:
    if memory["total_gb"] is None:
        return "the system does not say"
    text = f"{memory['available_gb'] or 0:.1f} of {memory['total_gb']:.1f} GB are free"
    limit = memory["limit_gb"]
    return text if limit is None else f"{text}; this process may have {limit:.1f} GB"


def _extras(extras: dict[str, dict[str, Any]] | None) -> Iterator[tuple[str, str]]:
    if extras is None:
        yield "extras", "unknown: mrcnn is not installed, but run from its source"
        return
    from mrcnn.weights.report import abbreviate

    has = [name for name, entry in extras.items() if entry["installed"]]
    yield "extras", f"installed: {', '.join(has) or 'none'}"
    for name, entry in extras.items():
        if not entry["installed"]:
            lacks = abbreviate(entry["missing"])
            yield "", f'{name}: pip install "mrcnn[{name}]" (lacks {lacks})'
