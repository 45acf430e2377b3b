"""An inference graph that holds the weights of its large convolutions as constants.

A CPU computes a convolution fastest from a kernel in blocks that fit its cache. oneDNN arranges
a constant once; the kernel of a variable may change with every call, so it is left as it is,
with which a 3 x 3 convolution over a single image takes 15 to 30 % longer
(`python -m benchmarks.kernels constants`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np

from mrcnn.layers.folded_norm import FoldsNorm
from mrcnn.layers.per_roi import RoiConv2D
from mrcnn.tensorflow_backend import constants

# Larger kernels belong to small feature maps; as constants they cost more memory than they win.
MAX_KERNEL_VALUES = 3 * 3 * 256 * 512


class FrozenGraph:
    """Runs a model with static shapes as `predict_on_batch` does; TensorFlow without XLA.

    The weights are looked at in every call. Where they have changed since, the graph is made
    anew, which takes seconds.

    Args:
        model: of `mrcnn.inference.model.with_static_shape`, for one image at a time.
    """

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        self._constants = list(_slow_as_variables(model))
        self._fingerprint = constants.fingerprint(self._constants)
        self._seen: bytes | None = None
        self._run: Callable[..., list[np.ndarray]] | None = None

    def predict_on_batch(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The model's outputs for one batch."""
        seen = self._fingerprint()
        if self._run is None or seen != self._seen:
            self._run = constants.with_constants(self.model, self._constants)
            self._seen = seen
        return self._run(inputs)


def _slow_as_variables(model: keras.Model) -> Iterator[keras.Variable]:
    """Kernels of the convolutions over feature maps, and what is multiplied into them."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _slow_as_variables(layer)
        elif isinstance(layer, keras.layers.Conv2D) and not isinstance(layer, RoiConv2D):
            size = math.prod(layer.kernel_size)
            if size > 1 and math.prod(layer.kernel.shape) <= MAX_KERNEL_VALUES:
                yield layer.kernel
                if isinstance(layer, FoldsNorm) and layer.norm is not None:
                    yield from layer.norm.variables
