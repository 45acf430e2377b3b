"""What tests of tensor code need on every backend: gradients, and compiled variants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np


def gradient(
    fn: Callable[[Any], Any], x: np.ndarray, jit: bool = False, graph: bool = False
) -> np.ndarray:
    """d fn(x) / d x of a function from one float tensor to a scalar.

    With `jit`, value and gradient are compiled together by XLA; with `graph`, TensorFlow traces
    them, and does not compile.
    """
    x = np.asarray(x, np.float32)
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        def slope(tensor: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(tensor)
                value = fn(tensor)
            return tape.gradient(value, tensor, unconnected_gradients="zero")

        run = tf.function(slope, jit_compile=jit) if jit or graph else slope
        return run(tf.constant(x)).numpy()
    if backend == "jax":
        import jax

        slope = jax.grad(fn)
        return np.asarray((jax.jit(slope) if jit else slope)(x))
    if backend == "torch":
        tensor = keras.ops.convert_to_tensor(x).clone().requires_grad_()
        value = fn(tensor)
        if value.requires_grad:
            value.backward()
        slope = np.zeros_like(x) if tensor.grad is None else tensor.grad.cpu().numpy()
        return slope
    raise NotImplementedError(f"gradient(): expected a known backend; received {backend!r}.")


def weight_gradients(total: Any, weights: Sequence[Any]) -> list[Any]:
    """d total / d each weight, by PyTorch's own differentiation."""
    import torch

    values = [weight.value for weight in weights]
    slopes = torch.autograd.grad(total, values, allow_unused=True)
    return [
        torch.zeros_like(value) if slope is None else slope
        for value, slope in zip(values, slopes, strict=True)
    ]


def compiled(fn: Callable[..., Any]) -> list[tuple[str, Callable[..., Any]]]:
    """(name, callable) for each way to run `fn` on this backend: eager, graph, XLA.

    The callables take NumPy arrays and return `fn`'s structure with NumPy arrays in it.
    """
    backend = keras.backend.backend()
    variants: list[tuple[str, Callable[..., Any]]] = [("eager", fn)]
    if backend == "tensorflow":
        import tensorflow as tf

        variants.append(("graph", tf.function(fn, jit_compile=False)))
        variants.append(("xla", tf.function(fn, jit_compile=True)))
    elif backend == "jax":
        import jax

        variants.append(("xla", jax.jit(fn)))
    return [(name, _on_arrays(variant)) for name, variant in variants]


def _on_arrays(fn: Callable[..., Any]) -> Callable[..., Any]:
    def run(*arrays: Any) -> Any:
        tensors = keras.tree.map_structure(keras.ops.convert_to_tensor, arrays)
        return keras.tree.map_structure(keras.ops.convert_to_numpy, fn(*tensors))

    return run
