"""Metrics in parts are those of all results at once, whatever the parts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pycocotools import mask as mask_api

from mrcnn.datasets.coco_json import coco_api
from mrcnn.evaluation.ground_truth import Truth
from mrcnn.evaluation.in_parts import KINDS, InParts
from mrcnn.evaluation.matches import evaluate_kinds

SIDE, IMAGES, CATEGORIES = 150, 9, 3


def rle(y: int, x: int, side: int) -> dict[str, Any]:
    mask = np.zeros((SIDE, SIDE), np.uint8, order="F")
    mask[y : y + side, x : x + side] = 1
    found = mask_api.encode(mask)
    return {"size": found["size"], "counts": found["counts"].decode()}


def random_case(seed: int) -> tuple[Truth, list[dict[str, Any]]]:
    """Objects of all sizes and crowds; results of which many match, with equal scores."""
    rng = np.random.default_rng(seed)
    annotations, results = [], []
    for image in range(1, IMAGES):  # the last has neither
        for _ in range(rng.integers(0, 5)):
            side = int(rng.choice([6, 20, 40, 60, 110]))
            y, x = (int(value) for value in rng.integers(0, SIDE - side, 2))
            category = int(rng.integers(1, CATEGORIES))  # the last has no object
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": category,
                    "iscrowd": int(rng.random() < 0.1),
                    "segmentation": rle(y, x, side),
                    "area": float(side * side),
                    "bbox": [float(x), float(y), float(side), float(side)],
                }
            )
            for _ in range(rng.integers(0, 4)):
                dy, dx = rng.integers(-3, 4, 2)
                results.append((image, category, rle(max(0, y + dy), max(0, x + dx), side)))
        for _ in range(rng.integers(0, 14)):
            results.append((image, int(rng.integers(1, CATEGORIES + 1)), rle(0, 0, 7)))
    truth = {
        "images": [{"id": n, "height": SIDE, "width": SIDE} for n in range(1, IMAGES + 1)],
        "categories": [{"id": n, "name": str(n)} for n in range(1, CATEGORIES + 1)],
        "annotations": annotations,
    }
    found = [
        {"image_id": i, "category_id": c, "segmentation": s, "score": float(rng.integers(1, 9) / 9)}
        for i, c, s in results
    ]
    return Truth.of(coco_api(truth)), found


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("size", [1, 3, 100])
def test_whatever_the_parts(seed: int, size: int):
    truth, results = random_case(seed)
    expected, _ = evaluate_kinds(truth, results)
    rng = np.random.default_rng(seed)
    image_ids = rng.permutation(sorted(truth.images)).tolist()
    parts = InParts(truth)
    for first in range(0, len(image_ids), size):
        ids = image_ids[first : first + size]
        parts.add(ids, [result for result in results if result["image_id"] in ids])
    assert parts.images == len(image_ids)
    found = parts.metrics()
    assert list(found) == list(KINDS)
    for kind in KINDS:
        for name, value in expected[kind].items():
            assert found[kind][name] == pytest.approx(value, abs=1e-12), (kind, name)


def test_without_results_all_is_zero_or_undefined():
    truth, _ = random_case(0)
    parts = InParts(truth)
    parts.add(sorted(truth.images), [])
    expected, _ = evaluate_kinds(truth, [])
    assert parts.metrics() == expected
    nothing = InParts(truth).metrics()
    assert set(nothing["segm"].values()) == {-1.0}


def test_images_are_given_once_and_are_known():
    truth, results = random_case(1)
    first, second, *_ = sorted(truth.images)
    parts = InParts(truth)
    parts.add([first], [])
    with pytest.raises(ValueError, match="expected each image once; 1 were given before"):
        parts.add([first, second], [])
    with pytest.raises(ValueError, match="expected ids of the ground truth's"):
        parts.add([12345], [])
    of_second = [result for result in results if result["image_id"] == second]
    mask = rle(0, 0, 9)
    of_second.append({"image_id": second, "category_id": 1, "score": 0.5, "segmentation": mask})
    third = sorted(truth.images)[2]
    with pytest.raises(ValueError, match="expected those of the images that were given"):
        parts.add([third], of_second)
