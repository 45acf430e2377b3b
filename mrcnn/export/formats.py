"""The formats of exported networks: how each is written, and how its own runtime reads it.

Weights are kept as float32, as float16 (half the file) or as int8 with a scale for each output
channel (a quarter); the runtime computes with what it makes of them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mrcnn.export import litert, onnx_file, openvino_files
from mrcnn.tensorflow_backend import export as tf_export
from mrcnn.tensorflow_backend.export import Traced

# From a picture uint8 [1, H, W, channels] to the outputs of `mrcnn.export.network`.
Run = Callable[[np.ndarray], dict[str, np.ndarray]]
WEIGHTS = ("float32", "float16", "int8")


@dataclass(frozen=True)
class Format:
    """A format.

    Attributes:
        title: as people call it.
        suffix: of its file; "" for a folder.
        write: (traced graph, path, weights) writes it; `path` may get files beside it of the same
            stem.
        load: its own runtime opens the file.
        packages: by which it is written and read, beyond TensorFlow.
        extra: of this package, which installs them.
        weights: how they can be kept.
        fixed_size: the size of the pictures must be known.
    """

    title: str
    suffix: str
    write: Callable[[Traced, Path, str], None]
    load: Callable[[Path], Run]
    packages: Sequence[str] = ()
    extra: str = ""
    weights: Sequence[str] = WEIGHTS
    fixed_size: bool = False

    def expect_packages(self) -> None:
        """Check that what the format needs is installed.

        Raises:
            ValueError: it is not; the message says what to install.
        """
        missing = [name for name in self.packages if importlib.util.find_spec(name) is None]
        if missing:
            raise ValueError(
                f"{self.title} needs {' and '.join(missing)}, which "
                f"{'is' if len(missing) == 1 else 'are'} not installed: "
                f"pip install 'mrcnn[{self.extra}]'."
            )


def _write_saved_model(traced: Traced, path: Path, weights: str) -> None:
    traced.write_saved_model(path)


FORMATS: dict[str, Format] = {
    "savedmodel": Format(
        "a TensorFlow SavedModel",
        "",
        _write_saved_model,
        tf_export.load_saved_model,
        weights=("float32",),
    ),
    "onnx": Format(
        "ONNX",
        ".onnx",
        onnx_file.write,
        onnx_file.load,
        packages=("onnx", "tf2onnx", "onnxruntime"),
        extra="onnx",
    ),
    "openvino": Format(
        "OpenVINO",
        ".xml",
        openvino_files.write,
        openvino_files.load,
        packages=("openvino",),
        extra="openvino",
    ),
    "litert": Format(
        "LiteRT",
        ".tflite",
        litert.write,
        litert.load,
        packages=("ai_edge_litert",),
        extra="litert",
        fixed_size=True,
    ),
}
