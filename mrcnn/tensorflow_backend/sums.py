"""Sums whose terms are added in an order that does not change from run to run."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import keras

if TYPE_CHECKING:
    from tensorflow.python.eager.context import FunctionCallOptions

P = ParamSpec("P")
T = TypeVar("T")


def with_fixed_sums(function: Callable[P, T]) -> Callable[P, T]:
    """Let a graph add three and more tensors all at once.

    Where a graph needs more than 205 MB, TensorFlow on a CPU adds the terms of a sum as they come
    (Grappler's memory optimization). Which comes first depends on how busy the machine is, and the
    last digits depend on which comes first. To hold all terms takes no time, and no memory that
    could be measured (`docs/reliability.md`).

    Args:
        function: calls a `tf.function`, for the first time inside; with another backend than
            TensorFlow, it is returned as it is.
    """
    if keras.backend.backend() != "tensorflow":
        return function

    # TensorFlow's public settings of Grappler leave this one out.
    from tensorflow.python.eager import context

    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        before = context.context().function_call_options
        context.context().function_call_options = _all_at_once(
            before.executor_type, before.config_proto_serialized
        )
        try:
            return function(*args, **kwargs)
        finally:
            context.context().function_call_options = before

    return run


@lru_cache
def _all_at_once(executor_type: str | None, config: bytes) -> FunctionCallOptions:
    import tensorflow as tf
    from tensorflow.core.protobuf.rewriter_config_pb2 import RewriterConfig
    from tensorflow.python.eager.context import FunctionCallOptions

    changed = tf.compat.v1.ConfigProto.FromString(config)
    changed.graph_options.rewrite_options.memory_optimization = RewriterConfig.NO_MEM_OPT
    return FunctionCallOptions(executor_type, changed)
