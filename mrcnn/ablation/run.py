"""One run of a comparison: train an arm with a seed, evaluate it, write down what came out.

A run lives in a folder: `run.json` says what to do, `progress.json` how far it is, `losses.csv`,
`matches.npz` and `metrics.json` hold the results; `metrics.json` is written last, so that a folder
that has it is finished. Run in a process of its own: `python -m mrcnn.ablation.run FOLDER`. With
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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mrcnn.files.atomic import write_json
from mrcnn.training.stages import Stage

if TYPE_CHECKING:
    import keras

    from mrcnn.datasets.coco import CocoDataset
    from mrcnn.datasets.division import Division
    from mrcnn.model import MaskRCNN
    from mrcnn.runs.results import Split

RUN_FILE, PROGRESS_FILE, METRICS_FILE = "run.json", "progress.json", "metrics.json"
LOSSES_FILE, WEIGHTS_FILE, PAGE_FILE = "losses.csv", "weights.h5", "detections.png"
MATCHES_FILE, PAGE_RESULTS_FILE = "matches.npz", "page.json"
PAGE_IMAGES = 4
WITH_PARENT = "--with-parent"
ORPHAN_STATUS = 3  # exit status of a run whose parent was killed
SECONDS_BETWEEN_REPORTS = 1.0


@dataclass(frozen=True)
class RunSpec:
    """What a run does: the content of `run.json`.

    Attributes:
        dataset: folder in COCO's layout; `year`, `train_subset`, `val_subset` name its files.
        settings: of the configuration, by name.
        stages: see `mrcnn.training.stages`.
        seed: of weights, batches and target sampling.
        model: start weights: "none", or what `mrcnn train --model` takes.
        exclude: layers that start at random all the same.
        initial_weights: a file that all arms of the seed share; the first run writes it.
        limit: validation images to evaluate; 0: all.
        dilation_ratio: of Boundary AP, in parts of the image's diagonal.
        box_only: annotations may lack a segmentation.
        skip_invalid: annotations that cannot be used are left out.
        augment: names of changes of the training images.
        split: folder of the `split.json` that divides the data set; "": it is not divided.
        image_dir: where the images are, see `CocoDataset.of`; None: beside their json.
    """

    dataset: str
    year: str
    train_subset: str
    val_subset: str
    settings: dict[str, Any]
    stages: list[Stage]
    seed: int
    model: str
    exclude: list[str]
    initial_weights: str
    limit: int
    dilation_ratio: float
    box_only: bool
    skip_invalid: bool = False
    augment: Sequence[str] = ("flip",)
    split: str = ""
    image_dir: str | None = None

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The spec of a run's folder."""
        content = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
        return cls(**{**content, "stages": [Stage(*stage) for stage in content["stages"]]})

    def write(self, folder: Path) -> None:
        """Write `run.json`."""
        stages = [stage.as_tuple() for stage in self.stages]
        write_json(folder / RUN_FILE, {**asdict(self), "stages": stages})


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out the run of a folder. Returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder with run.json")
    parser.add_argument(WITH_PARENT, action="store_true", help="end when standard input ends")
    args = parser.parse_args(argv)
    if args.with_parent:
        threading.Thread(target=end_with_parent, daemon=True).start()
    train_and_evaluate(args.folder)
    return 0


def train_and_evaluate(folder: Path) -> dict[str, float]:
    """Train and evaluate as `run.json` says.

    Returns:
        The metrics by name, such as `segm/AP` and `boundary/AP`.
    """
    from mrcnn.runs.results import Split
    from mrcnn.runs.trained import open_run

    spec = RunSpec.read(folder)
    started = time.perf_counter()
    train_set, val_set = load_subset(spec, spec.train_subset), load_subset(spec, spec.val_subset)
    weights = _train(spec, folder, train_set, val_set)
    if (division := _division(spec)) is not None:
        division.write(folder)  # for `mrcnn evaluate`
    trained = time.perf_counter()
    detector = open_run(weights, every_detection=True)
    split = Split(val_set, val_set.ground_truth, spec.val_subset, spec.limit)
    metrics = _evaluate(detector, split, folder, spec.dilation_ratio)
    metrics["seconds/train"] = trained - started
    metrics["seconds/all"] = time.perf_counter() - started
    metrics["seconds/cpu"] = time.process_time()
    _keep(weights, folder)
    write_json(folder / METRICS_FILE, metrics)
    return metrics


def load_subset(spec: RunSpec, subset: str) -> CocoDataset:
    """The training or the validation images of a run."""
    from mrcnn.datasets.coco import CocoDataset

    return CocoDataset.of(
        *(spec.dataset, subset, spec.year),
        box_only=spec.box_only,
        skip_invalid=spec.skip_invalid,
        ground_truth=subset == spec.val_subset,
        division=_division(spec),
        image_dir=spec.image_dir,
    )


def _division(spec: RunSpec) -> Division | None:
    """How the data set of a run is divided.

    Raises:
        FileNotFoundError: `split.json` is gone.
    """
    from mrcnn.datasets.division import Division

    if not spec.split:
        return None
    division = Division.read(spec.split)
    if division is None:
        raise FileNotFoundError(f"{spec.split}: expected split.json; there is no such file.")
    return division


def start_model(
    spec: RunSpec, num_classes: int, logs: Path, settings: Mapping[str, Any] | None = None
) -> MaskRCNN:
    """The network of a run before its first step, with the weights that its seed's arms share.

    Args:
        spec: what the run does.
        num_classes: of the data set.
        logs: folder of the log folders.
        settings: in the place of the spec's.
    """
    from mrcnn.config import Config
    from mrcnn.model import MaskRCNN
    from mrcnn.process import set_random_seed
    from mrcnn.runs.settings import configure
    from mrcnn.runs.start_weights import load_start_weights

    own = spec.settings if settings is None else settings
    config = configure(
        Config, {"NAME": "run", "NUM_CLASSES": num_classes, **own, "SEED": spec.seed}
    )
    set_random_seed(spec.seed)
    model = MaskRCNN("training", config, logs)
    load_start_weights(model, spec.model, spec.exclude)
    _share_initial_weights(model, Path(spec.initial_weights))
    return model


def _train(spec: RunSpec, folder: Path, train_set: CocoDataset, val_set: CocoDataset) -> Path:
    """Train as a spec says. Returns the last weights file, in the folder's `logs`."""
    from mrcnn.data.augment import by_name
    from mrcnn.logger import logger
    from mrcnn.runs.results import describe_run

    shutil.rmtree(folder / "logs", ignore_errors=True)  # of an attempt that was cut short
    model = start_model(spec, train_set.num_classes, folder / "logs")
    logger.info(describe_run(model.config, spec.stages))
    model.train_stages(
        train_set,
        val_set,
        spec.stages,
        augmentation=by_name(spec.augment),
        custom_callbacks=[_progress(folder)],
    )
    return Path(model.find_last())


def _evaluate(
    detector: MaskRCNN, split: Split, folder: Path, dilation_ratio: float
) -> dict[str, float]:
    """COCO metrics of masks and boxes, and Boundary AP; undefined ones are left out.

    Those of the detector's own boxes, and those of the masks in the boxes of the ground truth.
    What was matched is written beside them.
    """
    from mrcnn.evaluation import coco
    from mrcnn.evaluation.detection import detect_images
    from mrcnn.evaluation.ground_truth import Truth
    from mrcnn.evaluation.matches import evaluate_kinds, write_matches
    from mrcnn.logger import logger
    from mrcnn.runs import given_boxes
    from mrcnn.runs.results import Page, draw_page

    truth = Truth.of(split.ground_truth)
    image_ids = coco.choose_images(split.dataset, None, split.limit)
    source_ids = [split.dataset.image_info[image_id]["id"] for image_id in image_ids]
    results, _ = detect_images(detector.detector, split.dataset, image_ids, progress=False)
    metrics, matches = evaluate_kinds(truth, results, source_ids, dilation_ratio=dilation_ratio)
    on_truth = given_boxes.evaluate_on_ground_truth_boxes(
        detector, split, dilation_ratio, progress=False, truth=truth
    )
    for kind in given_boxes.KINDS:
        metrics[f"{kind}{given_boxes.SUFFIX}"] = on_truth.metrics[kind]
        matches[f"{kind}{given_boxes.SUFFIX}"] = on_truth.matches[kind]
    logger.info(coco.format_table(metrics))
    write_matches(folder / MATCHES_FILE, matches)
    shown = [split.dataset.image_info[image_id]["id"] for image_id in split.sample_ids(PAGE_IMAGES)]
    of_page = [result for result in results if result["image_id"] in shown]
    write_json(folder / PAGE_RESULTS_FILE, {"image_ids": shown, "results": of_page})
    draw_page(detector, split, folder / PAGE_FILE, Page(images=PAGE_IMAGES))
    return {
        f"{kind}/{name}": value
        for kind, values in metrics.items()
        for name, value in values.items()
        if value != coco.UNDEFINED
    }


def _keep(weights: Path, folder: Path) -> None:
    """Move what a run is known by out of its `logs`, and remove these.

    The settings lie beside the weights, for `mrcnn evaluate` and `mrcnn edges`.
    """
    from mrcnn.runs.settings import SETTINGS_FILE

    shutil.copy(weights.parent / LOSSES_FILE, folder / LOSSES_FILE)
    shutil.copy(weights, folder / WEIGHTS_FILE)
    shutil.copy(weights.parent / SETTINGS_FILE, folder / SETTINGS_FILE)
    shutil.rmtree(folder / "logs")


def _share_initial_weights(model: MaskRCNN, path: Path) -> None:
    """Start from the weights of the seed's first run; the first writes them down.

    Layers that only some arms have keep what their own seed gave them.
    """
    if path.is_file():
        model.load_weights(path, by_name=True)
        model.set_log_dir()
        return
    from mrcnn.weights.matterport import save_weights

    save_weights(model.keras_model, path)


def end_with_parent() -> None:
    """End the process when its standard input does, which a killed parent closes."""
    # Not through sys.stdin, whose lock Python wants when it ends.
    while os.read(0, 1):
        pass
    os._exit(ORPHAN_STATUS)


def _progress(folder: Path) -> keras.callbacks.Callback:
    import keras

    class Progress(keras.callbacks.Callback):
        """Writes the number of steps done, at most once a second."""

        def __init__(self) -> None:
            super().__init__()
            self.steps = 0
            self.written = 0.0

        def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
            self.steps += 1
            if time.monotonic() - self.written > SECONDS_BETWEEN_REPORTS:
                write_json(folder / PROGRESS_FILE, {"steps": self.steps})
                self.written = time.monotonic()

    return Progress()


if __name__ == "__main__":
    sys.exit(main())
