"""RoIAlign with as many samples as a bin has cells, beside torchvision's kernel.

    python -m benchmarks.adaptive_roi_align

By turns, forward and with the gradient: a pyramid of 256 channels, and RoIs of all sizes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

POOL = (7, 7)


def random_rois(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Boxes as an RPN proposes them: sides from 16 to 600 pixels, up to several times as long."""
    rng = np.random.default_rng(seed)
    side = np.exp(rng.uniform(np.log(16), np.log(600), count))
    ratio = np.exp(rng.normal(0, 0.5, count))
    half = 0.5 * np.stack([side * np.sqrt(ratio), side / np.sqrt(ratio)], axis=1)
    center = rng.uniform(0, [height, width], (count, 2))
    corners = np.concatenate([center - half, center + half], axis=1)
    return np.clip(corners, 0, [height, width, height, width]).astype(np.float32)


def ways(height: int, width: int, channels: int, count: int) -> dict[str, Callable[[], Any]]:
    """What is timed, by name."""
    import keras
    import tensorflow as tf
    import torch
    import torchvision

    from mrcnn.ops.sampled_roi_align import ADAPTIVE, level_of_side, sampled_pyramid_roi_align

    rng = np.random.default_rng(1)
    maps = [
        rng.normal(size=(1, height // step, width // step, channels)).astype(np.float32)
        for step in (4, 8, 16, 32)
    ]
    rois = random_rois(count, height, width)
    levels = keras.ops.convert_to_numpy(level_of_side(rois))
    theirs = [torch.from_numpy(m.transpose(0, 3, 1, 2).copy()).requires_grad_() for m in maps]
    own, own_rois = [tf.constant(m) for m in maps], tf.Variable(rois[None])
    torch_rois = torch.from_numpy(rois[:, [1, 0, 3, 2]].copy())

    def torchvision_crops() -> list[Any]:
        return [
            torchvision.ops.roi_align(
                features, [torch_rois[levels == level]], POOL, 1 / (4 * 2**level), 0, True
            )
            for level, features in enumerate(theirs)
        ]

    def torchvision_forward() -> Any:
        with torch.no_grad():
            return torchvision_crops()

    def torchvision_gradient() -> Any:
        for features in theirs:
            features.grad = None
        sum(crops.sum() for crops in torchvision_crops()).backward()

    def forward(compiled: bool) -> Callable[[], Any]:
        @tf.function(jit_compile=compiled)
        def run(*maps: Any) -> Any:
            return sampled_pyramid_roi_align(
                maps, own_rois, POOL, ADAPTIVE, True, use_tf_kernels=not compiled, training=False
            )

        return lambda: run(*own)

    def gradient(compiled: bool) -> Callable[[], Any]:
        @tf.function(jit_compile=compiled)
        def run(*maps: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(maps)
                crops = sampled_pyramid_roi_align(
                    maps, own_rois, POOL, ADAPTIVE, True, use_tf_kernels=not compiled
                )
                total = tf.reduce_sum(crops)
            return tape.gradient(total, maps)

        return lambda: run(*own)

    return {
        "torchvision": torchvision_forward,
        "TensorFlow": forward(False),
        "TensorFlow, XLA": forward(True),
        "torchvision, with the gradient": torchvision_gradient,
        "TensorFlow, with the gradient": gradient(False),
        "TensorFlow, XLA, with the gradient": gradient(True),
    }


def main() -> None:
    """Time all ways by turns; print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", nargs=2, type=int, default=(800, 1088), metavar="PIXELS")
    parser.add_argument("--channels", type=int, default=256)
    parser.add_argument("--rois", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    found = ways(*args.size, args.channels, args.rois)
    seconds: dict[str, list[float]] = {name: [] for name in found}
    for turn in range(args.repeats + 1):
        for name, run in found.items():
            start = time.perf_counter()
            run()
            if turn:  # the first one compiles
                seconds[name].append(time.perf_counter() - start)
    for name, values in seconds.items():
        print(f"{name:40} {statistics.median(values):7.3f} s")


if __name__ == "__main__":
    main()
