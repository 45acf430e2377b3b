"""Tensors that are computed from variables once, and again whenever these have changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf


class Watch:
    """Tells which of some variables were written to since the last look.

    It compares addresses, not values. TensorFlow writes into the memory of a variable only while
    nobody holds a value that was read from it; otherwise the variable gets memory of its own. So a
    variable that still has the memory of the value that is held here has not changed.

    Args:
        groups: variables that are asked for together.
    """

    def __init__(self, groups: Sequence[Sequence[keras.Variable]]) -> None:
        self._handles = [[_handle(variable) for variable in group] for group in groups]
        self._held: list[list[np.ndarray]] = [[] for _ in groups]

    def changed(self) -> list[int]:
        """Numbers of the groups that changed; at the first look, of all."""
        found = []
        for number, handles in enumerate(self._handles):
            now, held = [_read(handle) for handle in handles], self._held[number]
            if len(held) != len(now) or any(map(_differ, now, held)):
                self._held[number] = now
                found.append(number)
        return found


class Derived:
    """Variables whose values are computed from those of others.

    Args:
        sources: the variables that each of the functions reads.
        functions: each returns some tensors.

    Attributes:
        values: for each function, variables that hold what it returned; after `refresh`.
    """

    def __init__(
        self,
        sources: Sequence[Sequence[keras.Variable]],
        functions: Sequence[Callable[[], Sequence[tf.Tensor]]],
    ) -> None:
        self._watch = Watch(sources)
        self._functions = functions
        self.values: list[list[tf.Variable]] = [[] for _ in functions]

    def refresh(self) -> None:
        """Compute again what has changed."""
        import tensorflow as tf

        for number in self._watch.changed():
            tensors, own = self._functions[number](), self.values[number]
            if own:
                for variable, tensor in zip(own, tensors, strict=True):
                    variable.assign(tensor)
            else:
                own.extend(tf.Variable(tensor, trainable=False) for tensor in tensors)


def _handle(variable: keras.Variable) -> tuple[tf.Tensor, tf.DType]:
    own: Any = variable._value  # not `value`, which is a copy where a network computes in 16 bits
    return own.handle, own.dtype


def _read(handle: tuple[tf.Tensor, tf.DType]) -> np.ndarray:
    """A variable's value where it is, which is not written to while the array lives."""
    import tensorflow as tf

    resource, dtype = handle
    return np.asarray(memoryview(tf.raw_ops.ReadVariableOp(resource=resource, dtype=dtype)))


def _differ(a: np.ndarray, b: np.ndarray) -> bool:
    return a.__array_interface__["data"] != b.__array_interface__["data"]
