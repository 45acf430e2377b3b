"""Seconds of a picture in exported files, each in its own runtime, compared with the network's.

    python -m benchmarks.exported --picture photo.jpg --model logs/nuts20260101T1200
    python -m benchmarks.exported --picture photo.jpg --formats onnx openvino --weights int8

The files are made for the picture's size, and take turns with the network in one process, so that
a busy machine slows all alike: compare the ratios. A JSON line for each: median seconds, and the
median of the network's time divided by the file's in the same round. Resizing and suppression are
part of both; masks are not pasted. Without a model, random weights (--backbone, --image-size).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks import inference
from mrcnn.data.images import read_image
from mrcnn.export.exporting import ExportSettings, export
from mrcnn.export.formats import FORMATS, WEIGHTS
from mrcnn.model import MaskRCNN
from mrcnn.runs.trained import open_run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picture", required=True)
    parser.add_argument("--model", help="a run's folder or a weights file")
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--image-size", type=int, default=512)
    parser.add_argument("--formats", nargs="+", choices=tuple(FORMATS), default=list(FORMATS))
    parser.add_argument("--weights", choices=WEIGHTS, default="float32")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()

    picture = read_image(args.picture)
    model = _model(args)
    runs: dict[str, Callable[[], object]] = {
        "network": lambda: model.detector.detect_compact([picture])
    }
    with tempfile.TemporaryDirectory() as folder:
        for name in args.formats:
            form = FORMATS[name]
            weights = args.weights if args.weights in form.weights else "float32"
            settings = ExportSettings(name, picture.shape[:2], weights)
            done = export(model.detector, Path(folder, name), settings, [picture])
            runs[name] = _on(form.load(done.path), picture)
        seconds = _take_turns(runs, args.rounds)
    for name, values in seconds.items():
        ratios = [own / other for own, other in zip(seconds["network"], values, strict=True)]
        line = {"what": name, "seconds": round(statistics.median(values), 4)}
        print(
            json.dumps({**line, "times the network's speed": round(statistics.median(ratios), 2)})
        )


def _model(args: argparse.Namespace) -> MaskRCNN:
    if args.model:
        return open_run(args.model, overrides={"IMAGES_PER_GPU": 1})
    wanted = {"batch_size": 1, "classes": 81, "dtype": "float32", "set": []}
    return inference.build(argparse.Namespace(**{**vars(args), **wanted}), min_confidence=0.7)


def _on(run: Callable[[np.ndarray], object], picture: np.ndarray) -> Callable[[], object]:
    return lambda: run(picture[None])


def _take_turns(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if number:  # the first call prepares
                seconds[name].append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    main()
