"""Evaluation of the mask branch on the boxes of the ground truth."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from mrcnn.commands import cli
from mrcnn.datasets.coco import CocoDataset
from mrcnn.datasets.shapes import write_shapes
from mrcnn.evaluation.coco import METRIC_NAMES, evaluate_results
from mrcnn.model import MaskRCNN
from mrcnn.runs import given_boxes
from mrcnn.runs.results import Split
from tests.tiny import tiny_config


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    write_shapes(folder, 0, 3, (64, 64))
    return folder


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> MaskRCNN:
    """A network whose masks fill their boxes, and that finds nothing by itself."""
    model = MaskRCNN("inference", tiny_config(NUM_CLASSES=4), tmp_path_factory.mktemp("logs"))
    layer = model.keras_model.get_layer("mrcnn_mask")
    kernel, bias = layer.get_weights()
    layer.set_weights([0 * kernel, bias + 5])
    return model


def test_masks_that_fill_the_true_boxes_are_evaluated_as_such(filled: MaskRCNN, data):
    dataset = CocoDataset.of(str(data), "val", "", ground_truth=True)
    split = Split(dataset, dataset.ground_truth, limit=2)
    found = given_boxes.evaluate_on_ground_truth_boxes(filled, split, progress=False)
    objects = sum((dataset.load_mask(i)[1] > 0).sum() for i in split.image_ids)
    assert len(found.results) == objects and all(r["score"] == 1 for r in found.results)
    ids = [dataset.image_info[i]["id"] for i in split.image_ids]
    # The truth of the same objects, by a way of its own: boxes as masks.
    boxes = [{k: v for k, v in r.items() if k != "segmentation"} for r in found.results]
    assert evaluate_results(split.ground_truth, boxes, ("bbox",), ids)["bbox"]["AP"] == 1
    expected = evaluate_results(split.ground_truth, found.results, ("segm",), ids)["segm"]
    assert found.metrics["segm"] == expected
    assert 0 < found.metrics["boundary"]["AP"] < found.metrics["segm"]["AP"] < 1
    assert found.matches["segm"].average_precision() == pytest.approx(expected["AP"])


def test_the_command_writes_the_metrics_and_masks(filled: MaskRCNN, data, tmp_path):
    weights = tmp_path / "weights.h5"
    filled.save_weights(weights)
    settings = {n: v for n, v in vars(type(filled.config).__mro__[1]).items() if n.isupper()}
    given = [f"{name}={value!r}" for name, value in settings.items() if name != "NAME"]
    given = [text for text in given if not text.startswith("NUM_CLASSES")]
    options = ["--model", str(weights), "--output", str(tmp_path / "o"), "--set", *given]
    assert cli.main(["evaluate", str(data), "--boxes", "ground-truth", *options]) == 0
    with (tmp_path / "o" / "coco_val_on_gt_boxes.csv").open() as file:
        rows = {row["iou_type"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"segm", "boundary"} and set(METRIC_NAMES) < set(rows["segm"])
    assert 0 < float(rows["segm"]["AP"]) < 1
    masks = json.loads((tmp_path / "o" / "detections_val_on_gt_boxes.json").read_text())
    assert np.all([result["score"] == 1 for result in masks])
