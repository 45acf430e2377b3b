"""Cityscapes' instance benchmark: result files, and their official average precision.

For each image there is a text file with a line for each detection: the path of its mask, its
label id and its confidence. The same files can be handed in at the benchmark's server. The
average precision is computed by the package `cityscapesscripts`, of Cityscapes' authors.

Results come as dicts in COCO's format, as `mrcnn.evaluation.results` makes them, with label ids as
category ids.
"""

from __future__ import annotations

import copy
import csv
import importlib
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as mask_api
from tqdm import tqdm

from mrcnn.datasets.cityscapes import WITH_INSTANCES, CityscapesDataset
from mrcnn.evaluation.results import Result

# By label name, and "average" for all: {"AP": …, "AP50": …}; NaN where the ground truth
# has no such object.
Metrics = dict[str, dict[str, float]]

METRIC_NAMES = ("AP", "AP50")
AVERAGE = "average"
MASKS = "masks"
OFFICIAL_MODULE = "cityscapesscripts.evaluation.evalInstanceLevelSemanticLabeling"


def write_results(
    folder: str | os.PathLike[str], results: Sequence[Result], image_ids: Iterable[str]
) -> None:
    """Write detections as the benchmark reads them: `ID.txt` and `masks/ID_NUMBER.png`.

    Args:
        folder: where to; made when missing. Files of the same names are overwritten.
        results: in COCO's format, with segmentations; of labels without instances, which the
            benchmark does not know, none is written.
        image_ids: ids of all images evaluated, CITY_SEQUENCE_FRAME; each gets a text file.

    Raises:
        ValueError: a result is of another image, or has no segmentation.
    """
    by_image: dict[str, list[Result]] = {image_id: [] for image_id in image_ids}
    for result in results:
        if result["image_id"] not in by_image:
            raise ValueError(
                f"results: expected detections on the {len(by_image)} images of image_ids; "
                f"received one on {result['image_id']!r}."
            )
        if "segmentation" not in result:
            raise ValueError(
                f"results: expected a segmentation with each detection; one on "
                f"{result['image_id']!r} has only {sorted(result)}."
            )
        if result["category_id"] in WITH_INSTANCES:
            by_image[result["image_id"]].append(result)
    Path(folder, MASKS).mkdir(parents=True, exist_ok=True)
    for image_id, of_image in by_image.items():
        lines = []
        for number, result in enumerate(of_image):
            name = f"{MASKS}/{image_id}_{number:03d}.png"
            mask = mask_api.decode(result["segmentation"]).view(bool)
            Image.fromarray(mask).save(Path(folder, name))
            lines.append(f"{name} {result['category_id']} {result['score']!r}\n")
        Path(folder, f"{image_id}.txt").write_text("".join(lines), encoding="ascii")


def official_ap(
    folder: str | os.PathLike[str],
    dataset: CityscapesDataset,
    image_ids: Iterable[int] | None = None,
    progress: bool = True,
) -> Metrics:
    """Compute the benchmark's average precision of result files with `cityscapesscripts`.

    Objects of less than 100 pixels, groups and what is not labeled count neither for nor
    against.

    Args:
        folder: what `write_results` wrote.
        dataset: prepared; its instance ids are the ground truth.
        image_ids: internal ids of the images to evaluate on; None: all.
        progress: show a progress bar.

    Returns:
        The AP over IoU from 0.5 to 0.95 and at 0.5, in [0, 1], for each of the 8 labels and on
        average over those in the ground truth.

    Raises:
        ImportError: the package is not installed.
        FileNotFoundError: an image has no result file or no instance ids.
    """
    official = official_package()
    chosen = list(dataset.image_ids if image_ids is None else image_ids)
    pairs = []
    for image_id in chosen:
        result = Path(folder, f"{dataset.image_info[image_id]['id']}.txt").resolve()
        truth = dataset.truth_file(image_id, "instances")
        for file, what in ((result, "the results"), (truth, "the instance ids")):
            if not file.is_file():
                raise FileNotFoundError(f"{file}: expected {what} of an image; it is missing.")
        pairs.append((str(result), str(truth)))

    # The steps of the package's own main function, without the files that it leaves behind.
    args = copy.copy(official.args)
    args.predictionPath, args.quiet = str(Path(folder).resolve()), True
    official.setInstanceLabels(args)
    matches: dict[str, Any] = {}
    for result, truth in tqdm(pairs, desc="Match", unit="image", disable=not progress or None):
        instances = official.instances2dict([truth])
        matches |= official.matchGtWithPreds([result], [truth], instances, args)
    averages = official.computeAverages(_average_precisions(official, matches, args), args)
    metrics = {AVERAGE: {"AP": averages["allAp"], "AP50": averages["allAp50%"]}}
    for label, values in averages["classes"].items():
        metrics[label] = {"AP": values["ap"], "AP50": values["ap50%"]}
    return {label: {k: float(v) for k, v in values.items()} for label, values in metrics.items()}


def write_csv(path: str | os.PathLike[str], metrics: Metrics) -> None:
    """Write a line for each label, in full precision, under a header."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["label", *METRIC_NAMES])
        for label, values in metrics.items():
            writer.writerow([label, *(repr(values[name]) for name in METRIC_NAMES)])


def format_table(metrics: Metrics) -> str:
    """A table for the terminal; a dash where the ground truth has no such object."""
    lines = ["              " + "".join(f"{name:>7}" for name in METRIC_NAMES)]
    for label, values in metrics.items():
        numbers = (
            "-" if math.isnan(values[name]) else f"{values[name]:.3f}" for name in METRIC_NAMES
        )
        lines.append(f"{label:<14}" + "".join(f"{number:>7}" for number in numbers))
    return "\n".join(lines)


def _average_precisions(official: ModuleType, matches: dict[str, Any], args: Any) -> np.ndarray:
    """The AP of each label and IoU, [1, labels, thresholds].

    The package fails where a label has objects of which none is found, and detections that all
    lie on what is ignored. One label and threshold at a time, it is known which: an AP of 0.
    """
    precisions = np.zeros((1, len(args.instLabels), len(args.overlaps)))
    one = copy.copy(args)
    for row, label in enumerate(args.instLabels):
        for column, overlap in enumerate(args.overlaps):
            one.instLabels, one.overlaps = [label], [overlap]
            try:
                precisions[0, row, column] = official.evaluateMatches(matches, one).item()
            except IndexError:
                precisions[0, row, column] = 0
    return precisions


class _NumpyWithIn1d:
    """NumPy, with a function that the package calls and NumPy 2.4 no longer has."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    @staticmethod
    def in1d(array: np.ndarray, values: Any) -> np.ndarray:
        return np.isin(array, values).ravel()


def official_package() -> ModuleType:
    """Import the benchmark's own module; where it is missing, an ImportError says how to get it."""
    try:
        official = importlib.import_module(OFFICIAL_MODULE)
    except ImportError as error:
        raise ImportError(
            f"Cityscapes' official average precision needs the package cityscapesscripts "
            f"({error}). Install it: pip install 'mrcnn[cityscapes]'."
        ) from error
    if not hasattr(np, "in1d"):
        setattr(official, "np", _NumpyWithIn1d())  # noqa: B010  its own global of that name
    return official
