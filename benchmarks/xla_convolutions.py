"""Gradients of convolutions as XLA compiles them on a CPU, and as this package writes them.

    KERAS_BACKEND=jax python -m benchmarks.xla_convolutions

XLA has fast kernels for the gradients of a convolution where these stand in the main program, but
computes them in plain loops within a choice (`mrcnn.ops.leading`), and the kernel's gradient of a
transposed convolution everywhere. One JSON line for each convolution: milliseconds of both
gradients together, best of some rounds, in the main program and within a choice, by the backend
(`theirs`) and by `mrcnn.ops.convolution` (`ours`).
"""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from keras import ops

from benchmarks.limits import timed
from mrcnn.ops.convolution import doubling_conv, same_conv

# Features of RoIs as the mask head has them, with a quarter of its channels.
FEATURES, CHANNELS = (40, 14, 14), 64
CONVOLUTIONS: dict[str, tuple[tuple[int, int], Callable, Callable]] = {
    "3 x 3": ((3, 3), functools.partial(ops.conv, padding="same"), same_conv),
    "2 x 2, transposed": ((2, 2), functools.partial(ops.conv_transpose, strides=2), doubling_conv),
}


def gradients(convolve: Callable, inputs: Any, kernel: Any, within: bool) -> Callable[[], Any]:
    """Both gradients of the sum of squares; `within` a choice, of which they are one branch."""

    def both(inputs: Any, kernel: Any) -> Any:
        return jax.grad(lambda x, k: ops.sum(ops.square(convolve(x, k))), (0, 1))(inputs, kernel)

    def chosen(index: Any, *operands: Any) -> Any:
        return jax.lax.switch(index, [lambda *x: x, both], *operands)

    compiled = jax.jit(chosen if within else lambda index, *operands: both(*operands))
    index = jax.numpy.int32(1)
    return lambda: jax.block_until_ready(compiled(index, inputs, kernel))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    random = np.random.default_rng(0)
    inputs = ops.convert_to_tensor(random.standard_normal((*FEATURES, CHANNELS), np.float32))
    for name, (sides, theirs, ours) in CONVOLUTIONS.items():
        shape = (*sides, CHANNELS, CHANNELS)
        kernel = ops.convert_to_tensor(random.standard_normal(shape, np.float32) / 100)
        milliseconds = {}
        for way, convolve in (("theirs", theirs), ("ours", ours)):
            for place in ("main", "choice"):
                run = gradients(convolve, inputs, kernel, within=place == "choice")
                run()
                best = min(timed(run) for _ in range(args.rounds))
                milliseconds[f"{way}_{place}_ms"] = round(1e3 * best, 1)
        print(json.dumps({"benchmark": "xla_convolutions", "kernel": name, **milliseconds}))


if __name__ == "__main__":
    main()
