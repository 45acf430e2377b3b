"""COCO's metrics of results that are too many to be held at once.

The images are evaluated some at a time, and of each detection only what adding up needs is kept:
its score, its place in the image's order, and at which thresholds it matches an object of which
size: 93 bytes for each kind of overlap. The numbers are those of
`mrcnn.evaluation.coco.evaluate_results`; the ground truth is held as a whole.

Shape letters: A areas (all sizes, small, medium, large), T IoU thresholds, D detections, C
categories.
"""

from __future__ import annotations

import contextlib
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pycocotools.cocoeval import COCOeval

from mrcnn.evaluation.boundary import DILATION_RATIO
from mrcnn.evaluation.coco import IOU_TYPES, METRIC_NAMES, UNDEFINED, Metrics
from mrcnn.evaluation.ground_truth import Truth
from mrcnn.evaluation.matches import BOUNDARY, evaluator_of_kind, mean_precision
from mrcnn.evaluation.results import Result

KINDS = (*IOU_TYPES, BOUNDARY)
_AREAS = ("", "_S", "_M", "_L")
_LIMITS = (1, 10, 100)  # detections of an image


@dataclass(frozen=True, eq=False)
class _Kept:
    """What is kept of some images' detections of one category.

    Attributes:
        scores: float64 [D].
        images: int32 [D], the numbers of their images.
        ranks: uint8 [D], the place by score in the image.
        true, ignored: bool [A, T, D].
    """

    scores: np.ndarray
    images: np.ndarray
    ranks: np.ndarray
    true: np.ndarray
    ignored: np.ndarray


class InParts:
    """An evaluation that is given the results of some images at a time.

    Args:
        truth: the ground truth.
        kinds: of overlap: "segm", "bbox" and "boundary".
        dilation_ratio: of "boundary".
    """

    def __init__(
        self,
        truth: Truth,
        kinds: Sequence[str] = KINDS,
        dilation_ratio: float = DILATION_RATIO,
    ) -> None:
        self._truth, self._kinds, self._ratio = truth, tuple(kinds), dilation_ratio
        self._ids = {number: id for id, number in truth.images.items()}
        self._objects_of: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for entry in truth.objects:
            self._objects_of[entry["image_id"]].append(entry)
        self._seen: set[int] = set()
        self._kept: dict[str, dict[int, list[_Kept]]] = {
            kind: defaultdict(list) for kind in self._kinds
        }
        self._objects = {
            kind: np.zeros((len(_AREAS), len(truth.categories)), np.int64) for kind in self._kinds
        }
        self._thresholds = np.zeros(0)

    def add(self, image_ids: Iterable[Any], results: Sequence[Result]) -> None:
        """Evaluate some images.

        Args:
            image_ids: ids in the ground truth, those without results too.
            results: of these images, in COCO's format.

        Raises:
            ValueError: an image is not in the ground truth, was given before, or is that of a
                result and not among `image_ids`.
        """
        numbers = self._truth.image_numbers(results, image_ids)
        ids = {number: self._ids[number] for number in numbers}
        twice = self._seen.intersection(numbers)
        if twice:
            raise ValueError(
                f"image_ids: expected each image once; {len(twice)} were given before, such as "
                f"{ids[min(twice)]!r}."
            )
        of_others = {r["image_id"] for r in results} - set(ids.values())
        if of_others:
            raise ValueError(
                f"results: expected those of the images that were given; received some of "
                f"{len(of_others)} others, such as {min(of_others, key=str)!r}."
            )
        self._seen.update(numbers)
        part = replace(
            self._truth,
            objects=[entry for number in numbers for entry in self._objects_of[number]],
            sizes={number: self._truth.sizes[number] for number in numbers},
        )
        for kind in self._kinds:
            evaluator = evaluator_of_kind(part, results, kind, self._ratio)
            evaluator.params.imgIds = numbers
            evaluator.params.maxDets = list(_LIMITS)
            with contextlib.redirect_stdout(io.StringIO()):
                evaluator.evaluate()
            self._keep(kind, evaluator)

    def _keep(self, kind: str, evaluator: COCOeval) -> None:
        params = evaluator.params
        self._thresholds = np.asarray(params.iouThrs, np.float64)
        images, areas = len(params.imgIds), len(params.areaRng)
        for category in range(len(params.catIds)):
            parts = []
            for place, number in enumerate(params.imgIds):
                entries = [
                    evaluator.evalImgs[(category * areas + area) * images + place]
                    for area in range(areas)
                ]
                if entries[0] is None:
                    continue
                for area, entry in enumerate(entries):
                    counted = np.count_nonzero(np.asarray(entry["gtIgnore"]) == 0)
                    self._objects[kind][area, category] += counted
                scores = np.asarray(entries[0]["dtScores"], np.float64)
                ignored = np.stack([np.asarray(e["dtIgnore"]) > 0 for e in entries])
                true = np.stack([np.asarray(e["dtMatches"]) > 0 for e in entries]) & ~ignored
                parts.append(
                    _Kept(
                        scores,
                        np.full(len(scores), number, np.int32),
                        np.arange(len(scores), dtype=np.uint8),
                        true,
                        ignored,
                    )
                )
            if parts:
                self._kept[kind][category].append(_joined(parts))

    @property
    def images(self) -> int:
        """How many were given."""
        return len(self._seen)

    def metrics(self) -> Metrics:
        """The metrics of `METRIC_NAMES` by kind of overlap, of all images that were given."""
        return {kind: self._metrics_of(kind) for kind in self._kinds}

    def _metrics_of(self, kind: str) -> dict[str, float]:
        rows = {
            name: int(np.argmin(np.abs(self._thresholds - threshold)))
            for name, threshold in (("AP50", 0.5), ("AP75", 0.75))
            if self._thresholds.size
        }
        found: dict[str, list[float]] = defaultdict(list)
        for category in range(self._objects[kind].shape[1]):
            parts = self._kept[kind].get(category)
            kept = None if parts is None else _sorted(_joined(parts))
            for area, suffix in enumerate(_AREAS):
                objects = self._objects[kind][area, category]
                if not objects:
                    continue
                precision, recall = _curves(kept, area, objects)
                found[f"AP{suffix}"].append(_mean(precision))
                if suffix:
                    found[f"AR{suffix}"].append(_mean(recall[_LIMITS[-1]]))
                    continue
                for name, row in rows.items():
                    found[name].append(float(precision[row]) if precision.size else 0.0)
                for limit in _LIMITS:
                    found[f"AR{limit}"].append(_mean(recall[limit]))
        return {
            name: float(np.mean(found[name])) if found[name] else UNDEFINED for name in METRIC_NAMES
        }


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if values.size else 0.0


def _curves(
    kept: _Kept | None, area: int, objects: int
) -> tuple[np.ndarray, Mapping[int, np.ndarray]]:
    """The mean precision [T], and the recall [T] by the detections of an image that count."""
    if kept is None:
        return np.zeros(0), dict.fromkeys(_LIMITS, np.zeros(0))
    true, ignored = kept.true[area], kept.ignored[area]
    precision = np.array(
        [
            mean_precision(np.cumsum(row)[None], np.cumsum(~other)[None], objects)
            for row, other in zip(true, ignored, strict=True)
        ]
    )
    recall = {
        limit: np.count_nonzero(true & (kept.ranks < limit), axis=1) / objects for limit in _LIMITS
    }
    return precision, recall


def _joined(parts: Sequence[_Kept]) -> _Kept:
    names = ("scores", "images", "ranks", "true", "ignored")
    return _Kept(*(np.concatenate([getattr(p, name) for p in parts], axis=-1) for name in names))


def _sorted(kept: _Kept) -> _Kept:
    """By descending score; of equal scores those of earlier images first, as COCO has them."""
    order = np.lexsort((kept.ranks, kept.images, -kept.scores))
    return _Kept(
        *(kept.scores[order], kept.images[order], kept.ranks[order]),
        *(kept.true[..., order], kept.ignored[..., order]),
    )
