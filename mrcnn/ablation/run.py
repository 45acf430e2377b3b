"""One run of a comparison: train an arm with a seed, evaluate it, write down what came out.

A run lives in a folder: `run.json` says what to do, `progress.json` how far it is, `losses.csv`
and `metrics.json` hold the results; `metrics.json` is written last, so that a folder that has
it is finished. Run in a process of its own: `python -m mrcnn.ablation.run FOLDER`. With
`--with-parent` the run ends when its standard input does, which a killed parent closes: no run
is left behind that would write into a folder whose run has been started again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RUN_FILE, PROGRESS_FILE, METRICS_FILE = "run.json", "progress.json", "metrics.json"
LOSSES_FILE = "losses.csv"
WITH_PARENT = "--with-parent"
ORPHAN_STATUS = 3  # exit status of a run whose parent was killed
SECONDS_BETWEEN_REPORTS = 1.0


def write_json(path: str | Path, content: Any) -> None:
    """Write to a temporary name, then rename: a reader sees all of it or nothing."""
    path = Path(path)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
    os.replace(temporary, path)


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out the run of a folder. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder with run.json")
    parser.add_argument(WITH_PARENT, action="store_true", help="end when standard input ends")
    args = parser.parse_args(argv)
    if args.with_parent:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    run(args.folder)
    return 0


def run(folder: Path) -> dict[str, float]:
    """Train and evaluate as `run.json` says.

    `run.json` holds: `dataset`, `year`, `train_subset`, `val_subset`, `settings`, `stages`
    (lists of layers, learning rate, steps), `seed`, `model` (start weights, "none" or a file),
    `exclude` (layers that start at random), `initial_weights` (a file that all arms of the
    seed share), `limit`, `dilation_ratio`, `box_only`.

    Returns:
        The metrics by name, such as `segm/AP` and `boundary/AP`.
    """
    from mrcnn.config import Config
    from mrcnn.data.augment import HorizontalFlip
    from mrcnn.datasets.coco import CocoDataset
    from mrcnn.model import MaskRCNN
    from mrcnn.process import set_random_seed
    from mrcnn.runs import results as runs_results
    from mrcnn.runs import settings as runs_settings
    from mrcnn.runs import start_weights
    from mrcnn.training import stages

    spec = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    started = time.perf_counter()
    dataset, year = spec["dataset"], spec["year"]
    train_set = CocoDataset.of(dataset, spec["train_subset"], year, box_only=spec["box_only"])
    val_set = CocoDataset.of(dataset, spec["val_subset"], year)
    truth = val_set.ground_truth
    base = type("Config", (Config,), {"NAME": "run"})
    settings = {"NUM_CLASSES": train_set.num_classes, **spec["settings"], "SEED": spec["seed"]}
    config = runs_settings.configure(base, settings)
    chosen = [stages.Stage(*stage) for stage in spec["stages"]]
    print(runs_results.describe(config, chosen))

    set_random_seed(spec["seed"])
    shutil.rmtree(folder / "logs", ignore_errors=True)  # of an attempt that was cut short
    model = MaskRCNN("training", config, folder / "logs")
    start_weights.load_start_weights(model, spec["model"], spec["exclude"])
    _share_initial_weights(model, Path(spec["initial_weights"]))
    runs_settings.save_settings(config, model.log_dir)
    model.train_stages(
        train_set,
        val_set,
        chosen,
        augmentation=HorizontalFlip(),
        custom_callbacks=[_progress(folder, config.STEPS_PER_EPOCH)],
    )
    trained = time.perf_counter()
    weights = Path(model.find_last())

    detecting = runs_settings.configure(
        base, {**settings, **runs_settings.inference_settings(config)}
    )
    detector = MaskRCNN("inference", detecting, folder / "logs")
    detector.load_weights(weights, by_name=True)
    metrics = evaluate(
        detector, val_set, truth, folder, int(spec["limit"]), float(spec["dilation_ratio"])
    )
    metrics["seconds/train"] = trained - started
    metrics["seconds/all"] = time.perf_counter() - started
    metrics["seconds/cpu"] = time.process_time()
    shutil.copy(weights.parent / "losses.csv", folder / LOSSES_FILE)
    shutil.copy(weights, folder / "weights.h5")
    runs_settings.save_settings(
        config, folder
    )  # beside them, for `mrcnn evaluate` and `mrcnn edges`
    shutil.rmtree(folder / "logs")
    write_json(folder / METRICS_FILE, metrics)
    return metrics


def evaluate(
    detector: Any,
    dataset: Any,
    truth: Any,
    folder: Path,
    limit: int,
    dilation_ratio: float,
) -> dict[str, float]:
    """COCO metrics of masks and boxes, and Boundary AP; undefined ones are left out."""
    from mrcnn.evaluation import coco
    from mrcnn.evaluation.boundary import boundary_metrics
    from mrcnn.runs import results as runs_results

    metrics, results, _ = coco.evaluate_model(
        detector.detector, dataset, truth, limit=limit, progress=False
    )
    image_ids = [dataset.image_info[k]["id"] for k in dataset.image_ids[: limit or None]]
    boundary = boundary_metrics(truth, results, image_ids, dilation_ratio=dilation_ratio)
    metrics = {**metrics, "boundary": boundary}
    print(coco.format_table(metrics))
    shown = dataset.image_ids[: limit or None]
    shown = shown[:: max(1, len(shown) // 4)][:4]
    runs_results.draw_page(detector, dataset, shown, folder / "detections.png", 0.5)
    return {
        f"{kind}/{name}": value
        for kind, values in metrics.items()
        for name, value in values.items()
        if value != coco.UNDEFINED
    }


def _share_initial_weights(model: Any, path: Path) -> None:
    """Start from the weights of the seed's first run; the first writes them down.

    Layers that only some arms have keep what their own seed gave them.
    """
    if path.is_file():
        model.load_weights(path, by_name=True)
        model.set_log_dir()  # no run to go on from
        return
    from mrcnn.weights.matterport import save_weights

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.stem}.{os.getpid()}.h5")
    save_weights(model.keras_model, temporary)
    os.replace(temporary, path)


def _end_with_parent() -> None:
    # Not through sys.stdin, whose lock Python wants when it ends.
    while os.read(0, 1):
        pass
    os._exit(ORPHAN_STATUS)


def _progress(folder: Path, steps_per_epoch: int) -> Any:
    import keras

    class Progress(keras.callbacks.Callback):
        """Writes the number of steps done, at most once a second."""

        def __init__(self) -> None:
            super().__init__()
            self.done = 0
            self.written = 0.0

        def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
            self.done = epoch * steps_per_epoch

        def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
            self.done += 1
            if time.monotonic() - self.written > SECONDS_BETWEEN_REPORTS:
                write_json(folder / PROGRESS_FILE, {"steps": self.done})
                self.written = time.monotonic()

    return Progress()


if __name__ == "__main__":
    sys.exit(main())
