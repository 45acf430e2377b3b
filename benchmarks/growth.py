"""How the cost of a training step grows with the size of what it is given.

    python -m benchmarks.growth --output growth.png

One process for each point (peak memory is that of a process): image size, RoIs per image, objects
per image, classes and batch size are varied one at a time around a small network's step. Prints a
JSON line for each point and draws step time and memory over each, with the line of proportional
growth.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tqdm import tqdm

BASE = {
    "IMAGE_SIZE": 256,
    "TRAIN_ROIS_PER_IMAGE": 100,
    "MAX_GT_INSTANCES": 50,
    "NUM_CLASSES": 21,
    "IMAGES_PER_GPU": 2,
}
AXES: dict[str, tuple[int, ...]] = {
    "IMAGE_SIZE": (128, 256, 384, 512),
    "TRAIN_ROIS_PER_IMAGE": (25, 50, 100, 200),
    "MAX_GT_INSTANCES": (10, 50, 200, 500),
    "NUM_CLASSES": (2, 21, 81, 321),
    "IMAGES_PER_GPU": (1, 2, 4, 8),
}
# Work grows with the area of the image, not with its side.
POWERS = {"IMAGE_SIZE": 2}


def measure(settings: dict[str, int], backbone: str, steps: int) -> dict[str, Any]:
    """One point, in a process of its own."""
    settings = dict(settings)
    command = [
        *(sys.executable, "-m", "benchmarks.training_step", "--backbone", backbone),
        *("--image-size", str(settings.pop("IMAGE_SIZE")), "--steps", str(steps), "--set"),
        *(f"{name}={value}" for name, value in settings.items()),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[2:])} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def plot(points: list[dict[str, Any]], path: str) -> None:
    """Save a PNG: time above, memory below, one column for each quantity."""
    figure = Figure(figsize=(3.2 * len(AXES), 6), dpi=100, layout="constrained")
    axes = figure.subplots(2, len(AXES), squeeze=False)
    for column, axis in enumerate(AXES):
        rows = sorted((p for p in points if p["axis"] == axis), key=lambda p: p["value"])
        values = [row["value"] for row in rows]
        for row, (key, unit) in enumerate((("best_seconds", "s a step"), ("peak_gb", "GB"))):
            ax = axes[row, column]
            found = [point[key] for point in rows]
            ax.plot(values, found, "o-", color="C0", lw=1.5)
            power = POWERS.get(axis, 1)
            line = [found[-1] * (value / values[-1]) ** power for value in values]
            ax.plot(values, line, "--", color="0.6", lw=1, label="proportional")
            ax.set_ylim(0, None)
            ax.set_xlabel(axis, fontsize=8)
            ax.set_ylabel(unit, fontsize=8)
            ax.tick_params(labelsize=7)
            ax.grid(True, color="0.9", lw=0.6)
    axes[0, 0].legend(fontsize=7)
    FigureCanvasAgg(figure).print_png(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="growth.png")
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--steps", type=int, default=4)
    args = parser.parse_args()
    points = []
    jobs = [(axis, value) for axis, values in AXES.items() for value in values]
    for axis, value in tqdm(jobs, unit="point"):
        found = measure({**BASE, axis: value}, args.backbone, args.steps)
        point = {"axis": axis, "value": value}
        for key in ("seconds", "best_seconds", "processor_seconds", "gflop", "peak_gb"):
            point[key] = found[key]
        points.append(point)
        print(json.dumps(point), flush=True)
    plot(points, args.output)


if __name__ == "__main__":
    main()
