"""ONNX files, which most runtimes read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mrcnn.export.quantization import LEAST_VALUES, quantize
from mrcnn.tensorflow_backend.export import IMAGE, Traced

if TYPE_CHECKING:
    import onnx

OPSET = 18

# The axis of the output channels of a kernel, by what it is multiplied in: its second input.
_CHANNELS = {"Conv": 0, "ConvTranspose": 1, "MatMul": 1}


def write(traced: Traced, path: Path, weights: str) -> None:
    """Convert a traced graph; see `mrcnn.export.formats.Format`."""
    import onnx
    import tf2onnx

    function = traced.function
    model, _ = tf2onnx.convert.from_function(function, function.input_signature, opset=OPSET)
    if weights != "float32":
        _compress(model.graph, weights)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def load(path: Path) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Open a file in ONNX Runtime, on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(image: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, {IMAGE: image}), strict=True))

    return run


def _compress(graph: onnx.GraphProto, weights: str) -> None:
    """Keep the kernels in fewer bits, and turn them back into float32 where they are used."""
    from onnx import numpy_helper

    axes = {
        node.input[1]: _CHANNELS[node.op_type] for node in graph.node if node.op_type in _CHANNELS
    }
    kernels = [kept for kept in graph.initializer if kept.name in axes]
    before = []
    for kernel in kernels:
        values = numpy_helper.to_array(kernel)
        if values.dtype != np.float32 or values.size < LEAST_VALUES:
            continue
        graph.initializer.remove(kernel)
        nodes = _as_half if weights == "float16" else _as_bytes
        before.append(nodes(graph, kernel.name, values, axes[kernel.name]))
    for node in reversed(before):
        graph.node.insert(0, node)


def _as_half(graph: onnx.GraphProto, name: str, values: np.ndarray, axis: int) -> Any:
    from onnx import TensorProto, helper

    _keep(graph, f"{name}/half", values.astype(np.float16))
    return helper.make_node("Cast", [f"{name}/half"], [name], to=TensorProto.FLOAT)


def _as_bytes(graph: onnx.GraphProto, name: str, values: np.ndarray, axis: int) -> Any:
    from onnx import helper

    found = quantize(values, axis)
    _keep(graph, f"{name}/bytes", found.values)
    _keep(graph, f"{name}/scales", found.scales.ravel())
    inputs = [f"{name}/bytes", f"{name}/scales"]
    return helper.make_node("DequantizeLinear", inputs, [name], axis=axis)


def _keep(graph: onnx.GraphProto, name: str, values: np.ndarray) -> None:
    from onnx import numpy_helper

    graph.initializer.append(numpy_helper.from_array(values, name))
