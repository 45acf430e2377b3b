"""LiteRT files (.tflite), as phones and small computers run them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mrcnn.tensorflow_backend.export import IMAGE, Traced


def write(traced: Traced, path: Path, weights: str) -> None:
    """Convert a traced graph; see `mrcnn.export.formats.Format`."""
    path.write_bytes(traced.litert(weights))


def load(path: Path) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Open a file in the LiteRT interpreter."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=os.cpu_count())
    runner = interpreter.get_signature_runner()
    return lambda image: runner(**{IMAGE: image})
