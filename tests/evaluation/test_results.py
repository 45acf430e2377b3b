"""Detections in COCO's result format."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pycocotools import mask as mask_api

from mrcnn.evaluation.results import bbox_annotation, coco_results, segm_annotation


def test_result_format():
    mask = np.zeros((200, 200), bool)
    mask[10:40, 20:50] = True
    boxes = np.array([[10, 20, 40, 50]], np.int32)
    (result,) = coco_results(
        7, boxes, np.array([2]), np.array([0.5], np.float32), mask[..., None], {2: 18}
    )
    assert result["image_id"] == 7 and result["category_id"] == 18 and result["score"] == 0.5
    assert result["bbox"] == [20, 10, 30, 30]
    np.testing.assert_array_equal(mask_api.decode(result["segmentation"]), mask)
    assert json.loads(json.dumps(result)) == result


def test_results_without_masks_and_of_foreign_classes():
    boxes = np.array([[0, 0, 4, 4], [1, 1, 2, 2]])
    results = coco_results(7, boxes, [1, 2], [0.9, 0.8], None, {2: 18})
    assert len(results) == 1 and "segmentation" not in results[0]
    assert coco_results(7, np.zeros((0, 4)), [], [], np.zeros((9, 9, 0), bool)) == []


def test_results_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="Image 7: .*'scores': 2, 'masks': 1"):
        coco_results(7, np.zeros((1, 4)), [1], [0.5, 0.5], np.zeros((9, 9, 1), bool))


def test_annotations_take_their_sizes_from_the_mask_and_from_the_box():
    mask = np.zeros((9, 9, 1), bool)
    mask[2:5, 3, 0] = True
    (result,) = coco_results(7, np.array([[0, 0, 8, 6]]), [1], [0.5], mask)
    assert segm_annotation(result, 4)["area"] == 3
    assert "bbox" not in segm_annotation(result, 4)
    assert bbox_annotation(result, 4)["area"] == 48
    del result["bbox"]
    assert bbox_annotation(result, 4)["bbox"] == [3, 2, 1, 3]
    del result["score"]
    with pytest.raises(ValueError, match=r"Result 4 \(image 7\): expected the field 'score'"):
        segm_annotation(result, 4)
