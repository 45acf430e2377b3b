"""Time and memory of reading large annotations: what `mrcnn train` does before its first step.

    python -m benchmarks.large_annotations --images 118000 --objects 864000

Writes a json of COCO's format, with as many images and objects and outlines of COCO's mean length,
and an empty file for each image. Each of the parts of a start runs in a process of its own, which
prints its seconds and its peak resident memory: `pycocotools` for comparison; `load`, the data set;
`fingerprint`, the digest of a run's identity; `doctor`, the quick check before a training; `epoch`,
the outlines of every image once, in a random order.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

SIDES = 480, 640
CLASSES = 80
MEAN_POINTS = 25  # of an outline
FOLDERS = 1000  # files in each


def write(folder: Path, images: int, objects: int) -> None:
    """Write the data set."""
    (folder / "annotations").mkdir(parents=True)
    names = [f"train/{number // FOLDERS:04d}/{number:012d}.jpg" for number in range(images)]
    for place in sorted({Path(name).parent for name in names}):
        (folder / place).mkdir(parents=True)
    for name in tqdm(names, desc="images", disable=None):
        (folder / name).touch()
    with open(folder / "annotations" / "instances_train.json", "w") as file:
        file.write('{"info": {}, "images": [')
        for number, name in enumerate(names):
            entry = {"id": number, "file_name": name.removeprefix("train/"), "license": 3}
            entry |= {"height": SIDES[0], "width": SIDES[1], "coco_url": f"http://images/{name}"}
            file.write(("," if number else "") + json.dumps(entry))
        file.write('], "annotations": [')
        for number, entry in enumerate(tqdm(_objects(images, objects), "objects", objects)):
            file.write(("," if number else "") + json.dumps(entry))
        categories = [{"id": k, "name": f"class {k}"} for k in range(1, CLASSES + 1)]
        file.write('], "categories": ' + json.dumps(categories) + "}")


def _objects(images: int, count: int) -> Iterator[dict]:
    """Objects in no order of images, as in COCO."""
    rng = np.random.default_rng(0)
    for number in range(count):
        points = 3 + rng.poisson(MEAN_POINTS - 3)
        angles = np.sort(rng.uniform(0, 2 * np.pi, points))
        centre, radius = rng.uniform(60, 400, 2), rng.uniform(8, 60)
        outline = centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        x, y = outline.min(axis=0)
        width, height = outline.max(axis=0) - (x, y)
        yield {
            "segmentation": [np.round(outline, 2).ravel().tolist()],
            "area": round(float(np.pi * radius**2), 3),
            "iscrowd": 0,
            "image_id": int(rng.integers(images)),
            "bbox": [round(float(value), 2) for value in (x, y, width, height)],
            "category_id": int(1 + rng.integers(CLASSES)),
            "id": number + 1,
        }


def pycocotools(folder: Path) -> None:
    """Read the json as an evaluation does."""
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        COCO(folder / "annotations" / "instances_train.json")


def load(folder: Path) -> None:
    """Load the data set that training reads."""
    from mrcnn.datasets.coco import CocoDataset

    CocoDataset.of(folder, "train", ground_truth=False)


def fingerprint(folder: Path) -> None:
    """Load it, and tell which data it is."""
    from mrcnn.checkpoints.fingerprints import fingerprint
    from mrcnn.datasets.coco import CocoDataset

    fingerprint(CocoDataset.of(folder, "train", ground_truth=False))


def doctor(folder: Path) -> None:
    """Check it as before a training."""
    from mrcnn.config import Config
    from mrcnn.doctor.examine import DatasetFiles, examine

    examine(DatasetFiles(folder, val=None), Config(), quick=True, progress=False)


def epoch(folder: Path) -> None:
    """Load it, and rasterize the outlines of every image once."""
    from mrcnn.datasets.coco import CocoDataset

    dataset = CocoDataset.of(folder, "train", ground_truth=False)
    for image_id in np.random.default_rng(0).permutation(dataset.image_ids):
        dataset.load_rles(image_id)


PARTS = (pycocotools, load, fingerprint, doctor, epoch)


def _measure(part: Callable[[Path], None], folder: Path) -> None:
    import mrcnn.datasets.coco  # noqa: F401 - imports take no part

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    part(folder)
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {"part": part.__name__, "seconds": round(seconds, 1)}
    # Linux counts in KiB, macOS in bytes.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    print(json.dumps({**found, "mib": after // unit, "mib before": before // unit}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=118_000)
    parser.add_argument("--objects", type=int, default=864_000)
    parser.add_argument("--parts", nargs="+", default=[part.__name__ for part in PARTS])
    parser.add_argument("--folder", type=Path, help="where the data set is kept for other runs")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (args.folder or Path(temporary)) / f"{args.images}-{args.objects}"
        if not folder.exists():
            write(folder, args.images, args.objects)
        size = (folder / "annotations" / "instances_train.json").stat().st_size
        print(json.dumps({"json mib": size >> 20}), flush=True)
        spawn = multiprocessing.get_context("spawn")
        for part in PARTS:
            if part.__name__ in args.parts:
                process = spawn.Process(target=_measure, args=(part, folder))
                process.start()
                process.join()
                if process.exitcode:
                    raise SystemExit(f"{part.__name__}: ended with {process.exitcode}")


if __name__ == "__main__":
    main()
