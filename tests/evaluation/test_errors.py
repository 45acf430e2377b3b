"""The analysis of errors: its matching is COCO's, and each kind is what its name says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as mask_api
from pycocotools.coco import COCO

from mrcnn.evaluation import errors
from mrcnn.evaluation.coco import evaluate_results
from mrcnn.evaluation.ground_truth import Truth, coco_api

SIDE = 40


def rle(box: tuple[int, int, int, int]) -> dict[str, Any]:
    mask = np.zeros((SIDE, SIDE), np.uint8, order="F")
    mask[box[0] : box[2], box[1] : box[3]] = 1
    encoded = mask_api.encode(mask)
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def truth_of(objects: list[tuple[int, int, tuple[int, int, int, int]]], crowds=()) -> COCO:
    """Objects (image, category, box); those whose place is in `crowds` are crowds."""
    return coco_api(
        {
            "images": [{"id": k, "height": SIDE, "width": SIDE} for k in (1, 2)],
            "categories": [{"id": k, "name": f"c{k}"} for k in (1, 2)],
            "annotations": [
                {
                    "id": number,
                    "image_id": image,
                    "category_id": category,
                    "segmentation": rle(box),
                    "bbox": [box[1], box[0], box[3] - box[1], box[2] - box[0]],
                    "area": (box[2] - box[0]) * (box[3] - box[1]),
                    "iscrowd": int(number - 1 in crowds),
                }
                for number, (image, category, box) in enumerate(objects, start=1)
            ],
        }
    )


def results_of(found: list[tuple[int, int, tuple[int, int, int, int], float]]) -> list[dict]:
    return [
        {"image_id": image, "category_id": category, "segmentation": rle(box), "score": score}
        for image, category, box, score in found
    ]


def matched(objects, found, crowds=()) -> errors.Matching:
    return errors.match(Truth.of(truth_of(objects, crowds)), results_of(found))


BOX, SHIFTED, FAR = (0, 0, 10, 10), (0, 5, 10, 15), (20, 20, 30, 30)


@pytest.mark.parametrize(
    ("objects", "found", "kinds"),
    [
        ([(1, 1, BOX)], [(1, 1, BOX, 0.9)], [""]),
        ([(1, 1, BOX)], [(1, 1, BOX, 0.9), (1, 1, BOX, 0.8)], ["", "duplicate"]),
        ([(1, 1, BOX)], [(1, 1, SHIFTED, 0.9)], ["localization"]),
        ([(1, 1, BOX)], [(1, 2, BOX, 0.9)], ["classification"]),
        ([(1, 1, BOX)], [(1, 2, SHIFTED, 0.9)], ["both"]),
        ([(1, 1, BOX)], [(1, 1, FAR, 0.9)], ["background"]),
        ([(1, 1, BOX)], [(2, 1, BOX, 0.9)], ["background"]),  # in another image
        # The surer one has the object, whatever comes first in the list.
        ([(1, 1, BOX)], [(1, 1, BOX, 0.5), (1, 1, BOX, 0.9)], ["", "duplicate"]),
        ([], [(1, 1, BOX, 0.9)], ["background"]),
    ],
)
def test_kinds(objects, found, kinds):
    matching = matched(objects, found)
    assert [detection.kind for detection in matching.detections] == kinds
    assert (np.diff([detection.score for detection in matching.detections]) <= 0).all()


def test_detections_on_crowds_are_no_errors():
    matching = matched([(1, 1, (0, 0, 20, 20))], [(1, 1, BOX, 0.9)], crowds=[0])
    assert [d.kind for d in matching.detections] == [errors.IGNORED] and not matching.objects
    assert all(cost.number == 0 for cost in errors.costs(matching).values())


def test_what_each_kind_costs():
    # Two objects of class 1: one is found, one mislocated; one of class 2 is taken for class 1.
    objects = [(1, 1, BOX), (2, 1, BOX), (1, 2, FAR), (2, 2, FAR)]
    found = [
        *((1, 1, BOX, 0.9), (2, 1, SHIFTED, 0.8), (1, 1, FAR, 0.95)),
        *((1, 1, (30, 0, 40, 10), 0.99), (1, 1, BOX, 0.5)),
    ]
    matching = matched(objects, found)
    costs = errors.costs(matching)
    assert {kind: cost.number for kind, cost in costs.items()} == {
        "classification": 1,
        "localization": 1,
        "both": 0,
        "duplicate": 1,
        "background": 1,
        "missed": 1,
    }
    # Class 1: precision 1/3 at recall 1/2 (51 of 101 recalls); class 2 finds nothing.
    now = (1 / 3 * 51 / 101) / 2
    assert errors.average_precision(matching) == pytest.approx(now)
    # With the mislocated one right: two of the first four, so 1/2 at both recalls.
    assert costs["localization"].ap == pytest.approx(1 / 4 - now)
    # The misclassified one is of class 2 then: half of that class, and class 1 has 1/2 at 1/2.
    assert costs["classification"].ap == pytest.approx((0.5 * 51 / 101 + 51 / 101) / 2 - now)
    # Without the one on the background: 1/2 at 1/2.
    assert costs["background"].ap == pytest.approx((0.5 * 51 / 101) / 2 - now)
    # The missed object is of class 2, which keeps one object that is found by nobody.
    assert costs["missed"].ap == pytest.approx(0)
    nothing = errors.costs(matched([(1, 1, BOX)], []))
    assert nothing["missed"] == (1, 1.0)
    assert costs["both"].ap == 0


boxes = st.tuples(st.integers(0, 20), st.integers(0, 20)).map(
    lambda corner: (corner[0], corner[1], corner[0] + 12, corner[1] + 12)
)
objects_drawn = st.lists(st.tuples(st.integers(1, 2), st.integers(1, 2), boxes), max_size=6)
found_drawn = st.lists(
    st.tuples(
        st.integers(1, 2), st.integers(1, 2), boxes, st.integers(1, 99).map(lambda n: n / 100)
    ),
    max_size=8,
    unique_by=lambda entry: entry[3],
)


@given(objects_drawn, found_drawn)
@settings(max_examples=60)
def test_ap_is_that_of_pycocotools(objects, found):
    expected = -1.0
    if objects:
        metrics = evaluate_results(truth_of(objects), results_of(found), ["segm"])
        expected = metrics["segm"]["AP50"] if found else 0.0
    assert errors.average_precision(matched(objects, found)) == pytest.approx(expected, abs=1e-9)


@given(objects_drawn, found_drawn)
@settings(max_examples=60)
def test_every_object_and_detection_is_counted_once(objects, found):
    matching = matched(objects, found)
    assert len(matching.detections) == len(found) and len(matching.objects) == len(objects)
    costs = errors.costs(matching)
    right = sum(detection.kind == errors.MATCHED for detection in matching.detections)
    wrong = sum(cost.number for kind, cost in costs.items() if kind != "missed")
    assert right + wrong == len(found)
    assert all(cost.ap >= -1e-9 for cost in costs.values())
    table = errors.confusion(matching, [1, 2], 0.0)
    for row, category in enumerate((1, 2)):
        assert table[row].sum() == sum(entry[1] == category for entry in objects)
        assert table[row, row] == sum(
            d.kind == errors.MATCHED and d.category == category for d in matching.detections
        )
    assert table.sum() - table[:, -1].sum() == len(found)


def test_curves_and_the_best_threshold():
    objects = [(1, 1, BOX), (2, 1, BOX)]
    found = [(1, 1, BOX, 0.9), (2, 1, FAR, 0.6), (2, 1, BOX, 0.7), (1, 1, FAR, 0.2)]
    matching = matched(objects, found)
    curve = errors.curves(matching)[1]
    np.testing.assert_allclose(curve.scores, [0.9, 0.7, 0.6, 0.2])
    np.testing.assert_allclose(curve.precision, [1, 1, 2 / 3, 1 / 2])
    np.testing.assert_allclose(curve.recall, [0.5, 1, 1, 1])
    assert curve.best_score == 0.7 and curve.f1.max() == 1
    together = errors.curve_of_all(matching)
    np.testing.assert_allclose(together.f1, curve.f1)
    assert errors.confusion(matching, [1, 2], curve.best_score).tolist() == [
        [2, 0, 0],
        [0, 0, 0],
        [0, 0, 0],
    ]


def test_no_more_than_cocos_hundred_of_a_class_count():
    objects = [(1, 1, BOX)]
    found = [(1, 1, FAR, 0.9 - k / 1000) for k in range(100)] + [(1, 1, BOX, 0.1)]
    matching = matched(objects, found)
    assert len(matching.detections) == 100 and errors.average_precision(matching) == 0
