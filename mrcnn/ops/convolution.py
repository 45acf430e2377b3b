"""Convolutions of many small maps, and what XLA on a CPU computes well of them.

XLA brings a convolution's gradients into the form that its fast kernels take only where they stand
in the main program. Inside a choice (`mrcnn.ops.leading`) it computes them in plain loops, a
hundred times slower; and the kernel's gradient of a transposed convolution everywhere
(`python -m benchmarks.xla_convolutions`). So they are written here as what the fast kernels know:
convolutions forward, and matrix products.
"""

from __future__ import annotations

from collections.abc import Callable

from keras import ops

from mrcnn.ops.tensor import Tensor
from mrcnn.process import device_names


def same_conv(inputs: Tensor, kernel: Tensor) -> Tensor:
    """Convolve with stride 1 and the padding "same", to be differentiated inside a choice.

    Args:
        inputs: [N, H, W, in].
        kernel: [h, w, in, out], of odd sides.

    Returns:
        [N, H, W, out].
    """
    if tuple(kernel.shape[:2]) == (1, 1):
        return ops.matmul(inputs, kernel[0, 0])
    if not only_cpus():
        return _conv(inputs, kernel)
    return ops.custom_gradient(_conv_with_gradient)(inputs, kernel)


def doubling_conv(inputs: Tensor, kernel: Tensor) -> Tensor:
    """Transposed convolution whose strides are the kernel's sides, written as a product.

    Args:
        inputs: [N, H, W, in].
        kernel: [h, w, out, in], as Keras's transposed convolution has it.

    Returns:
        [N, h · H, w · W, out].
    """
    height, width, filters, channels = kernel.shape
    rows = inputs.shape[1:3]
    by_channel = ops.reshape(ops.transpose(kernel, (3, 0, 1, 2)), (channels, -1))
    cells = ops.matmul(ops.reshape(inputs, (-1, channels)), by_channel)
    cells = ops.reshape(cells, (-1, *rows, height, width, filters))
    cells = ops.transpose(cells, (0, 1, 3, 2, 4, 5))
    return ops.reshape(cells, (-1, height * rows[0], width * rows[1], filters))


def only_cpus() -> bool:
    """Whether the backend has no accelerator."""
    return all(device.startswith("cpu") for device in device_names())


def _conv(inputs: Tensor, kernel: Tensor) -> Tensor:
    return ops.conv(inputs, kernel, padding="same", data_format="channels_last")


def _conv_with_gradient(
    inputs: Tensor, kernel: Tensor
) -> tuple[Tensor, Callable[..., tuple[Tensor, Tensor]]]:
    height, width = kernel.shape[:2]
    rows, columns = inputs.shape[1:3]

    def gradient(*args: Tensor, upstream: Tensor | None = None) -> tuple[Tensor, Tensor]:
        upstream = args[0] if upstream is None else upstream
        turned = ops.transpose(ops.flip(kernel, axis=(0, 1)), (0, 1, 3, 2))
        margins = ((0, 0), (height // 2,) * 2, (width // 2,) * 2, (0, 0))
        padded = ops.pad(inputs, margins)
        flat = ops.reshape(upstream, (-1, upstream.shape[-1]))

        def at(row: int, column: int) -> Tensor:
            seen = padded[:, row : row + rows, column : column + columns]
            return ops.matmul(ops.transpose(ops.reshape(seen, (-1, seen.shape[-1]))), flat)

        of_kernel = [at(row, column) for row in range(height) for column in range(width)]
        return _conv(upstream, turned), ops.reshape(ops.stack(of_kernel), kernel.shape)

    return _conv(inputs, kernel), gradient
