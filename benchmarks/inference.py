"""Seconds of a detection in one image, compared with the best that the machine could do.

    python -m benchmarks.inference --image-size 1024
    python -m benchmarks.inference --image-size 1024 --dtype bfloat16
    python -m benchmarks.inference --image-size 1024 --set FREEZE_GRAPH=False
    python -m benchmarks.inference --image-size 1024 --found 10

Random weights and a confidence threshold of 0, so that every image has
DETECTION_MAX_INSTANCES detections to draw masks for; --found N sets the threshold to the score of
the Nth detection, as in a photograph with a few objects. One JSON line: median and best seconds of
the graph and of the whole `detect` (resizing and pasting too), the limit (`benchmarks.limits`)
and the ratio of the graph to it, the seconds of the first call, and the peak memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from typing import Any

import keras
import numpy as np

from benchmarks import limits
from mrcnn.commands import chosen
from mrcnn.config import BACKBONES, Config
from mrcnn.data import molding
from mrcnn.inference.detector import Graph
from mrcnn.inference.model import with_static_shape
from mrcnn.model import MaskRCNN
from mrcnn.runs import settings as runs_settings


def build(args: argparse.Namespace, min_confidence: float = 0.0) -> MaskRCNN:
    """A network for inference, as the options ask."""
    settings: dict[str, Any] = {
        "NAME": "benchmark",
        "BACKBONE": args.backbone,
        "IMAGE_MIN_DIM": min(800, args.image_size),
        "IMAGE_MAX_DIM": args.image_size,
        "IMAGES_PER_GPU": args.batch_size,
        "NUM_CLASSES": args.classes,
        "DETECTION_MIN_CONFIDENCE": min_confidence,
        "DETECTION_NMS_THRESHOLD": 0.9,
        **chosen.parse_settings(args.set),
    }
    if args.dtype != "float32":
        settings["MIXED_PRECISION"] = args.dtype
    keras.utils.set_random_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        return MaskRCNN("inference", runs_settings.configure(Config, settings), folder)


def graph_of(model: MaskRCNN, images: list[np.ndarray]) -> tuple[Graph, list[np.ndarray]]:
    """The graph that `detect` runs for a batch of images of one size, and its inputs."""
    inputs = [molding.resize_to_input(image, model.config) for image in images]
    wrapped = model.detector.graph(inputs[0].image.shape, molded=False)
    metas = np.stack([resized.meta for resized in inputs]).astype(np.float32)
    return wrapped, [np.stack([resized.image for resized in inputs]), metas]


def add_inference_options(parser: argparse.ArgumentParser) -> None:
    """Options that choose a network and its input."""
    parser.add_argument("--backbone", choices=BACKBONES, default="resnet101")
    parser.add_argument("--image-size", type=int, default=1024)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--classes", type=int, default=81)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_inference_options(parser)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--found", type=int, help="detections (more where scores are equal)")
    args = parser.parse_args()
    random = np.random.default_rng(0)
    shape = (args.batch_size, args.image_size, args.image_size, 3)
    images = list(random.integers(0, 256, shape).astype(np.uint8))
    model = build(args)
    if args.found:
        scores = np.sort(model.detect(images)[0]["scores"])
        model = build(args, float(scores[-args.found]))
    wrapped, inputs = graph_of(model, images)
    first = limits.timed(lambda: wrapped.predict_on_batch(inputs))
    model.detect(images)
    probe = limits.Probe(args.dtype)
    graph, whole, throughput = [], [], []
    for _ in range(args.rounds):
        throughput.append(probe())
        graph.append(limits.timed(lambda: wrapped.predict_on_batch(inputs)))
        whole.append(limits.timed(lambda: model.detect(images)))
    found = sum(len(result["scores"]) for result in model.detect(images))
    static = with_static_shape(model.keras_model, shape[1:], len(images), model.config, False)
    operations = limits.forward_operations(static, limits.Rois(masks=found))
    ratios = [s * t / operations for s, t in zip(graph, throughput, strict=True)]
    print(
        json.dumps(
            {
                "benchmark": "inference",
                "backend": keras.backend.backend(),
                **{**vars(args), "found": found},
                "graph_seconds": round(statistics.median(graph), 3),
                "best_graph_seconds": round(min(graph), 3),
                "detect_seconds": round(statistics.median(whole), 3),
                "best_detect_seconds": round(min(whole), 3),
                "gflop": round(operations / 1e9, 1),
                "gflop_per_second": round(statistics.median(throughput) / 1e9, 1),
                "ratio_to_limit": round(statistics.median(ratios), 3),
                "best_ratio_to_limit": round(min(graph) * max(throughput) / operations, 3),
                "first_call_seconds": round(first, 1),
                "peak_gb": round(limits.peak_memory(), 2),
            }
        )
    )


if __name__ == "__main__":
    main()
