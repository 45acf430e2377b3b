"""What the first training step takes from the start of the process, and each new image shape.

    python -m benchmarks.first_step training --row shapes
    python -m benchmarks.first_step detection --image-size 512 --sizes 512x384 384x512 512x512

`training` starts a process and says what passes until its first step is done: imports, building the
network, making it trainable and compiling, tracing the step in Python (and how many operations
that makes), TensorFlow's optimization of what was traced (with the first use of each kernel), and
the step itself, as long as the next. `--without-grappler` leaves TensorFlow's passes over the graph
out, to see what they take.
`detection` starts one, too: imports, building, and for each image shape the first detection and the
fastest of the next three; their difference is what a new shape costs. One JSON line for each round;
`processor_total` is the processor time of all cores up to the end of the first step, which depends
less on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

# Set for the process that is measured: when it was started.
STARTED = "MRCNN_BENCHMARK_STARTED"


class Split:
    """Seconds of one phase after the other."""

    def __init__(self) -> None:
        self._last = float(os.environ[STARTED])
        self.seconds: dict[str, float] = {}

    def end(self, phase: str) -> None:
        """A phase is over."""
        now = time.time()
        self.seconds[phase] = now - self._last
        self._last = now


def training(args: argparse.Namespace) -> dict[str, Any]:
    """The phases of a training, up to its first step."""
    split = Split()
    from benchmarks import training_step
    from mrcnn.process import keep_freed_memory
    from mrcnn.training import compile
    from mrcnn.training import model as training_model

    split.end("imports")
    if args.without_grappler:
        import tensorflow as tf

        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    keep_freed_memory()
    config = training_step.step_config(args)
    model = training_model.build(config)
    split.end("building")
    compile.set_trainable(model, args.layers)
    compile.compile_model(model, config, config.LEARNING_RATE, config.LEARNING_MOMENTUM)
    split.end("compiling")
    batch = training_step.random_batch(config)
    tracing = _time_of_calls(type(model), "train_step")
    operations = _sizes_of_graphs(type(model), "train_step")

    def batches() -> Iterator[tuple[dict[str, Any]]]:
        while True:
            yield (batch,)

    def step() -> float:
        started = time.perf_counter()
        model.fit(batches(), steps_per_epoch=1, verbose=0)
        return time.perf_counter() - started

    split.end("a batch")
    first = step()
    total = time.time() - float(os.environ[STARTED])
    processor = time.process_time()
    traced, traces = sum(tracing), len(tracing)
    later = min(step() for _ in range(3))
    split.seconds |= {
        "tracing": traced,
        "optimization": first - traced - later,
        "step": later,
    }
    return {
        **vars(args),
        "seconds": _rounded(split.seconds),
        "traces": traces,
        "operations": sum(operations),
        **_rounded({"total": total, "processor_total": processor}),
    }


def _time_of_calls(owner: type, name: str) -> list[float]:
    """Seconds of each call of a method from now on, in a list that grows."""
    seconds: list[float] = []
    original = getattr(owner, name)

    def timed(*args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        result = original(*args, **kwargs)
        seconds.append(time.perf_counter() - started)
        return result

    setattr(owner, name, timed)
    return seconds


def _sizes_of_graphs(owner: type, name: str) -> list[int]:
    """How many operations a method put into TensorFlow's graph in each call: a list that grows."""
    import keras

    sizes: list[int] = []
    if keras.backend.backend() != "tensorflow":
        return sizes
    import tensorflow as tf

    original = getattr(owner, name)

    def counted(*args: Any, **kwargs: Any) -> Any:
        graph = tf.compat.v1.get_default_graph()
        before = len(graph.get_operations())
        result = original(*args, **kwargs)
        sizes.append(len(graph.get_operations()) - before)
        return result

    setattr(owner, name, counted)
    return sizes


def detection(args: argparse.Namespace) -> dict[str, Any]:
    """The phases of a detection, and the first and later detections in each image shape."""
    split = Split()
    import numpy as np

    from benchmarks import inference, limits

    split.end("imports")
    model = inference.build(args)
    split.end("building")
    random = np.random.default_rng(0)
    shapes = {}
    for size in args.sizes:
        height, width = (int(side) for side in size.split("x"))
        image = random.integers(0, 256, (height, width, 3)).astype(np.uint8)
        images = [image] * args.batch_size

        def detect(images: list[np.ndarray] = images) -> float:
            return limits.timed(lambda: model.detect(images))

        first, later = detect(), min(detect() for _ in range(3))
        shapes[size] = _rounded({"first": first, "later": later, "new_shape": first - later})
    return {
        **vars(args),
        "seconds": _rounded(split.seconds),
        "shapes": shapes,
        "peak_gb": round(limits.peak_memory(), 2),
    }


def _rounded(seconds: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 2) for name, value in seconds.items()}


COMMANDS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "training": training,
    "detection": detection,
}


def main() -> None:
    if STARTED in os.environ:
        args = argparse.Namespace(**json.loads(sys.argv[1]))
        print(json.dumps(COMMANDS[args.command](args)))
        return
    from benchmarks import inference, training_step

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, add_options in (
        ("training", training_step.add_step_options),
        ("detection", inference.add_inference_options),
    ):
        options = commands.add_parser(name)
        add_options(options)
        options.add_argument("--rounds", type=int, default=3)
        if name == "training":
            options.add_argument("--without-grappler", action="store_true")
        else:
            options.add_argument("--sizes", nargs="+", default=["512x512", "384x512", "512x320"])
    args = parser.parse_args()
    for _ in range(args.rounds):
        command = [sys.executable, "-m", "benchmarks.first_step", json.dumps(vars(args))]
        environment = {**os.environ, STARTED: repr(time.time())}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        print(done.stdout.splitlines()[-1], flush=True)


if __name__ == "__main__":
    main()
