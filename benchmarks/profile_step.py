"""The most expensive parts of a training step or of a detection.

    python -m benchmarks.profile_step training --row shapes
    python -m benchmarks.profile_step inference --image-size 1024

Records some steps with TensorFlow's profiler and sums the time of its operations by the part
of the network that asked for them, and by the kind of operation. The shares are of the time
of all operations on all cores, so that they add up to the whole where cores work side by side.
TensorFlow only, and without XLA, which hides the layers.
"""

from __future__ import annotations

import argparse
import collections
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from benchmarks import inference, training_step
from mrcnn.process import keep_freed_memory

# Parts of the network, by what the names of their operations contain; the first that fits.
PARTS = (
    ("RPN targets", r"rpn_targets|pixel_anchors"),
    ("proposals", r"/ROI_?\d*/|/anchors"),
    ("detection targets", r"proposal_targets|normalized_gt_boxes"),
    ("RoIAlign", r"roi_align"),
    ("edge head", r"mask_edge_loss"),
    ("losses", r"\w+_loss_?\d*/"),
    ("RPN", r"rpn_"),
    ("feature pyramid", r"fpn_"),
    ("mask head", r"mrcnn_mask|activation_\d+_1/"),
    ("box head", r"mrcnn_class|mrcnn_bbox|pool_squeeze"),
    ("backbone", r"res\d\w|bn\d\w|conv1|bn_conv1|max_pooling|zero_padding|/add_?\d*|activation"),
    ("detections", r"mrcnn_detection"),
    ("optimizer and decay", r"sgd|adam|^(Square|Sum|Mul|Dot|AddN|mul|add|Mean|truediv)"),
)


def recorded(step: Callable[[], None], steps: int) -> collections.Counter:
    """Seconds of each operation, "name:kind", in `steps` calls."""
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        for _ in range(steps):
            step()
        tf.profiler.experimental.stop()
        space = xplane_pb2.XSpace()
        space.ParseFromString(next(Path(folder).rglob("*.xplane.pb")).read_bytes())
    seconds: collections.Counter = collections.Counter()
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                name = plane.event_metadata[event.metadata_id].name
                if re.search(r"[^:]:[A-Z_]\w+$", name):
                    seconds[name] += event.duration_ps / 1e12
    return seconds


def training(args: argparse.Namespace) -> Callable[[], None]:
    """A training step."""
    config = training_step.step_config(args)
    model = training_step.build(config, args.layers)
    batch = training_step.random_batch(config)
    return lambda: float(model.train_on_batch(batch, return_dict=True)["loss"])


def detecting(args: argparse.Namespace) -> Callable[[], None]:
    """A run of the graph of inference."""
    model = inference.build(args)
    shape = (args.batch_size, args.image_size, args.image_size, 3)
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    graph, inputs = inference.graph_of(model, list(images))
    return lambda: graph.predict_on_batch(inputs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, add_options in (
        ("training", training_step.add_step_options),
        ("inference", inference.add_inference_options),
    ):
        options = commands.add_parser(name)
        add_options(options)
        options.add_argument("--steps", type=int, default=3)
        options.add_argument("--top", type=int, default=10)
    args = parser.parse_args()
    if keras.backend.backend() != "tensorflow":
        raise SystemExit("The profile needs KERAS_BACKEND=tensorflow.")
    keep_freed_memory()
    step = training(args) if args.command == "training" else detecting(args)
    for _ in range(training_step.WARM_UP_STEPS):
        step()
    seconds = recorded(step, args.steps)
    total = sum(seconds.values())
    parts: collections.Counter = collections.Counter()
    kinds: collections.Counter = collections.Counter()
    for name, value in seconds.items():
        where, kind = name.rsplit(":", 1)
        part = next((part for part, text in PARTS if re.search(text, where)), "other")
        backward = " (backward)" if where.startswith("gradient_tape") else ""
        parts[part + backward] += value
        kinds[re.sub("^_Mkl(Native)?", "", kind)] += value
    for title, table in (("part", parts), ("kind of operation", kinds), ("operation", seconds)):
        print(f"\n{'share':>7}  seconds a step  {title}")
        for name, value in table.most_common(args.top):
            print(f"{value / total:7.1%}  {value / args.steps:14.3f}  {name}")


if __name__ == "__main__":
    main()
