"""Ground truth of the COCO metrics, of a json and made from masks."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from mrcnn.data.dataset import Dataset
from mrcnn.datasets.coco_json import coco_api
from mrcnn.datasets.segmentation import annotation_to_rle
from mrcnn.evaluation.boundary import boundary_metrics
from mrcnn.evaluation.coco import evaluate_results
from mrcnn.evaluation.ground_truth import Truth, coco_ground_truth

SQUARE = [10, 10, 50, 10, 50, 40, 10, 40]


def content(*annotations: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """An image of 64 x 96 with the square and more annotations; `fields` are the square's."""
    square = {"id": 0, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 1200}
    square |= {"bbox": [10, 10, 40, 30], "segmentation": [SQUARE], **fields}
    return {
        "images": [{"id": 1, "file_name": "a.png", "height": 64, "width": 96}],
        "annotations": [square, *annotations],
        "categories": [{"id": 1, "name": "thing"}],
    }


def found(image_id: Any = 1, category_id: Any = 1, x: int = 10, score: float = 0.9) -> dict:
    """A detection that is the square, perhaps moved along x."""
    polygon = (np.reshape(SQUARE, (-1, 2)) + [x - 10, 0]).ravel().tolist()
    rle = annotation_to_rle({"segmentation": [polygon]}, 64, 96)
    return {
        "image_id": image_id,
        "category_id": category_id,
        "score": score,
        "bbox": [x, 10, 40, 30],
        "segmentation": rle,
    }


def scores(truth: dict[str, Any], results: list[dict], folder: Any = None) -> list[float]:
    """AP by masks, boxes and boundaries."""
    ground_truth: Any = coco_api(truth)
    if folder is not None:
        ground_truth = folder / "truth.json"
        ground_truth.write_text(json.dumps(truth))
    metrics = evaluate_results(ground_truth, results)
    boundary = boundary_metrics(ground_truth, results)
    return [metrics["segm"]["AP"], metrics["bbox"]["AP"], boundary["AP"]]


ONE = pytest.approx([1, 1, 1])


@pytest.mark.parametrize(
    "fields",
    [
        *({"iscrowd": value} for value in ("0", 0.0, False, None)),
        *({"area": value} for value in ("1200", None)),
        *({"bbox": value} for value in (None, [], ["10", "10", "40", "30"])),
        *({"segmentation": value} for value in (SQUARE, [SQUARE, []])),
        {"image_id": "1", "category_id": 1.0},
    ],
)
def test_other_forms_of_a_field_count_as_what_they_mean(fields, tmp_path):
    assert scores(content(**fields), [found()], tmp_path) == ONE
    assert scores(content(**fields), [found("1", 1.0)]) == ONE


@pytest.mark.parametrize(
    "fields",
    [
        *({"iscrowd": value} for value in ("x", 2, math.nan)),
        *({"area": value} for value in ("", math.nan, True)),
        *({"bbox": value} for value in ("", [[5, 11, 14, 17]], [1, 2, 3])),
        *({"segmentation": value} for value in ("x", [[1, 2, 3, 4]], [[*SQUARE[:-1], None]])),
        {"image_id": 2},
        {"category_id": 9},
    ],
)
def test_what_training_refuses_is_refused_with_the_same_sentence(fields, tmp_path):
    with pytest.raises(ValueError, match=r"truth\.json: annotation 0, field '.*: expected .*--fix"):
        scores(content(**fields), [found()], tmp_path)


def test_ids_of_any_kind_keep_images_and_categories_apart():
    truth = content(
        {"id": 1, "image_id": "b", "category_id": "x", "segmentation": [SQUARE]},
        {"id": 2, "image_id": 2**62, "category_id": -3, "segmentation": [SQUARE]},
    )
    truth["images"] += [{"id": id, "height": 64, "width": 96} for id in ("b", 2**62)]
    truth["categories"] += [{"id": id, "name": "other"} for id in ("x", -3)]
    results = [found(), found("b", "x"), found(2**62, -3)]
    assert scores(truth, results) == ONE
    assert scores(truth, [found(), found("b", 1), found(2**62, "x")]) == pytest.approx([1 / 3] * 3)
    # A category that the ground truth does not have counts for nothing.
    assert scores(content(), [found(), found(category_id=7)]) == ONE


@pytest.mark.parametrize(
    "segmentation", [[[20, 20, 20.1, 20, 20.1, 20.1]], [[90, 70, 95, 70, 95, 75]]]
)
def test_an_object_whose_mask_has_no_pixel_is_none_and_said(segmentation, capsys):
    box = {"bbox": [20, 20, 0.1, 0.1], "area": 0.005}
    hidden = {"id": 2, "image_id": 1, "category_id": 1, "iscrowd": 0, **box}
    assert scores(content({**hidden, "segmentation": segmentation}), [found()]) == ONE
    assert (
        "Objects left out of the evaluation, because their masks have no pixel: 1"
        in capsys.readouterr().out
    )


def test_an_object_that_is_a_box_alone_counts_by_its_box_only():
    box = {"id": 2, "image_id": 1, "category_id": 1, "bbox": [50, 10, 40, 30]}
    for segmentation in ({}, {"segmentation": [[]]}):
        truth = content({**box, **segmentation})
        assert scores(truth, [found()]) == pytest.approx([1, 0.504950495, 1])
        assert scores(truth, [found(), found(x=50)]) == ONE
        # Of two detections in one box, one is wrong; by the mask nobody can tell.
        twice = [found(x=50, score=0.99), found(x=50, score=0.98), found(score=0.5)]
        segm, bbox, boundary = scores(truth, twice)
        assert (segm, boundary) == (pytest.approx(1), pytest.approx(1)) and bbox < 0.9


def test_a_crowd_of_another_size_covers_the_image_as_in_training():
    crowd = {"id": 2, "image_id": 1, "category_id": 1, "iscrowd": 1}
    crowd["segmentation"] = {"size": [5, 5], "counts": [10, 5, 10]}
    assert scores(content(crowd), [found(), found(x=50, score=0.95)])[0] == pytest.approx(1)


def test_the_ground_truth_is_left_as_it_was():
    truth = COCO()
    truth.dataset = content(iscrowd="0", area=None, segmentation=SQUARE)
    before = copy.deepcopy(truth.dataset)
    assert Truth.of(truth).objects[0]["area"] == 1200
    evaluate_results(truth, [found()])
    assert truth.dataset == before


@pytest.mark.parametrize("kind", [np.array, list, tuple])
def test_a_mask_without_a_pixel_is_no_object(kind):
    class Hidden(Dataset):
        def load_mask(self, image_id):
            masks = np.zeros((8, 9, 2), bool)
            masks[2:5, 3:7, 1] = True
            return masks, kind([1, 2])

    dataset = Hidden()
    for class_id in (5, 7):
        dataset.add_class("drawn", class_id, str(class_id))
    dataset.add_image("drawn", "a", None)
    dataset.prepare()
    (entry,) = coco_ground_truth(dataset, progress=False).dataset["annotations"]
    assert entry["category_id"] == 7 and entry["image_id"] == "a"
    assert entry["area"] == 12 and entry["bbox"] == [3, 2, 4, 3]


def test_a_ground_truth_of_several_sources_is_refused():
    mixed = Dataset()
    mixed.add_class("cityscapes", 24, "person")
    mixed.add_class("coco", 24, "zebra")
    mixed.prepare()
    with pytest.raises(ValueError, match="'cityscapes', 'coco'"):
        coco_ground_truth(mixed)


def test_boxes_without_masks_stay_boxes():
    class Boxes(Dataset):
        def load_mask(self, image_id):
            return np.ones((8, 9, 2), bool), np.array([1, 1], np.int32)

        def load_box_only(self, image_id):
            return np.array([False, True])

    dataset = Boxes()
    dataset.add_class("drawn", 5, "five")
    dataset.add_image("drawn", "a", None)
    dataset.prepare()
    truth = coco_ground_truth(dataset, progress=False)
    first, second = truth.dataset["annotations"]
    assert (
        "segmentation" in first and "segmentation" not in second and second["bbox"] == [0, 0, 9, 8]
    )
    assert Truth.of(truth).boxes_only == {2}
