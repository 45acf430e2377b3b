"""Who computes COCO's metrics: pycocotools, or a package with the same numbers that is faster.

hotcoco (https://github.com/derekallman/hotcoco) gives what pycocotools gives to the last digit, on
COCO's example and on random data sets (tests/evaluation/test_engines.py), some 15 times as fast
(`python -m benchmarks.evaluation engines`). Its overlaps cannot be replaced, as Boundary AP does,
and it is not asked what it matched; both need pycocotools.
"""

from __future__ import annotations

import importlib.util
from typing import Any, Protocol

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

PYCOCOTOOLS, HOTCOCO = "pycocotools", "hotcoco"
ENGINES = (PYCOCOTOOLS, HOTCOCO)


class Evaluator(Protocol):
    """What the engines have in common, as pycocotools names it."""

    @property
    def params(self) -> Any:
        """Which images, categories, thresholds and sizes count."""

    @property
    def eval(self) -> Any:
        """After `accumulate`, the arrays of all thresholds, by name.

        "precision" is [IoU thresholds, recall thresholds, categories, areas, detections an image],
        "recall" the same without the second.
        """

    def evaluate(self) -> None:
        """Match the detections of each image with its objects."""

    def accumulate(self) -> None:
        """Add the images up."""


def check_engine(engine: str) -> None:
    """Check that an engine is known and installed.

    Raises:
        ValueError: it is not.
    """
    if engine not in ENGINES:
        raise ValueError(
            f"engine of the COCO metrics: expected one of {', '.join(ENGINES)}; "
            f"received {engine!r}."
        )
    if importlib.util.find_spec(engine) is None:
        raise ValueError(
            f"engine of the COCO metrics: expected an installed package; {engine} is not. Install "
            f'it (pip install "mrcnn[fast-eval]"), or use {PYCOCOTOOLS}.'
        )


def make_evaluator(objects: COCO, detections: COCO, iou_type: str, engine: str) -> Evaluator:
    """An evaluator that has not run.

    Args:
        objects: the ground truth, with ids from 1 on.
        detections: as annotations with scores, likewise.
        iou_type: "segm" or "bbox".
        engine: one of ENGINES, which is installed.
    """
    if engine == PYCOCOTOOLS:
        return COCOeval(objects, detections, iou_type)
    import hotcoco

    # It indexes data sets by itself. Unlike `loadRes`, this leaves each detection's area as it is.
    indexed = hotcoco.COCO(objects.dataset), hotcoco.COCO(detections.dataset)
    return hotcoco.COCOeval(*indexed, iou_type)
