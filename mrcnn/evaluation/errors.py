"""What a detector gets wrong, in the manner of TIDE (Bolya et al. 2020, arXiv 2008.08115).

Detections are matched with objects once, at one IoU, as COCO matches them: by descending score,
each with the free object of its class that it overlaps most. From that matching come the kinds of
error and what each costs in AP, precision and recall over the score, and the confusion matrix.

A detection that matches nothing is an error of one kind, the first that fits:

- localization: it overlaps an object of its class, but not enough;
- classification: it overlaps an object of another class enough;
- duplicate: it overlaps an object enough that a surer detection has matched;
- both: it overlaps an object of another class, but not enough;
- background: it overlaps nothing.

An object that no detection matches, and none misclassified or mislocated, is missed. What a kind
costs is the rise of AP when its errors alone are undone: a mislocated or misclassified detection
matches its object (or goes, where that has a match), the others go, and missed objects are not
asked for.

Shape letters: N detections, M objects, C classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as mask_api

from mrcnn.data.coco_fields import read_id
from mrcnn.evaluation.coco import MAX_DETECTIONS
from mrcnn.evaluation.ground_truth import Truth
from mrcnn.evaluation.results import Result, segm_annotation

IOU = 0.5
# Below it a detection overlaps nothing.
LEAST_IOU = 0.1
KINDS = ("classification", "localization", "both", "duplicate", "background", "missed")
_CLASSIFICATION, _LOCALIZATION, _BOTH, _DUPLICATE, _BACKGROUND, _MISSED = KINDS
# Of a detection that is no error.
MATCHED, IGNORED = "", "ignored"
_RECALLS = np.linspace(0.0, 1.0, 101)  # where COCO reads the precision


class Detection(NamedTuple):
    """A detection and what it was matched with.

    Attributes:
        image: number of its image (`Truth.images`).
        category: number of its class (`Truth.categories`).
        score: of the detector.
        kind: MATCHED, IGNORED, or a kind of error.
        target: the number of the object that it matches, or that it missed by its class or place;
            -1 where there is none.
        result: its place among the results.
    """

    image: int
    category: int
    score: float
    kind: str
    target: int
    result: int


@dataclass(frozen=True, eq=False)
class Matching:
    """The detections and objects of some images, matched.

    Attributes:
        detections: by descending score.
        objects: number, image and class of every object that counts.
    """

    detections: list[Detection]
    objects: list[tuple[int, int, int]]

    def unmatched(self, score: float = 0.0) -> list[tuple[int, int, int]]:
        """The objects that no detection of at least a score matches."""
        found = {d.target for d in self.detections if d.kind == MATCHED and d.score >= score}
        return [entry for entry in self.objects if entry[0] not in found]


def match(
    truth: Truth,
    results: Sequence[Result],
    image_ids: Sequence[Any] | None = None,
    iou: float = IOU,
) -> Matching:
    """Match detections with objects by their masks.

    Args:
        truth: the ground truth. Detections on crowds, and on objects that are boxes alone, are
            ignored.
        results: in COCO's format, with a segmentation; of each image and class COCO's 100 surest.
        image_ids: ids of the images; None: all.
        iou: from which a detection matches an object.
    """
    chosen = truth.image_numbers(results, image_ids)
    detections: dict[int, list[tuple[float, int, int, Any]]] = {number: [] for number in chosen}
    for place, result in enumerate(results):
        annotation = segm_annotation(result, place + 1)
        image = truth.images[read_id(annotation["image_id"])]
        category = truth.categories.get(read_id(annotation["category_id"]))
        if category is not None and image in detections:
            entry = (float(annotation["score"]), place, category, annotation["segmentation"])
            detections[image].append(entry)
    objects: dict[int, list[dict[str, Any]]] = {number: [] for number in chosen}
    for annotation in truth.objects:
        if annotation["image_id"] in objects:
            objects[annotation["image_id"]].append(annotation)
    matched: list[Detection] = []
    counted: list[tuple[int, int, int]] = []
    for image in chosen:
        of_image = _surest(detections[image])
        matched += _match_image(image, of_image, objects[image], truth.boxes_only, iou)
        counted += [
            (entry["id"], image, entry["category_id"])
            for entry in objects[image]
            if not _is_ignored(entry, truth.boxes_only)
        ]
    matched.sort(key=lambda detection: -detection.score)
    return Matching(matched, counted)


def _surest(entries: list[tuple[float, int, int, Any]]) -> list[tuple[float, int, int, Any]]:
    """By descending score; of each class those that COCO counts."""
    seen: dict[int, int] = {}
    kept = []
    for entry in sorted(entries, key=lambda entry: -entry[0]):
        seen[entry[2]] = seen.get(entry[2], 0) + 1
        if seen[entry[2]] <= MAX_DETECTIONS:
            kept.append(entry)
    return kept


def _is_ignored(entry: dict[str, Any], boxes_only: frozenset[int]) -> bool:
    return bool(entry["iscrowd"]) or entry["id"] in boxes_only


def _match_image(
    image: int,
    detections: list[tuple[float, int, int, Any]],
    objects: list[dict[str, Any]],
    boxes_only: frozenset[int],
    iou: float,
) -> list[Detection]:
    if not detections:
        return []
    ignored = np.array([_is_ignored(entry, boxes_only) for entry in objects], bool)
    overlaps = np.zeros((len(detections), len(objects)))
    if objects:
        overlaps = np.asarray(
            mask_api.iou(
                [entry[3] for entry in detections],
                [entry["segmentation"] for entry in objects],
                ignored.astype(np.uint8).tolist(),
            )
        ).reshape(len(detections), len(objects))
    classes = np.array([entry["category_id"] for entry in objects], int)
    free = ~ignored
    matched: list[int | None] = []
    for (_, _, category, _), row in zip(detections, overlaps, strict=True):
        fits = np.where(free & (classes == category), row, -1.0)
        best = int(fits.argmax()) if len(fits) and fits.max() >= iou else None
        if best is not None:
            free[best] = False
        matched.append(best)
    found = []
    for (score, place, category, _), row, best in zip(detections, overlaps, matched, strict=True):
        if best is not None:
            kind, target = MATCHED, best
        else:
            kind, target = _kind(row, classes == category, ignored, iou)
        number = objects[target]["id"] if target >= 0 else -1
        found.append(Detection(image, category, score, kind, number, place))
    return found


def _kind(row: np.ndarray, same: np.ndarray, ignored: np.ndarray, iou: float) -> tuple[str, int]:
    """The kind of a detection that matches no object, and the place of the object it is about."""
    if (ignored & same & (row >= iou)).any():
        return IGNORED, -1
    own = np.where(same & ~ignored, row, 0.0)
    others = np.where(~same & ~ignored, row, 0.0)
    nearest, other = (int(values.argmax()) if len(values) else -1 for values in (own, others))
    best_own = own[nearest] if len(own) else 0.0
    best_other = others[other] if len(others) else 0.0
    if LEAST_IOU <= best_own < iou:
        return _LOCALIZATION, nearest
    if best_other >= iou:
        return _CLASSIFICATION, other
    if best_own >= iou:
        return _DUPLICATE, nearest
    if best_other >= LEAST_IOU:
        return _BOTH, other
    return _BACKGROUND, -1


class ImageErrors(NamedTuple):
    """How an image came out.

    Attributes:
        shown: its detections from the score on.
        found: how many of them match an object.
        false: those that match none.
        missed: its objects that none of them matches.
    """

    shown: list[Detection]
    found: int
    false: list[Detection]
    missed: list[tuple[int, int, int]]

    @property
    def wrong(self) -> int:
        """False detections and missed objects."""
        return len(self.false) + len(self.missed)


def by_image(matching: Matching, images: Iterable[int], score: float) -> dict[int, ImageErrors]:
    """What is right and wrong in each image, of the detections from a score on.

    Args:
        matching: of detections and objects.
        images: numbers of the images.
        score: detections below do not count.
    """
    shown: dict[int, list[Detection]] = {number: [] for number in images}
    missed: dict[int, list[tuple[int, int, int]]] = {number: [] for number in shown}
    for detection in matching.detections:
        if detection.score >= score and detection.image in shown:
            shown[detection.image].append(detection)
    for entry in matching.unmatched(score):
        if entry[1] in missed:
            missed[entry[1]].append(entry)
    return {
        number: ImageErrors(
            of_image,
            sum(detection.kind == MATCHED for detection in of_image),
            [detection for detection in of_image if detection.kind not in (MATCHED, IGNORED)],
            missed[number],
        )
        for number, of_image in shown.items()
    }


# --- What each kind costs -----------------------------------------------------------------------


class Cost(NamedTuple):
    """The errors of a kind."""

    number: int
    ap: float  # by which AP rises when they alone are undone


def costs(matching: Matching) -> dict[str, Cost]:
    """The number of errors of each kind of `KINDS`, and what they cost in AP at the one IoU."""
    now = average_precision(matching)
    counts = {kind: 0 for kind in KINDS}
    for detection in matching.detections:
        if detection.kind in counts:
            counts[detection.kind] += 1
    counts[_MISSED] = len(_missed(matching))
    categories = {category for _, _, category in matching.objects}
    return {
        kind: Cost(counts[kind], _mean_ap(_undone(matching, kind), categories) - now)
        for kind in KINDS
    }


def _missed(matching: Matching) -> list[tuple[int, int, int]]:
    near = {d.target for d in matching.detections if d.kind in (_CLASSIFICATION, _LOCALIZATION)}
    return [entry for entry in matching.unmatched() if entry[0] not in near]


def _undone(matching: Matching, kind: str) -> Matching:
    """The matching without the errors of a kind."""
    if kind == _MISSED:
        missed = {entry[0] for entry in _missed(matching)}
        kept = [entry for entry in matching.objects if entry[0] not in missed]
        return Matching(matching.detections, kept)
    classes = {number: category for number, _, category in matching.objects}
    taken = {d.target for d in matching.detections if d.kind == MATCHED}
    found = []
    for detection in matching.detections:  # by descending score, so that the surest is undone
        if detection.kind != kind:
            found.append(detection)
            continue
        if kind in (_CLASSIFICATION, _LOCALIZATION) and detection.target not in taken:
            taken.add(detection.target)
            category = classes[detection.target]
            found.append(detection._replace(kind=MATCHED, category=category))
    return Matching(found, matching.objects)


def average_precision(matching: Matching) -> float:
    """COCO's AP at the IoU of the matching, the mean over the classes that have objects; 0 to 1.

    -1 where there is no object.
    """
    return _mean_ap(matching, {category for _, _, category in matching.objects})


def _mean_ap(matching: Matching, categories: set[int]) -> float:
    """The mean AP of some classes; 1 for one of which no object is asked for any more."""
    found = curves(matching)
    values = [
        found[category].average_precision if category in found and found[category].objects else 1.0
        for category in categories
    ]
    return float(np.mean(values)) if values else -1.0


# --- Precision and recall -----------------------------------------------------------------------


class Curve(NamedTuple):
    """Precision and recall of a class, detection by detection, by descending score."""

    scores: np.ndarray  # [N]
    precision: np.ndarray  # [N], of the detections from that score on
    recall: np.ndarray  # [N]
    objects: int

    @property
    def average_precision(self) -> float:
        """COCO's: the mean of the best precision at each of 101 recalls."""
        if not len(self.scores) or not self.objects:
            return 0.0
        best = np.maximum.accumulate(self.precision[::-1])[::-1]
        place = np.searchsorted(self.recall, _RECALLS, side="left")
        return float(best[place[place < len(best)]].sum() / len(_RECALLS))

    @property
    def f1(self) -> np.ndarray:
        """[N], the harmonic mean of precision and recall."""
        total = self.precision + self.recall
        return np.divide(
            2 * self.precision * self.recall, total, out=np.zeros_like(total), where=total > 0
        )

    @property
    def best_score(self) -> float:
        """The score from which on detections have the best F1; of equal ones the highest."""
        return float(self.scores[int(self.f1.argmax())]) if len(self.scores) else 0.5


NO_CURVE = Curve(np.zeros(0), np.zeros(0), np.zeros(0), 0)


def curves(matching: Matching) -> dict[int, Curve]:
    """By the number of the class, of all classes that have objects or detections."""
    objects: dict[int, int] = {}
    for _, _, category in matching.objects:
        objects[category] = objects.get(category, 0) + 1
    by_class: dict[int, list[tuple[float, bool]]] = {category: [] for category in objects}
    for detection in matching.detections:
        if detection.kind != IGNORED:
            entry = (detection.score, detection.kind == MATCHED)
            by_class.setdefault(detection.category, []).append(entry)
    return {
        category: _curve(entries, objects.get(category, 0))
        for category, entries in sorted(by_class.items())
    }


def curve_of_all(matching: Matching) -> Curve:
    """Of all classes together: what a person sees who sets one threshold for all."""
    entries = [(d.score, d.kind == MATCHED) for d in matching.detections if d.kind != IGNORED]
    return _curve(entries, len(matching.objects))


def _curve(entries: list[tuple[float, bool]], objects: int) -> Curve:
    entries = sorted(entries, key=lambda entry: -entry[0])
    scores = np.array([score for score, _ in entries], np.float64)
    true = np.cumsum([matched for _, matched in entries]).astype(np.float64)
    count = np.arange(1, len(entries) + 1)
    recall = true / objects if objects else np.zeros(len(entries))
    return Curve(scores, true / count, recall, objects)


# --- Which class is taken for which ---------------------------------------------------------------


def confusion(matching: Matching, categories: Sequence[int], score: float) -> np.ndarray:
    """How often objects of a class (rows) are taken for a class (columns); the last is background.

    A row's objects are all there, each once. In the last row are detections that are of no object,
    or of one that has its match. Its last column is 0.

    Args:
        matching: of detections and objects.
        categories: numbers of the classes, in the order of the rows.
        score: detections from it on count.

    Returns:
        int [C + 1, C + 1].
    """
    place = {category: number for number, category in enumerate(categories)}
    background = len(place)
    counts = np.zeros((background + 1, background + 1), int)
    class_of = {number: category for number, _, category in matching.objects}
    seen: set[int] = set()
    shown = [d for d in matching.detections if d.score >= score and d.kind != IGNORED]
    # Matches first: an object that has one is not confused with another class too.
    for detection in sorted(shown, key=lambda detection: detection.kind != MATCHED):
        column = place[detection.category]
        is_of_object = detection.kind in (MATCHED, _CLASSIFICATION)
        if is_of_object and detection.target not in seen:
            seen.add(detection.target)
            counts[place[class_of[detection.target]], column] += 1
        else:
            counts[background, column] += 1
    for number, _, category in matching.objects:
        if number not in seen:
            counts[place[category], background] += 1
    return counts
