"""Matterport's `mrcnn.parallel_model`: the wrapper that once copied a model to several GPUs.

Spreading a batch over devices is `Config.GPU_COUNT`'s work now (`mrcnn.training.devices`), for a
model as it is. The wrapper stays for the scripts that call it, and hands everything to the model
inside.
"""

from __future__ import annotations

import warnings
from typing import Any

_OWN = frozenset(("inner_model", "gpu_count", "make_parallel", "summary"))


class ParallelModel:
    """A model under another name: attributes, methods and calls are those of the inner model.

    `isinstance` takes it for the inner model's class too.

    Args:
        keras_model: the model; it keeps its layers, weights and compilation.
        gpu_count: kept in the attribute of that name. Above 1 there is a warning, because the
            wrapper itself distributes nothing.

    Attributes:
        inner_model: the model that was given.
        gpu_count: the number that was given.
    """

    def __init__(self, keras_model: Any, gpu_count: int) -> None:
        object.__setattr__(self, "inner_model", keras_model)
        object.__setattr__(self, "gpu_count", gpu_count)
        if gpu_count > 1:
            warnings.warn(
                f"ParallelModel(gpu_count={gpu_count}) distributes nothing: the model runs as "
                f"it is. Config.GPU_COUNT devices share the images of a step by themselves; leave "
                f"ParallelModel out.",
                stacklevel=2,
            )

    def __getattribute__(self, attrname: str) -> Any:
        if attrname in _OWN:
            return object.__getattribute__(self, attrname)
        return getattr(object.__getattribute__(self, "inner_model"), attrname)

    def __setattr__(self, attrname: str, value: Any) -> None:
        setattr(self.inner_model, attrname, value)

    def __delattr__(self, attrname: str) -> None:
        delattr(self.inner_model, attrname)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.inner_model(*args, **kwargs)

    def __repr__(self) -> str:
        return f"ParallelModel({self.inner_model!r}, gpu_count={self.gpu_count})"

    def summary(self, *args: Any, **kwargs: Any) -> None:
        """Print the inner model's summary; arguments are those of `keras.Model.summary`."""
        self.inner_model.summary(*args, **kwargs)

    def make_parallel(self) -> Any:
        """Return the outputs of the inner model: there is nothing to split or to merge."""
        return self.inner_model.outputs
