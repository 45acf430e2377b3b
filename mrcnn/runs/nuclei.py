"""The small network that comes with the package: it finds nuclei, without data or downloads.

Its card, with data, scores and limits, is `mrcnn/nuclei-model/README.md`.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import mrcnn

FOLDER = Path(mrcnn.__file__).parent / "nuclei-model"
WEIGHTS = FOLDER / "nuclei.safetensors"
ANNOTATIONS = FOLDER / "annotations.json"
CARD = FOLDER / "README.md"
PICTURES = (FOLDER / "fluorescence.png", FOLDER / "stained.png")
IOU = 0.5  # from which a detection counts as right


class Count(NamedTuple):
    """How well a picture went.

    Attributes:
        name: of the picture.
        objects: that are annotated.
        found: of them, by a mask of at least `IOU`.
        wrong: detections that are none of them.
    """

    name: str
    objects: int
    found: int
    wrong: int

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.found} of {self.objects} nuclei found; {self.wrong} other "
            "detections"
        )


def compare(results: Sequence[dict[str, Any]]) -> tuple[list[Count], float]:
    """What was found in `PICTURES`, beside their annotations.

    Args:
        results: COCO's results, with the ids of `ANNOTATIONS`.

    Returns:
        (a count a picture; the mask AP of COCO over all of them)
    """
    from pycocotools.coco import COCO

    from mrcnn.evaluation.boundary import DILATION_RATIO
    from mrcnn.evaluation.ground_truth import Truth
    from mrcnn.evaluation.matches import evaluate_kinds
    from mrcnn.files.untrusted import load_json

    truth = COCO()
    truth.dataset = load_json(ANNOTATIONS)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does
        truth.createIndex()
    images = truth.dataset["images"]
    ids = [entry["id"] for entry in images]
    metrics, matches = evaluate_kinds(Truth.of(truth), results, ids, ("segm",), DILATION_RATIO)
    found = matches["segm"]
    row = int(np.argmin(np.abs(found.thresholds - IOU)))
    counts = []
    for place, entry in enumerate(images):
        right = found.true[row] & (found.images == place)
        wrong = ~found.true[row] & ~found.ignored[row] & (found.images == place)
        numbers = (int(found.objects[place].sum()), int(right.sum()), int(wrong.sum()))
        counts.append(Count(entry["file_name"], *numbers))
    return counts, float(metrics["segm"]["AP"])
