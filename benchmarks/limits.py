"""What a network must compute at least, and how fast this machine computes.

The limit of a step is its useful floating-point work over the throughput of a large
convolution, measured in the same process: a step at 1.0 would spend all its time in
convolutions as fast as the best. Everything else (normalization, box mathematics,
non-maximum suppression, crops, the optimizer) counts as no work, and so as loss.
"""

from __future__ import annotations

import contextlib
import math
import resource
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
from keras.src.backend import compute_output_spec

from mrcnn.layers.class_masks import ClassMasks
from mrcnn.layers.per_roi import RoiConv2D, RoiConv2DTranspose
from mrcnn.training.model import TrainingModel

# The convolution that sets the pace: 3 x 3, 256 to 256 channels, as in the mask head.
PROBE_SHAPE = (8, 64, 64, 256)
PROBE_REPEATS = 8


class Rois(NamedTuple):
    """How many RoIs of a batch are useful work of the heads; None: as many as there are slots."""

    boxes: int | None = None
    masks: int | None = None


EVERY_SLOT = Rois()


def forward_operations(model: keras.Model, rois: Rois = EVERY_SLOT) -> int:
    """Floating-point operations of one forward pass: two for each multiply-add.

    Counts convolutions and matrix products, which are all but a thousandth of the work.

    Args:
        model: with static shapes.
        rois: what is useful of the heads' work.
    """
    return sum(count for count, _ in _operations(model, rois))


def step_operations(model: TrainingModel, rois: Rois = EVERY_SLOT) -> int:
    """Floating-point operations of one training step on what is trainable now.

    A learning layer works three times: forward, the gradient of its input, and the gradient
    of its weights. Where nothing before a layer learns, its input needs no gradient; a frozen
    layer after learning ones passes the gradient on.

    Args:
        model: with static shapes.
        rois: what is useful of the heads' work.
    """
    learning = {id(variable) for variable in model.trainable_variables}
    total, learned_before = 0, False
    for count, kernel in _operations(model, rois):
        learns = id(kernel) in learning
        total += count * (1 + learns + learned_before)
        learned_before |= learns
    return total


def _operations(model: keras.Model, rois: Rois) -> list[tuple[int, Any]]:
    """(operations, kernel variable) of each convolution and product, in the order of the graph."""
    found: list[tuple[int, Any]] = []

    def size(layer: keras.Layer, shape: tuple[int | None, ...]) -> int:
        useful = None
        if layer.name.startswith("mrcnn_mask"):
            useful = rois.masks
        elif layer.name.startswith(("mrcnn_class", "mrcnn_bbox")):
            useful = rois.boxes
        return math.prod(shape if useful is None else (useful, *shape[2:]))  # [B, R, ...]

    def by_output(layer: keras.Layer, inputs: Any, outputs: Any) -> int:
        return 2 * size(layer, outputs.shape) * math.prod(layer.kernel.shape[:-1])

    def by_input(layer: keras.Layer, inputs: Any, outputs: Any) -> int:
        return 2 * size(layer, inputs.shape[:-1]) * math.prod(layer.kernel.shape)

    counted = (
        (keras.layers.Conv2D, "convolution_op", by_output),
        (RoiConv2D, "call", by_output),
        (ClassMasks, "call", by_output),
        (keras.layers.Dense, "call", by_output),
        (RoiConv2DTranspose, "call", by_input),
    )
    with contextlib.ExitStack() as stack:
        for kind, method, count in counted:
            stack.enter_context(_counted(kind, method, count, found))
        inputs = [keras.KerasTensor(x.shape, dtype=x.dtype, name=x.name) for x in model.inputs]
        given = {x.name: x for x in inputs} if isinstance(model.input, dict) else inputs
        compute_output_spec(model, given)
    return found


@contextlib.contextmanager
def _counted(
    kind: type[keras.Layer],
    method: str,
    count: Callable[[keras.Layer, Any, Any], int],
    found: list[tuple[int, Any]],
) -> Iterator[None]:
    """Let a method of one kind of layer report what it computes while a model is traced."""
    own = method in vars(kind)
    original = getattr(kind, method)

    def counting(layer: keras.Layer, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        before = len(found)
        outputs = original(layer, inputs, *args, **kwargs)
        # Not what the methods that it called have counted: a layer may choose between branches.
        found[before:] = [(count(layer, inputs, outputs), layer.kernel)]
        return outputs

    setattr(kind, method, counting)
    try:
        yield
    finally:
        if own:
            setattr(kind, method, original)
        else:
            delattr(kind, method)


class Probe:
    """Measures the throughput of the pace-setting convolution, again and again.

    Args:
        dtype: that the network computes in.
    """

    def __init__(self, dtype: str = "float32") -> None:
        random = np.random.default_rng(0)
        images = keras.ops.cast(random.standard_normal(PROBE_SHAPE, np.float32), dtype)
        channels = PROBE_SHAPE[-1]
        kernel = keras.ops.cast(
            random.standard_normal((3, 3, channels, channels), np.float32), dtype
        )
        convolve = _compiled(lambda x: keras.ops.conv(x, kernel, padding="same"))
        self.run = lambda: _wait(convolve(images))
        self.operations = 2 * math.prod(PROBE_SHAPE) * 9 * channels
        self.run()  # compiles

    def __call__(self) -> float:
        """Floating-point operations a second: the best of some repeats."""
        return self.operations / min(timed(self.run) for _ in range(PROBE_REPEATS))


def timed(function: Callable[[], Any]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def peak_memory() -> float:
    """GB of this process at its largest; on an accelerator this is the host's part only."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def _compiled(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function)
    return function


def _wait(result: Any) -> Any:
    if hasattr(result, "block_until_ready"):
        return result.block_until_ready()
    return result.numpy() if keras.backend.backend() == "tensorflow" else result
