"""Does a detector learn faster from a pretrained backbone? Shapes, from crops of the same images.

    python -m benchmarks.pretraining OUTPUT --seeds 0 1 2

For each seed the demo's small network learns the demo's shapes twice, once from random weights and
once from a backbone that was pretrained on the objects and empty windows of the same training
images (`mrcnn pretrain`). All else is equal: settings, batches, length. Each run is a row of
`OUTPUT/runs.csv`, written when it is done; the same command continues with those that are missing.
The Markdown table at the end has means over the seeds, and the differences seed by seed.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

STARTS = ("random", "pretrained")
# Of a run: mean losses of its last epoch, and COCO's AP on images that it has not seen.
FIGURES = ("loss", "mrcnn_class_loss", "mrcnn_mask_loss", "val_loss", "segm AP", "segm AP50")
COLUMNS = ("seed", "start", "steps", *FIGURES, "cpu seconds")
PRETRAIN_BATCH = 16

Row = Mapping[str, str | float]


def pretrain(output: Path, data: Path, seed: int, steps: int) -> tuple[Path, float]:
    """Pretrain on the crops of a data set. Returns the weights and the CPU seconds it took."""
    from mrcnn.config import Config
    from mrcnn.data.augment import HorizontalFlip
    from mrcnn.datasets.coco import CocoDataset
    from mrcnn.datasets.crops import CropDataset
    from mrcnn.process import set_random_seed
    from mrcnn.runs.pretraining import SETTINGS, BackboneClassifier
    from mrcnn.runs.settings import configure
    from mrcnn.training import stages

    started = time.process_time()
    crops, val_crops = (CropDataset(CocoDataset.of(data, name), seed) for name in ("train", "val"))
    own = {"NAME": f"backbone{seed}", "BACKBONE": "resnet10", "NUM_CLASSES": crops.num_classes}
    length = {"IMAGES_PER_GPU": PRETRAIN_BATCH, "STEPS_PER_EPOCH": steps, "VALIDATION_STEPS": 4}
    config = configure(Config, {**SETTINGS, **own, **length, "SEED": seed})
    set_random_seed(seed)
    model = BackboneClassifier("training", config, output / "logs")
    schedule = stages.of_length(stages.schedule("scratch"), steps)
    model.train_stages(crops, val_crops, schedule, augmentation=HorizontalFlip())
    return Path(model.find_last()), time.process_time() - started


def detect(output: Path, data: Path, seed: int, start: str, weights: Path, steps: int) -> Row:
    """Train the demo's network from a start, and evaluate it."""
    from mrcnn.commands.demo import DemoConfig
    from mrcnn.data.augment import HorizontalFlip
    from mrcnn.datasets.coco import CocoDataset
    from mrcnn.evaluation import coco
    from mrcnn.model import MaskRCNN
    from mrcnn.process import set_random_seed
    from mrcnn.runs.settings import configure
    from mrcnn.runs.start_weights import load_start_weights
    from mrcnn.runs.trained import open_run
    from mrcnn.training.stages import Stage

    started = time.process_time()
    train_set, val_set = CocoDataset.of(data, "train"), CocoDataset.of(data, "val")
    config = configure(DemoConfig, {"SEED": seed, "RUN_NAME": f"{start}{seed}"})
    set_random_seed(seed)
    model = MaskRCNN("training", config, output / "logs")
    load_start_weights(model, str(weights) if start == "pretrained" else "none")
    model.train_stages(
        train_set, val_set, [Stage("all", 5e-4, steps)], augmentation=HorizontalFlip()
    )
    with open(Path(model.log_dir, "losses.csv"), newline="", encoding="utf-8") as file:
        *_, last = csv.DictReader(file)
    detector = open_run(model.find_last(), DemoConfig, every_detection=True)
    metrics, *_ = coco.evaluate_model(detector.detector, val_set, val_set.ground_truth)
    found = {f"segm {name}": value for name, value in metrics["segm"].items()}
    figures = {name: float({**last, **found}[name]) for name in FIGURES}
    seconds = time.process_time() - started
    return {"seed": seed, "start": start, "steps": steps, **figures, "cpu seconds": seconds}


def table(rows: Sequence[Row]) -> list[str]:
    """Markdown: means over the seeds that have both starts, and the mean difference ± deviation."""
    by_start = {
        start: {int(row["seed"]): row for row in rows if row["start"] == start} for start in STARTS
    }
    seeds = sorted(by_start["random"].keys() & by_start["pretrained"].keys())
    lines = [f"| {len(seeds)} seeds | random | pretrained | difference |", "|---|---|---|---|"]
    for name in FIGURES:
        random, own = (
            np.array([float(by_start[start][seed][name]) for seed in seeds]) for start in STARTS
        )
        spread = np.std(own - random, ddof=1) if len(seeds) > 1 else 0.0
        difference = f"{np.mean(own - random):+.3f} ± {spread:.3f}"
        lines.append(f"| {name} | {random.mean():.3f} | {own.mean():.3f} | {difference} |")
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=200, help="of a detector (200)")
    parser.add_argument("--pretrain-steps", type=int, default=200, help="of a backbone (200)")
    args = parser.parse_args(argv)
    from mrcnn.commands.demo import TRAIN_IMAGES, VAL_IMAGES
    from mrcnn.datasets.shapes import write_shapes

    data, file = args.output / "shapes", args.output / "runs.csv"
    if not data.is_dir():
        write_shapes(data, TRAIN_IMAGES, VAL_IMAGES)
    rows = read_rows(file)
    done = {(int(row["seed"]), row["start"]) for row in rows}
    for seed in args.seeds:
        if all((seed, start) in done for start in STARTS):
            continue
        weights, seconds = pretrain(args.output, data, seed, args.pretrain_steps)
        print(f"seed {seed}: {args.pretrain_steps} steps took {seconds:.0f} CPU seconds: {weights}")
        for start in STARTS:
            if (seed, start) not in done:
                row = detect(args.output, data, seed, start, weights, args.steps)
                write_row(file, row)
                rows.append(row)
    print("\n".join(table(rows)))
    return 0


def read_rows(file: Path) -> list[Row]:
    """The rows of the runs that are done; none where there is no file."""
    if not file.is_file():
        return []
    with open(file, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def write_row(file: Path, row: Row) -> None:
    """Add a row to the file, which begins with a header."""
    new = not file.is_file()
    with open(file, "a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        if new:
            writer.writeheader()
        writer.writerow(row)


if __name__ == "__main__":
    sys.exit(main())
