"""What detection costs apart from the network, and what groups of image shapes save.

    python -m benchmarks.detection paste             # masks pasted into an image
    python -m benchmarks.detection rle               # masks encoded to COCO's run lengths
    python -m benchmarks.detection groups            # IMAGE_SHAPE_GROUPS against the square
    python -m benchmarks.detection evaluation DATA   # overlapping steps against one by one

Each prints JSON lines. Where two things are compared they take turns in one process, so that
a busy machine slows both alike; compare the ratios. CPU seconds are those of this process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from mrcnn.data.masks import MASK_THRESHOLD, paste_masks
from mrcnn.data.rle import encode_in_boxes
from mrcnn.process import keep_freed_memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run in (("paste", paste), ("rle", rle)):
        command = commands.add_parser(name)
        command.set_defaults(run=run)
        command.add_argument("--masks", type=int, default=100)
        command.add_argument("--size", type=int, nargs=2, default=(1500, 2000))
        command.add_argument("--rounds", type=int, default=9)
    command = commands.add_parser("groups")
    command.set_defaults(run=groups)
    command.add_argument("--backbone", default="resnet50")
    command.add_argument("--image-size", type=int, default=1024)
    command.add_argument("--photograph", type=int, nargs=2, default=(425, 640))
    command.add_argument(
        "--found", type=int, help="detections, as in most photographs; default: 100"
    )
    command.add_argument("--rounds", type=int, default=5)
    command = commands.add_parser("evaluation")
    command.set_defaults(run=evaluation)
    command.add_argument("data", help="a data set in COCO's layout")
    command.add_argument("--subset", default="val")
    command.add_argument("--year", default="")
    command.add_argument("--backbone", default="resnet10")
    command.add_argument("--image-size", type=int, default=512)
    command.add_argument("--batch-size", type=int, default=2)
    command.add_argument("--limit", type=int, default=24)
    command.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    keep_freed_memory()
    args.run(args)


# --- Masks --------------------------------------------------------------------------------


def paste(args: argparse.Namespace) -> None:
    """`paste_masks`, and the same by resizing each mask."""
    for boxes_are, masks, boxes in _cases(args):
        seconds = _take_turns(
            {
                "pasted": lambda m=masks, b=boxes: paste_masks(m, b, args.size),
                "resized": lambda m=masks, b=boxes: _paste_resized(m, b, args.size),
            },
            args.rounds,
            time.process_time,
        )
        _report("paste", args, {"boxes": boxes_are}, seconds, "resized", "pasted")


def rle(args: argparse.Namespace) -> None:
    """Run lengths from the boxes, and from pasted masks."""
    for boxes_are, masks, boxes in _cases(args):
        seconds = _take_turns(
            {
                "from_boxes": lambda m=masks, b=boxes: encode_in_boxes(m, b, args.size),
                "from_masks": lambda m=masks, b=boxes: _encode_pasted(m, b, args.size),
            },
            args.rounds,
            time.process_time,
        )
        _report("rle", args, {"boxes": boxes_are}, seconds, "from_masks", "from_boxes")


def _cases(args: argparse.Namespace) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Round masks, in boxes of 3 to 90 % of the sides, and in boxes as large as the image."""
    rng = np.random.default_rng(0)
    height, width = args.size
    count = args.masks
    y, x = np.mgrid[:28, :28] / 27 - 0.5
    noise = rng.normal(0, 0.3, (count, 28, 28))
    masks = (1 / (1 + np.exp(20 * (np.hypot(y, x) - 0.4) + noise))).astype(np.float32)
    share = np.exp(rng.uniform(np.log(0.03), np.log(0.9), (count, 1)))
    share = np.minimum(share * np.exp(rng.normal(0, 0.3, (count, 2))), 1)
    sides = np.maximum(share * args.size, 2).astype(int)
    corners = (rng.random((count, 2)) * (args.size - sides)).astype(int)
    boxes = np.concatenate([corners, corners + sides], axis=1)
    whole = np.tile([0, 0, height, width], (count, 1))
    return [("3 to 90 % of the sides", masks, boxes), ("the whole image", masks, whole)]


def _paste_resized(masks: np.ndarray, boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    from mrcnn.data.images import resize

    full = np.zeros((len(masks), *size), bool)
    for mask, (y1, x1, y2, x2), target in zip(masks, boxes.tolist(), full, strict=True):
        target[y1:y2, x1:x2] = resize(mask, (y2 - y1, x2 - x1)) >= MASK_THRESHOLD
    return full.transpose(1, 2, 0)


def _encode_pasted(masks: np.ndarray, boxes: np.ndarray, size: tuple[int, int]) -> list[Any]:
    pasted = paste_masks(masks, boxes, size)
    return [mask_api.encode(np.asfortranarray(pasted[..., i], np.uint8)) for i in range(len(masks))]


# --- The network ----------------------------------------------------------------------------


def groups(args: argparse.Namespace) -> None:
    """One network on photographs of one size, padded to a square and to their group."""
    from mrcnn.inference.detector import Detector

    settings = _settings(
        args,
        NUM_CLASSES=81,
        IMAGE_MIN_DIM=min(800, args.image_size),
        DETECTION_MAX_INSTANCES=args.found,
    )
    image = np.random.default_rng(0).integers(0, 256, (*args.photograph, 3)).astype(np.uint8)
    model, configs = _network(settings), {}
    for name, shapes in (("square", None), ("grouped", "auto")):
        configs[name] = _config({**settings, "IMAGE_SHAPE_GROUPS": shapes})
    detectors = {name: Detector(model, config) for name, config in configs.items()}
    seconds = _take_turns(
        {name: lambda d=detector: d.detect([image]) for name, detector in detectors.items()},
        args.rounds,
        time.perf_counter,
    )
    shapes = {f"{name}_shape": detector.image_shape for name, detector in detectors.items()}
    _report("groups", args, shapes, seconds, "square", "grouped")


def evaluation(args: argparse.Namespace) -> None:
    """`evaluate_model` of a detector: with threads, one step at a time, and with a function."""
    from mrcnn.datasets.coco import CocoDataset
    from mrcnn.evaluation.coco import evaluate_model
    from mrcnn.evaluation.detection import FunctionDetector
    from mrcnn.inference.detector import Detector

    dataset = CocoDataset.of(args.data, args.subset, args.year)
    truth = dataset.ground_truth
    settings = _settings(
        args,
        NUM_CLASSES=dataset.num_classes,
        IMAGE_MIN_DIM=args.image_size,
        IMAGES_PER_GPU=args.batch_size,
    )
    detector = Detector(_network(settings), _config(settings))

    def run(detect: Any, **options: Any) -> int:
        _, results, *_ = evaluate_model(
            detect, dataset, truth, limit=args.limit, progress=False, **options
        )
        return len(results)

    seconds = _take_turns(
        {
            "overlapping": lambda: run(detector),
            "one_by_one": lambda: run(detector, workers=0),
            "pasting": lambda: run(FunctionDetector(detector.detect, args.batch_size), workers=0),
        },
        args.rounds,
        time.perf_counter,
    )
    found = {"results": run(detector)}
    _report("evaluation", args, found, seconds, "one_by_one", "overlapping")
    _report("evaluation", args, found, seconds, "pasting", "overlapping")


def _settings(args: argparse.Namespace, **settings: Any) -> dict[str, Any]:
    return {
        "NAME": "benchmark",
        "BACKBONE": args.backbone,
        "IMAGE_MAX_DIM": args.image_size,
        "IMAGES_PER_GPU": 1,
        "DETECTION_MIN_CONFIDENCE": 0,
        **settings,
    }


def _config(settings: dict[str, Any]) -> Any:
    from mrcnn.config import Config
    from mrcnn.runs.settings import configure

    return configure(Config, settings)


def _network(settings: dict[str, Any]) -> Any:
    """A network of random weights whose RoIs are of many classes."""
    import keras

    from mrcnn import network

    keras.utils.set_random_seed(0)
    model = network.build_inference(_config(settings))
    logits = model.get_layer("mrcnn_class_logits")
    kernel, bias = logits.get_weights()
    logits.set_weights([5 * kernel, bias])
    return model


# --- Measuring ------------------------------------------------------------------------------


def _take_turns(
    runs: dict[str, Callable[[], Any]], rounds: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of each run, in each round but the first, which compiles."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        order = list(runs) if number % 2 else list(runs)[::-1]
        for name in order:
            started = clock()
            runs[name]()
            if number:
                seconds[name].append(clock() - started)
    return seconds


def _report(
    name: str,
    args: argparse.Namespace,
    extra: dict[str, Any],
    seconds: dict[str, list[float]],
    slow: str,
    fast: str,
) -> None:
    ratios = [a / b for a, b in zip(seconds[slow], seconds[fast], strict=True)]
    times = {
        f"{kind}_{which}_ms": round(1000 * of(seconds[kind]), 1)
        for kind in (fast, slow)
        for which, of in (("median", statistics.median), ("best", min))
    }
    options = {key: value for key, value in vars(args).items() if key != "run"}
    ratio = {"ratio": round(statistics.median(ratios), 2)}
    print(json.dumps({"benchmark": name, **options, **extra, **times, **ratio}), flush=True)


if __name__ == "__main__":
    main()
