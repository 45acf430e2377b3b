"""Fewer ways to run a function than `tests.support.compiled` has, where that takes long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from tests.support import compiled


def quick(fn: Callable[..., Any]) -> Callable[..., Any]:
    """`fn` run in the way that takes least when it is called once.

    That is eager, but on JAX, which compiles each operation of an eager call, whole.
    """
    return dict(compiled(fn))["xla" if keras.backend.backend() == "jax" else "eager"]


def whole(fn: Callable[..., Any]) -> list[tuple[str, Callable[..., Any]]]:
    """`compiled`, without JAX's eager way: the same compiler, one operation at a time."""
    jax = keras.backend.backend() == "jax"
    return [(name, run) for name, run in compiled(fn) if not (jax and name == "eager")]
