"""OpenVINO files (.xml and .bin), for Intel's processors and others."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mrcnn.export.quantization import LEAST_VALUES, quantize
from mrcnn.tensorflow_backend.export import IMAGE, Traced

if TYPE_CHECKING:
    import openvino

# The axis of the output channels of a kernel, by what it is multiplied in: its second input.
_CHANNELS = {"Convolution": 0, "ConvolutionBackpropData": 1, "MatMul": 1}


def write(traced: Traced, path: Path, weights: str) -> None:
    """Convert a traced graph; see `mrcnn.export.formats.Format`."""
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        # Its reader of ONNX refuses loops that use values from outside; that of TensorFlow takes
        # them.
        traced.write_saved_model(Path(folder))
        model = openvino.convert_model(folder)
    for operation in model.get_ops():
        if operation.get_type_name() == "TopK":
            # Equal scores in their order: 0.7 s for 6000 of 26,000 anchors, without it 2 ms.
            operation.set_attribute("stable", False)
    if weights != "float32":
        _compress(model, weights)
    openvino.save_model(model, str(path), compress_to_fp16=False)


def load(path: Path) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Open a file in OpenVINO, on the CPU, to compute in float32."""
    import openvino

    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    names = [output.get_any_name() for output in compiled.outputs]

    def run(image: np.ndarray) -> dict[str, np.ndarray]:
        found = compiled({IMAGE: image})
        return {name: found[name] for name in names}

    return run


def _compress(model: openvino.Model, weights: str) -> None:
    """Keep the kernels in fewer bits, and turn them back into float32 where they are used."""
    from openvino import opset13

    for operation in model.get_ordered_ops():
        axis = _CHANNELS.get(operation.get_type_name())
        if axis is None:
            continue
        constant = operation.input_value(1).get_node()
        if constant.get_type_name() != "Constant" or constant.get_element_type().is_integral():
            continue
        kernel = constant.data
        if kernel.size < LEAST_VALUES or kernel.dtype != np.float32:
            continue
        if operation.get_type_name() == "MatMul" and operation.get_attributes()["transpose_b"]:
            axis = 0
        if weights == "float16":
            restored = opset13.convert(opset13.constant(kernel.astype(np.float16)), "f32")
        else:
            found = quantize(kernel, axis)
            values = opset13.convert(opset13.constant(found.values), "f32")
            restored = opset13.multiply(values, opset13.constant(found.scales))
        operation.input(1).replace_source_output(restored.output(0))
