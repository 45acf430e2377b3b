"""TensorFlow's kernels compared with the alternatives that were rejected, on a CPU.

    python -m benchmarks.kernels suppression
    python -m benchmarks.kernels constants
    python -m benchmarks.kernels grouped

`suppression`: one non-maximum suppression for a batch (`mrcnn.tensorflow_backend.nms.nms_sorted`)
compared with TensorFlow's kernel for one image, applied to each image in turn. `constants`: a 3 x 3
convolution with bias and ReLU whose kernel is a variable compared with one whose kernel is a
constant, for one image, for two of half the height, and for a volume of one slice, in separate
processes (`variable` and `constant` run one each). `grouped`: the grouped convolutions of
ResNeXt-50 for two images of 256 pixels, by TensorFlow's kernel, written out as an ordinary
convolution, and as Keras computes them (compiled by XLA), forward and with the gradient. JSON
lines, medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.limits import timed
from mrcnn.ops.grouped_conv import block_diagonal
from mrcnn.process import keep_freed_memory
from mrcnn.tensorflow_backend import nms as tf_kernels

# The first step of the row "shapes": candidates of 128 x 128, proposals kept, threshold.
IMAGES, CANDIDATES, KEPT, THRESHOLD = 8, 4092, 2000, 0.7
# (height, width, channels in, channels out): stage 4 of a ResNet, P2, and the RPN on P2 at 1024.
PROCESSES = 4
# (side, channels in a group) of ResNeXt-50's stages; Keras's gradient is looked at fewer times.
GROUPS, GROUPED_IMAGES, SLOW_ROUNDS = 32, 2, 1
GROUPED = ((64, 4), (32, 8), (16, 16), (8, 32))
CONVOLUTIONS = ((64, 64, 256, 256), (256, 256, 256, 256), (256, 256, 256, 512))


def medians(functions: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Milliseconds of each function; they take turns."""
    for function in functions.values():
        function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            seconds[name].append(timed(function))
    return {name: round(1e3 * statistics.median(s), 2) for name, s in seconds.items()}


def suppression(rounds: int) -> None:
    """Random boxes sorted by score, most of which are kept, as in an untrained network."""
    random = np.random.default_rng(0)
    centers = random.uniform(0, 1, (IMAGES, CANDIDATES, 2))
    halves = random.uniform(0.01, 0.16, (IMAGES, CANDIDATES, 2))
    corners = np.concatenate([centers - halves, centers + halves], axis=-1)
    boxes = tf.constant(np.clip(corners, 0, 1).astype(np.float32))
    valid = tf.ones((IMAGES, CANDIDATES), tf.bool)
    order = tf.range(CANDIDATES, 0, -1, dtype=tf.float32)

    @tf.function
    def together() -> Any:
        return tf_kernels.nms_sorted(boxes, valid, THRESHOLD, KEPT)[0]

    @tf.function
    def one_by_one() -> Any:
        return tf.stack(
            [tf.image.non_max_suppression(b, order, KEPT, THRESHOLD) for b in tf.unstack(boxes)]
        )

    same = bool((together().numpy() == one_by_one().numpy()).all())
    times = medians(
        {"together_ms": lambda: together().numpy(), "one_by_one_ms": lambda: one_by_one().numpy()},
        rounds,
    )
    print(json.dumps({"benchmark": "suppression", "same": same, **times}))


def constants(rounds: int) -> None:
    """Times of both, each in processes of its own: oneDNN's choices last as long as a process."""
    lines: dict[str, list[dict[str, float]]] = {"variable": [], "constant": []}
    for _ in range(PROCESSES):
        for kind, found in lines.items():
            command = [sys.executable, "-m", "benchmarks.kernels", kind, "--rounds", str(rounds)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
    for case in lines["variable"][0]:
        times = {
            f"{kind}_ms": sorted(line[case] for line in found) for kind, found in lines.items()
        }
        print(json.dumps({"benchmark": "constants", "case": case, **times}))


def convolutions(kind: str, rounds: int) -> None:
    """Times of the convolutions with kernels of one kind."""
    random = np.random.default_rng(0)
    functions: dict[str, Callable[[], Any]] = {}
    for height, width, channels, filters in CONVOLUTIONS:
        kernel = random.standard_normal((3, 3, channels, filters)).astype(np.float32) / 100
        bias = random.standard_normal(filters).astype(np.float32)
        if kind == "variable":
            kernel, bias = tf.Variable(kernel), tf.Variable(bias)
        for images in (1, 2):
            shape = (images, height // images, width, channels)
            features = tf.constant(random.standard_normal(shape).astype(np.float32))
            functions[f"{list(shape)} to {filters}"] = _convolution(features, kernel, bias)
        slice_ = tf.constant(random.standard_normal((1, 1, height, width, channels), np.float32))
        functions[f"{list(slice_.shape)} to {filters}"] = _convolution(slice_, kernel, bias)
    print(json.dumps(medians(functions, rounds)))


def _convolution(features: Any, kernel: Any, bias: Any) -> Callable[[], Any]:
    @tf.function
    def run(x: Any) -> Any:
        weight, offset = tf.convert_to_tensor(kernel), tf.convert_to_tensor(bias)
        if len(x.shape) == 4:
            features = tf.nn.conv2d(x, weight, 1, "SAME")
        else:
            features = tf.nn.conv3d(x, weight[None], [1] * 5, "SAME")
        return tf.nn.relu(tf.nn.bias_add(features, offset))

    return lambda: run(features)


def grouped(rounds: int) -> None:
    """Times of the three ways, in one process."""
    random = np.random.default_rng(0)
    ways: dict[str, Callable[[Any, Any], Any]] = {
        "kernel": lambda x, k: tf.nn.conv2d(x, k, 1, "SAME"),
        "written_out": lambda x, k: tf.nn.conv2d(x, block_diagonal(k, GROUPS), 1, "SAME"),
        "keras": lambda x, k: keras.ops.conv(x, k, 1, "same", data_format="channels_last"),
    }
    for side, inside in GROUPED:
        shape = (GROUPED_IMAGES, side, side, GROUPS * inside)
        x = tf.constant(random.standard_normal(shape).astype(np.float32))
        kernel = random.standard_normal((3, 3, inside, shape[-1])).astype(np.float32) / 100
        forward, learning = {}, {}
        for name, way in ways.items():
            forward[f"{name}_ms"] = _grouped(way, x, tf.constant(kernel), gradient=False)
            learning[f"{name}_with_gradient_ms"] = _grouped(
                way, x, tf.constant(kernel), gradient=True
            )
        slow = {"keras_with_gradient_ms": learning.pop("keras_with_gradient_ms")}
        times = medians(forward, rounds) | medians(learning, rounds) | medians(slow, SLOW_ROUNDS)
        print(json.dumps({"benchmark": "grouped", "shape": shape, **times}), flush=True)


def _grouped(
    way: Callable[[Any, Any], Any], x: Any, kernel: Any, gradient: bool
) -> Callable[[], Any]:
    @tf.function(jit_compile=False)
    def run(x: Any, kernel: Any) -> Any:
        if not gradient:
            return way(x, kernel)
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            total = tf.reduce_sum(tf.square(way(x, kernel)))
        return tape.gradient(total, [x, kernel])[1]

    return lambda: run(x, kernel).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "what", choices=("grouped", "suppression", "constants", "variable", "constant")
    )
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    keep_freed_memory()
    if args.what in ("variable", "constant"):
        convolutions(args.what, args.rounds)
    else:
        commands = {"suppression": suppression, "constants": constants, "grouped": grouped}
        commands[args.what](args.rounds)


if __name__ == "__main__":
    main()
