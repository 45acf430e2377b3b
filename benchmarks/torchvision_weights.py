"""Detection by torchvision's network and by the same weights converted, side by side.

    python -m benchmarks.torchvision_weights --picture photo.jpg        # pip install ".[bench]"
    python -m benchmarks.torchvision_weights --picture photo.jpg --version 1 --rounds 9

The weights are random, so that nothing need be downloaded, and give as many detections as there is
room for. Both take turns in one process, from the picture to pasted masks, at torchvision's full
size (the shorter side scaled to 800, the longer one to 1333 at most). A JSON line: median seconds
of each, the median of torchvision's time divided by ours in the same round, and how many
detections are the same.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

import mrcnn
from mrcnn.data.boxes import compute_overlaps
from mrcnn.data.images import read_image
from mrcnn.runs.conversion import convert
from tests.torchvision_networks import random_network, torch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picture", required=True)
    parser.add_argument("--version", type=int, choices=(1, 2), default=2)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))

    picture = read_image(args.picture)
    theirs = random_network(args.version, min_size=800, max_size=1333, num_classes=91)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "theirs.pth")
        torch.save(theirs.state_dict(), source)
        convert(source, Path(folder, "own", "weights.h5"))
        own = mrcnn.load(Path(folder, "own", "weights.h5"))
    tensor = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1).float() / 255

    def run_theirs() -> dict[str, np.ndarray]:
        with torch.inference_mode():
            (found,) = theirs([tensor])
        return {name: value.numpy() for name, value in found.items()}

    seconds: dict[str, list[float]] = {"torchvision": [], "mrcnn": []}
    found: dict[str, dict[str, np.ndarray]] = {}
    runs = {"torchvision": run_theirs, "mrcnn": lambda: own.detect([picture])[0]}
    for number in range(args.rounds + 1):  # the first warms up
        for name, run in runs.items():
            start = time.perf_counter()
            found[name] = run()
            if number:
                seconds[name].append(time.perf_counter() - start)
    ratios = [a / b for a, b in zip(seconds["torchvision"], seconds["mrcnn"], strict=True)]
    print(
        json.dumps(
            {
                "version": args.version,
                "picture": list(picture.shape[:2]),
                **{name: round(statistics.median(values), 3) for name, values in seconds.items()},
                "times torchvision's speed": round(statistics.median(ratios), 2),
                "spread": [round(min(ratios), 2), round(max(ratios), 2)],
                **_compared(found["torchvision"], found["mrcnn"]),
            }
        )
    )


def _compared(theirs: dict[str, np.ndarray], own: dict[str, np.ndarray]) -> dict[str, float]:
    """How many detections each has, and how many of them are the same; `rois` are rounded."""
    boxes = theirs["boxes"][:, [1, 0, 3, 2]]
    same = compute_overlaps(boxes, own["rois"].astype(np.float64)) > 0.8
    same &= theirs["labels"][:, None] == own["class_ids"][None]
    same &= np.abs(theirs["scores"][:, None] - own["scores"][None]) < 1e-4
    return {"of torchvision": len(boxes), "own": len(own["rois"]), "same": int(same.any(1).sum())}


if __name__ == "__main__":
    main()
