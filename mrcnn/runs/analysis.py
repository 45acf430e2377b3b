"""What a run gets wrong, as files beside its metrics."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mrcnn.drawing.analysis import analysis_page
from mrcnn.evaluation import errors
from mrcnn.evaluation.ground_truth import Truth
from mrcnn.evaluation.results import Result
from mrcnn.logger import logger

BACKGROUND = "background"


def write_analysis(
    folder: Path,
    name: str,
    truth: Truth,
    results: Sequence[Result],
    image_ids: Sequence[Any],
    names: Mapping[Any, str],
) -> errors.Matching:
    """Match detections with objects, show what the errors cost, and write the analysis.

    Writes `errors_<name>.csv` (what each kind of error costs), `curves_<name>.csv` (precision,
    recall and F1 of each class over the score), `confusion_<name>.csv`, and `analysis_<name>.png`
    of all of it.

    Args:
        folder: where they go.
        name: of the split.
        truth: the ground truth.
        results: in COCO's format.
        image_ids: of the ground truth.
        names: of the categories by id.

    Returns:
        The matching.
    """
    matching = errors.match(truth, results, image_ids)
    by_number = {
        number: names.get(category, str(category)) for category, number in truth.categories.items()
    }
    costs = errors.costs(matching)
    numbers = list(truth.categories.values())
    found = errors.curves(matching)
    curves = [found.get(number, errors.NO_CURVE) for number in numbers]
    together = errors.curve_of_all(matching)
    confusion = errors.confusion(matching, numbers, together.best_score)
    labels = _unique([by_number[number] for number in numbers])
    by_label = dict(zip(labels, curves, strict=True))
    _write_costs(folder / f"errors_{name}.csv", costs)
    _write_curves(folder / f"curves_{name}.csv", by_label)
    _write_confusion(folder / f"confusion_{name}.csv", [*labels, BACKGROUND], confusion)
    page = analysis_page(
        folder / f"analysis_{name}.png",
        by_label,
        together,
        confusion,
        costs,
        errors.IOU,
    )
    logger.info(_sentence(costs, together))
    logger.info(f"Errors: {page}; errors_{name}.csv, curves_{name}.csv, confusion_{name}.csv")
    return matching


def _sentence(costs: Mapping[str, errors.Cost], together: errors.Curve) -> str:
    told = ", ".join(
        f"{kind} {100 * cost.ap:.1f} ({cost.number})" for kind, cost in costs.items() if cost.number
    )
    best = ""
    if len(together.scores):
        place = int(together.f1.argmax())
        best = (
            f" The best F1 of masks is {together.f1[place]:.3f}, of detections from a score of "
            f"{together.best_score:.2f} on."
        )
    return f"Points of mask AP50 that errors cost (number of them): {told or 'none'}.{best}"


def _unique(labels: Sequence[str]) -> list[str]:
    """Labels of which none stands twice: two classes may have one name."""
    seen: dict[str, int] = {}
    unique = []
    for label in labels:
        seen[label] = seen.get(label, 0) + 1
        unique.append(label if seen[label] == 1 else f"{label} ({seen[label]})")
    return unique


def _write_costs(path: Path, costs: Mapping[str, errors.Cost]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["error", "count", "AP50_cost"])
        writer.writerows([kind, cost.number, repr(cost.ap)] for kind, cost in costs.items())


def _write_curves(path: Path, curves: Mapping[str, errors.Curve]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["category", "score", "precision", "recall", "f1"])
        for name, curve in curves.items():
            for row in zip(curve.scores, curve.precision, curve.recall, curve.f1, strict=True):
                writer.writerow([name, *(f"{value:.6f}" for value in row)])


def _write_confusion(path: Path, labels: Sequence[str], counts: Any) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["object", *labels])
        for label, row in zip(labels, counts.tolist(), strict=True):
            writer.writerow([label, *row])
