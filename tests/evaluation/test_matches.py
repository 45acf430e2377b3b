"""AP of any sample of the images, against COCO's own evaluation of such a sample."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as mask_api
from pycocotools.coco import COCO

from mrcnn.datasets.coco_json import coco_api
from mrcnn.evaluation import matches
from mrcnn.evaluation.boundary import boundary_metrics
from mrcnn.evaluation.coco import evaluate_results
from mrcnn.evaluation.ground_truth import Truth

SIDE, IMAGES, CATEGORIES = 40, 6, 2


def rle(y: int, x: int, height: int, width: int) -> dict[str, Any]:
    mask = np.zeros((SIDE, SIDE), np.uint8, order="F")
    mask[y : y + height, x : x + width] = 1
    found = mask_api.encode(mask)
    return {"size": found["size"], "counts": found["counts"].decode()}


def random_case(seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A ground truth with a crowd, and results some of which match."""
    rng = np.random.default_rng(seed)
    annotations: list[dict[str, Any]] = []
    results = []
    for image in range(1, IMAGES + 1):
        for _ in range(rng.integers(0, 5)):
            y, x = rng.integers(0, 28, 2)
            category, size = int(rng.integers(1, CATEGORIES + 1)), int(rng.integers(4, 12))
            segmentation = rle(y, x, size, size)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": category,
                    "iscrowd": int(rng.random() < 0.1),
                    "segmentation": segmentation,
                    "area": float(size * size),
                    "bbox": [float(x), float(y), float(size), float(size)],
                }
            )
            for _ in range(rng.integers(0, 3)):
                dy, dx = rng.integers(-2, 3, 2)
                moved = rle(max(0, y + dy), max(0, x + dx), size, size)
                results.append((image, category, moved))
        if rng.random() < 0.5:
            results.append((image, int(rng.integers(1, CATEGORIES + 1)), rle(0, 0, 5, 5)))
    scores = rng.permutation(len(results)) / max(1, len(results))  # no two alike
    truth = {
        "images": [{"id": n, "height": SIDE, "width": SIDE} for n in range(1, IMAGES + 1)],
        "categories": [{"id": n, "name": str(n)} for n in range(1, CATEGORIES + 1)],
        "annotations": annotations,
    }
    found = [
        {"image_id": i, "category_id": c, "segmentation": s, "score": float(score)}
        for (i, c, s), score in zip(results, scores, strict=True)
    ]
    return truth, found


def repeated(truth: dict[str, Any], results: list[dict[str, Any]], weights: list[int]):
    """The same as a ground truth in which an image of weight n is there n times."""
    images, annotations, found = [], [], []
    for image, weight in zip(truth["images"], weights, strict=True):
        for copy in range(weight):
            number = 100 * image["id"] + copy
            images.append({**image, "id": number})
            for entry in truth["annotations"]:
                if entry["image_id"] == image["id"]:
                    new = {**entry, "image_id": number, "id": len(annotations) + 1}
                    annotations.append(new)
            found += [{**r, "image_id": number} for r in results if r["image_id"] == image["id"]]
    return {**truth, "images": images, "annotations": annotations}, found


def api(content: dict[str, Any]) -> COCO:
    return coco_api(content)


@given(st.integers(0, 10_000), st.lists(st.integers(0, 3), min_size=IMAGES, max_size=IMAGES))
def test_the_ap_of_a_sample_is_cocos_on_images_that_are_there_several_times(seed, weights):
    truth, results = random_case(seed)
    _, found = matches.evaluate_kinds(Truth.of(api(truth)), results, kinds=("segm",))
    again, many = repeated(truth, results, weights)
    got = found["segm"].average_precision(np.array(weights))
    if not again["images"]:
        assert got == -1
        return
    assert got == pytest.approx(evaluate_results(api(again), many, ("segm",))["segm"]["AP"])


def test_whole_sets_have_the_metrics_of_cocos_evaluation(tmp_path):
    truth, results = random_case(3)
    metrics, found = matches.evaluate_kinds(Truth.of(api(truth)), results)
    assert metrics["segm"] == evaluate_results(api(truth), results)["segm"]
    assert metrics["bbox"] == evaluate_results(api(truth), results)["bbox"]
    assert metrics["boundary"] == boundary_metrics(api(truth), results)
    matches.write_matches(tmp_path / "m.npz", found)
    for kind, one in matches.read_matches(tmp_path / "m.npz").items():
        assert one.average_precision() == pytest.approx(metrics[kind]["AP"])
        np.testing.assert_array_equal(one.objects, found[kind].objects)


def test_false_positives_above_a_score():
    truth = random_case(0)[0] | {
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 1,
                "iscrowd": 0,
                "segmentation": rle(0, 0, 10, 10),
                "area": 100.0,
                "bbox": [0.0, 0.0, 10.0, 10.0],
            }
        ]
    }
    place = {"image_id": 1, "category_id": 1}
    results = [
        {**place, "score": 0.9, "segmentation": rle(0, 0, 10, 9)},  # IoU 0.9
        {**place, "score": 0.8, "segmentation": rle(0, 0, 10, 10)},  # taken already
        {**place, "score": 0.7, "segmentation": rle(20, 20, 5, 5)},
        {**place, "score": 0.3, "segmentation": rle(30, 30, 5, 5)},
    ]
    found = matches.evaluate_kinds(Truth.of(api(truth)), results, kinds=("segm",))[1]["segm"]
    assert [found.false_positives(score) for score in (0.95, 0.75, 0.7, 0.0)] == [0, 1, 2, 3]
    assert found.false_positives(0.85, iou=0.95) == 1


def test_every_object_of_a_crowded_image_can_count():
    count = 150  # more than COCO's limit
    annotations = [
        {
            "id": n + 1,
            "image_id": 1,
            "category_id": 1,
            "iscrowd": 0,
            "segmentation": rle(2 * (n // 15), 2 * (n % 15), 1, 1),
            "area": 1.0,
            "bbox": [float(2 * (n % 15)), float(2 * (n // 15)), 1.0, 1.0],
        }
        for n in range(count)
    ]
    truth = Truth.of(api(random_case(0)[0] | {"annotations": annotations}))
    results = [
        {"image_id": 1, "category_id": 1, "score": 1.0, "segmentation": a["segmentation"]}
        for a in annotations
    ]
    limited, _ = matches.evaluate_kinds(truth, results, kinds=("segm",))
    whole, found = matches.evaluate_kinds(truth, results, kinds=("segm",), every_object=True)
    assert limited["segm"]["AR100"] == pytest.approx(100 / count)
    assert whole["segm"]["AP"] == whole["segm"]["AR100"] == pytest.approx(1)
    assert found["segm"].average_precision() == pytest.approx(1)
