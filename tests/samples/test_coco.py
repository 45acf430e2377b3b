"""The COCO sample, run as a user runs it, on a tiny data set."""

from __future__ import annotations

import csv
import importlib.util

import pytest

from mrcnn.datasets.shapes import write_shapes
from tests.conftest import REPOSITORY

TINY = [
    *("--backbone", "resnet10", "--image-size", "64", "--batch-size", "2", "--rois", "8"),
    *("--steps-per-epoch", "2", "--validation-steps", "1", "--workers", "1", "--set"),
    *("TOP_DOWN_PYRAMID_SIZE=16", "RPN_CONV_FILTERS=16", "MASK_CONV_FILTERS=8"),
    *("FPN_CLASSIF_FC_LAYERS_SIZE=16", "RPN_ANCHOR_SCALES=(8,16,32,48,64)", "PRE_NMS_LIMIT=100"),
    *("POST_NMS_ROIS_TRAINING=30", "POST_NMS_ROIS_INFERENCE=20", "DETECTION_MAX_INSTANCES=5"),
]


@pytest.fixture(scope="module")
def sample():
    path = REPOSITORY / "samples" / "coco" / "coco.py"
    spec = importlib.util.spec_from_file_location("coco_sample", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_trains_and_evaluates(sample, tmp_path, capsys):
    # The sample has COCO's 80 classes whatever the data set; the year names the files.
    data = tmp_path / "coco"
    write_shapes(data, train=6, val=3, image_size=(64, 64))
    for subset in ("train", "val"):
        annotations = data / "annotations"
        (annotations / f"instances_{subset}.json").rename(
            annotations / f"instances_{subset}2017.json"
        )
        (data / subset).rename(data / f"{subset}2017")
    common = ["--dataset", str(data), "--year", "2017", "--logs", str(tmp_path / "logs")]
    first = ["train", *common, "--model", "none", "--steps", "4", "--run-name", "sobel"]
    assert sample.main([*first, "--edge-loss-filters", "sobel-x", "sobel-y", *TINY]) == 0
    (run,) = (tmp_path / "logs").iterdir()
    assert run.name.startswith("coco_sobel_")
    assert len(list(run.glob("mask_rcnn_coco_0*.h5"))) == 3

    evaluate = ["evaluate", *common, "--model", "last", "--run-name", "sobel", "--limit", "2"]
    assert sample.main(evaluate) == 0
    with open(run / "coco_val2017.csv", newline="", encoding="utf-8") as file:
        assert {row["iou_type"] for row in csv.DictReader(file)} == {"segm", "bbox", "boundary"}
    assert "2 images in" in capsys.readouterr().out


def test_what_is_missing_is_a_clear_error(sample, tmp_path, capsys):
    command = ["evaluate", "--dataset", str(tmp_path), "--model", "last", "--logs", str(tmp_path)]
    assert sample.main(command) == 2
    error = capsys.readouterr().err
    assert error.startswith("coco.py: ") and "instances_minival2014.json" in error
