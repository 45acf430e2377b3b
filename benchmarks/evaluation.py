"""Where the time of an evaluation goes, and what engines of the COCO metrics give and take.

    python -m benchmarks.evaluation parts DATA --year 2017 --limit 16
    python -m benchmarks.evaluation engines --images 5000

`parts` evaluates a network of random weights as `mrcnn evaluate` does, but one step after the
other, and prints the seconds of each: reading the images, resizing them, the network, placing the
masks in the image, encoding them, and the engine. `mrcnn evaluate` itself reads and encodes in
threads beside the network. `engines` makes a random data set, with crowds, ties of scores and
images of more than 100 detections, and compares each installed engine with pycocotools: seconds,
and by how much the 24 numbers and the arrays behind them differ at most. Each prints JSON lines.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.util
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from mrcnn.data import rle
from mrcnn.data.dataset import Dataset
from mrcnn.datasets.coco import CocoDataset
from mrcnn.datasets.coco_json import coco_api
from mrcnn.evaluation import coco, detection, results
from mrcnn.evaluation.engines import ENGINES, PYCOCOTOOLS
from mrcnn.evaluation.ground_truth import Truth

SIZE = (480, 640)  # of the images of `random_case`
CATEGORIES = 80


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("parts")
    command.set_defaults(run=parts)
    command.add_argument("data", help="a data set in COCO's layout")
    command.add_argument("--subset", default="val")
    command.add_argument("--year", default="")
    command.add_argument("--backbone", default="resnet50")
    command.add_argument("--image-size", type=int, default=1024)
    command.add_argument("--batch-size", type=int, default=1)
    command.add_argument("--limit", type=int, default=16)
    command.add_argument("--coco-engine", choices=ENGINES, default=PYCOCOTOOLS)
    command = commands.add_parser("engines")
    command.set_defaults(run=engines)
    command.add_argument("--images", type=int, default=5000)
    command.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.run(args)


# --- Parts --------------------------------------------------------------------------------


class Clock:
    """Adds up the seconds of parts, without those of the parts within them.

    Attributes:
        seconds: by part.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inner = [0.0]  # of the parts within each that is running

    def timing(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, whose time counts as a part's. For one thread."""

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            self._inner.append(0.0)
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                seconds = time.perf_counter() - started
                own = seconds - self._inner.pop()
                self._inner[-1] += seconds
                self.seconds[part] = self.seconds.get(part, 0.0) + own

        return timed


@contextlib.contextmanager
def replaced(*names: tuple[Any, str, Callable[[Any], Any]]) -> Iterator[None]:
    """Put something else in the place of attributes: (holder, name, what to make of the old)."""
    before = [(holder, name, getattr(holder, name)) for holder, name, _ in names]
    try:
        for holder, name, make in names:
            setattr(holder, name, make(getattr(holder, name)))
        yield
    finally:
        for holder, name, value in before:
            setattr(holder, name, value)


def parts(args: argparse.Namespace) -> None:
    """The seconds of each step of an evaluation."""
    from benchmarks.detection import _config, _network, _settings
    from mrcnn.inference.detector import Detector

    dataset = CocoDataset.of(args.data, args.subset, args.year)
    settings = _settings(
        args,
        NUM_CLASSES=dataset.num_classes,
        IMAGE_MIN_DIM=min(800, args.image_size),
        IMAGES_PER_GPU=args.batch_size,
    )
    detector = Detector(_network(settings), _config(settings))
    truth = dataset.ground_truth
    # The first image of a shape is traced.
    coco.evaluate_model(detector, dataset, truth, limit=args.limit, progress=False, workers=0)
    seconds, found = timed_evaluation(detector, dataset, args)
    whole = sum(seconds.values())
    line = {
        "benchmark": "evaluation parts",
        **{key: value for key, value in vars(args).items() if key != "run"},
        "detections": found,
        "seconds": {part: round(value, 3) for part, value in seconds.items()},
        "share": {part: round(value / whole, 3) for part, value in seconds.items()},
        "seconds_in_all": round(whole, 3),
    }
    print(json.dumps(line))


def timed_evaluation(
    detector: Any, dataset: Dataset, args: argparse.Namespace
) -> tuple[dict[str, float], int]:
    """Evaluate once, one step after the other.

    Args:
        detector: of `mrcnn.inference`.
        dataset: with its `ground_truth`.
        args: limit and coco_engine.

    Returns:
        (the seconds of each part, the number of detections).
    """
    clock = Clock()
    timing = functools.partial(functools.partial, clock.timing)
    with replaced(
        (detection, "load_image", timing("reading")),
        (detector, "prepare", timing("resizing")),
        (detector, "detect_batch", timing("network")),
        (rle, "fill_box", timing("placing the masks")),
        (results, "encode_in_boxes", timing("encoding")),
        (coco, "_evaluate_all", timing("metrics")),
    ):
        evaluate = clock.timing("the rest", coco.evaluate_model)
        truth = Truth.of(dataset.ground_truth, args.coco_engine)  # type: ignore[attr-defined]
        found = evaluate(detector, dataset, truth, limit=args.limit, progress=False, workers=0)
    return clock.seconds, len(found.results)


# --- Engines ------------------------------------------------------------------------------


def engines(args: argparse.Namespace) -> None:
    """Each installed engine beside pycocotools."""
    truth, found = random_case(args.images, args.seed)
    truth = Truth.of(coco_api(truth))
    expected: dict[str, Any] = {}
    for engine in ENGINES:
        if importlib.util.find_spec(engine) is None:
            print(json.dumps({"engine": engine, "installed": False}))
            continue
        for iou_type in coco.IOU_TYPES:
            started = time.perf_counter()
            answer = evaluate(Truth.of(truth, engine), found, iou_type)
            seconds = time.perf_counter() - started
            differences = difference(answer, expected.setdefault(iou_type, answer))
            line = {"engine": engine, "iou_type": iou_type, "seconds": round(seconds, 2)}
            counts = {"images": args.images, "detections": len(found)}
            print(json.dumps({**line, **counts, **differences}), flush=True)


Answer = tuple[dict[str, float], dict[int, dict[str, float]], np.ndarray, np.ndarray]


def evaluate(truth: Truth, found: list[dict[str, Any]], iou_type: str) -> Answer:
    """(the 12 metrics, those of the categories, precision, recall) by the truth's engine."""
    evaluator = coco.evaluator_of(truth, found, iou_type)
    metrics = coco.run_evaluator(evaluator, truth.image_numbers(found, None))
    arrays = (np.asarray(evaluator.eval[name]) for name in ("precision", "recall"))
    return metrics, coco.metrics_of_categories(evaluator), *arrays  # type: ignore[return-value]


def difference(answer: Answer, expected: Answer) -> dict[str, float]:
    """The largest difference of the metrics, and of each array."""
    metrics, _, precision, recall = answer
    known, _, known_precision, known_recall = expected
    return {
        "metrics_differ": max(abs(metrics[name] - known[name]) for name in known),
        "precision_differs": float(np.abs(precision - known_precision).max()),
        "recall_differs": float(np.abs(recall - known_recall).max()),
    }


def random_case(images: int, seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A ground truth in COCO's form, and results near its objects.

    Among them crowds, objects and detections of all sizes, detections of a wrong category, scores
    that are equal, and images with more than 100 detections of one category.
    """
    rng = np.random.default_rng(seed)
    annotations: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []

    def add(image: int, category: int, box: np.ndarray, decimals: int = 3) -> None:
        mask = _ellipse(box)
        if mask_api.area(mask):
            score = float(np.round(rng.beta(2, 2), decimals))
            found.append({**_entry(image, category, mask), "score": score})

    for image in range(1, images + 1):
        for _ in range(rng.poisson(7)):
            sides = np.exp(rng.uniform(np.log(8), np.log(300), 2))
            corner = rng.random(2) * (np.array(SIZE) - sides / 2)
            box = np.concatenate([corner, corner + sides])
            mask, category = _ellipse(box), int(rng.integers(1, CATEGORIES + 1))
            if not mask_api.area(mask):
                continue
            entry = _entry(image, category, mask)
            entry |= {"id": len(annotations) + 1, "iscrowd": int(rng.random() < 0.03)}
            annotations.append({**entry, "area": float(mask_api.area(mask))})
            for _ in range(rng.poisson(2)):
                wrong = rng.random() < 0.1
                told = int(rng.integers(1, CATEGORIES + 1)) if wrong else category
                add(image, told, box + rng.normal(0, 0.12, 4) * np.tile(sides, 2))
        if rng.random() < 0.02:
            for corner in rng.random((130, 2)) * (np.array(SIZE) - 60):
                add(image, 1, np.concatenate([corner, corner + 40]), decimals=1)
    truth = {
        "images": [{"id": n, "height": SIZE[0], "width": SIZE[1]} for n in range(1, images + 1)],
        "categories": [{"id": n, "name": str(n)} for n in range(1, CATEGORIES + 1)],
        "annotations": annotations,
    }
    return truth, found


def _entry(image: int, category: int, mask: dict[str, Any]) -> dict[str, Any]:
    return {
        "image_id": image,
        "category_id": category,
        "bbox": mask_api.toBbox(mask).tolist(),
        "segmentation": {"size": list(SIZE), "counts": mask["counts"].decode()},
    }


def _ellipse(box: np.ndarray) -> dict[str, Any]:
    """Run lengths of an octagon in a box, as far as it lies in the image."""
    y1, x1, y2, x2 = np.clip(box, 0, np.tile(SIZE, 2))
    angles = np.arange(8) * np.pi / 4
    x = (x1 + x2) / 2 + (x2 - x1) / 2 * np.cos(angles)
    y = (y1 + y2) / 2 + (y2 - y1) / 2 * np.sin(angles)
    return mask_api.merge(mask_api.frPyObjects([np.stack([x, y], 1).ravel().tolist()], *SIZE))


if __name__ == "__main__":
    main()
