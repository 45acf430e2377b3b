"""Cityscapes' result files and official AP, and a COCO ground truth made from a data set."""

from __future__ import annotations

import csv
import importlib.util
import math

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_api

from mrcnn.data.boxes import extract_bboxes
from mrcnn.datasets.cityscapes import CLASSES, LABELS, CityscapesDataset
from mrcnn.datasets.street_scenes import GROUP_IMAGE, PERIOD, write_lookalike
from mrcnn.evaluation.cityscapes import format_table, official_ap, write_csv, write_results
from mrcnn.evaluation.coco import evaluate_model, evaluate_results
from mrcnn.evaluation.ground_truth import coco_ground_truth
from mrcnn.evaluation.results import coco_results

installed = importlib.util.find_spec("cityscapesscripts") is not None
needs_package = pytest.mark.skipif(not installed, reason="cityscapesscripts is not installed")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> CityscapesDataset:
    folder = tmp_path_factory.mktemp("streets")
    write_lookalike(folder, 0, 10, (128, 256))
    dataset = CityscapesDataset()
    dataset.load_cityscapes(folder, "val")
    dataset.prepare()
    return dataset


def detections(dataset, shift: int = 0, drop: int = 0) -> list[dict]:
    """The ground truth as results; masks shifted to the right, every so-manieth left out."""
    results = []
    for image_id in dataset.image_ids:
        masks, class_ids = dataset.load_mask(image_id)
        masks, class_ids = masks[..., class_ids > 0], class_ids[class_ids > 0]
        masks = np.roll(masks, shift, axis=1)
        categories = [dataset.get_source_class_id(k, "cityscapes") for k in class_ids]
        scores = np.linspace(0.9, 0.5, len(class_ids))
        name = dataset.image_info[image_id]["id"]
        results += coco_results(name, extract_bboxes(masks), categories, scores, masks)
    return [result for n, result in enumerate(results) if not drop or n % drop]


def names(dataset) -> list[str]:
    return [info["id"] for info in dataset.image_info]


def official(dataset, folder, results) -> dict:
    write_results(folder, results, names(dataset))
    return official_ap(folder, dataset, progress=False)


@needs_package
def test_perfect_detections_have_an_official_ap_of_one(dataset, tmp_path, capsys):
    metrics = official(dataset, tmp_path, detections(dataset))
    assert capsys.readouterr().out == ""
    assert metrics["average"] == pytest.approx({"AP": 1, "AP50": 1})
    assert list(metrics) == ["average", *(LABELS[label] for label in CLASSES["instance"])]
    defined = [values["AP"] for values in metrics.values() if not math.isnan(values["AP"])]
    assert len(defined) > 4 and defined == pytest.approx([1] * len(defined))


@needs_package
def test_worse_detections_have_a_lower_ap(dataset, tmp_path):
    shifted = official(dataset, tmp_path / "shifted", detections(dataset, shift=2))["average"]
    assert 0.1 < shifted["AP"] < 0.9 and shifted["AP"] < shifted["AP50"]
    fewer = official(dataset, tmp_path / "fewer", detections(dataset, drop=3))["average"]
    assert 0.3 < fewer["AP"] < 0.9 and fewer["AP"] == pytest.approx(fewer["AP50"])
    nothing = official(dataset, tmp_path / "nothing", [])["average"]
    assert nothing == {"AP": 0, "AP50": 0}


@needs_package
def test_one_of_two_found_scores_a_half(tmp_path):
    """Two cars in one image; then with a better-scored false positive before the one found."""
    write_lookalike(tmp_path, 0, 1, (64, 128))
    ids = np.zeros((64, 128), np.uint16)
    ids[8:24, 8:24], ids[40:56, 40:56] = 26000, 26001
    dataset = CityscapesDataset()
    dataset.load_cityscapes(tmp_path, "val", "instances")
    dataset.prepare()
    Image.fromarray(ids).save(dataset.truth_file(0, "instances"))
    masks, _ = dataset.load_mask(0)
    elsewhere = np.zeros((64, 128, 1), bool)
    elsewhere[10:30, 60:80] = True
    # Not on unlabeled ground, where detections do not count.
    ids[(ids == 0)] = 7
    Image.fromarray(ids).save(dataset.truth_file(0, "instances"))
    boxes = np.zeros((1, 4))
    (found,) = coco_results(names(dataset)[0], boxes, [26], [0.8], masks[..., :1])
    (wrong,) = coco_results(names(dataset)[0], boxes, [26], [0.9], elsewhere)
    one = official(dataset, tmp_path / "one", [found])
    assert one["car"] == pytest.approx({"AP": 0.5, "AP50": 0.5}) and math.isnan(one["bus"]["AP"])
    both = official(dataset, tmp_path / "both", [found, wrong])
    assert both["car"]["AP"] < 0.5
    # The only detection lies on what is ignored: no false positive, but nothing found either.
    ids[10:30, 60:80] = 0
    Image.fromarray(ids).save(dataset.truth_file(0, "instances"))
    ignored = official(dataset, tmp_path / "ignored", [wrong])
    assert ignored["car"] == {"AP": 0, "AP50": 0}


@needs_package
def test_a_missing_result_file_is_named(dataset, tmp_path):
    write_results(tmp_path, [], names(dataset)[1:])
    with pytest.raises(FileNotFoundError, match=names(dataset)[0]):
        official_ap(tmp_path, dataset, progress=False)


@pytest.mark.skipif(installed, reason="cityscapesscripts is installed")
def test_without_the_package_the_error_says_what_to_install(dataset, tmp_path):
    with pytest.raises(ImportError, match=r"pip install 'mrcnn\[cityscapes\]'"):
        official_ap(tmp_path, dataset)


def test_result_files(dataset, tmp_path):
    results = detections(dataset)
    write_results(tmp_path, results, names(dataset))
    assert sorted(path.stem for path in tmp_path.glob("*.txt")) == sorted(names(dataset))
    written = 0
    for name in names(dataset):
        mine = [result for result in results if result["image_id"] == name]
        lines = (tmp_path / f"{name}.txt").read_text().splitlines()
        assert len(lines) == len(mine)
        for line, result in zip(lines, mine, strict=True):
            path, label, score = line.split(" ")
            assert int(label) == result["category_id"] and float(score) == result["score"]
            mask = np.asarray(Image.open(tmp_path / path).convert("L")) != 0
            np.testing.assert_array_equal(mask, mask_api.decode(result["segmentation"]))
            written += 1
    assert written == len(results) > 10


def test_results_that_cannot_be_written(dataset, tmp_path):
    (result,) = detections(dataset)[:1]
    write_results(tmp_path, [{**result, "category_id": 7}], [result["image_id"]])  # a road
    assert (tmp_path / f"{result['image_id']}.txt").read_text() == ""
    with pytest.raises(ValueError, match=result["image_id"]):
        write_results(tmp_path, [result], ["another"])
    with pytest.raises(ValueError, match="segmentation"):
        del result["segmentation"]
        write_results(tmp_path, [result], [result["image_id"]])


def test_coco_metrics_of_the_ground_truth_are_perfect(dataset):
    truth = coco_ground_truth(dataset, progress=False)
    assert [category["id"] for category in truth.dataset["categories"]] == list(CLASSES["instance"])
    assert {image["id"] for image in truth.dataset["images"]} == set(names(dataset))
    crowds = [entry for entry in truth.dataset["annotations"] if entry["iscrowd"]]
    assert (
        len(crowds)
        == len({entry["image_id"] for entry in crowds})
        == sum(k % PERIOD == GROUP_IMAGE for k in range(10))
    )
    metrics = evaluate_results(truth, detections(dataset))
    for iou_type in ("segm", "bbox"):
        assert metrics[iou_type]["AP"] == pytest.approx(1)
    worse = evaluate_results(truth, detections(dataset, shift=2))
    assert 0.1 < worse["segm"]["AP"] < 0.9


def test_the_coco_evaluation_takes_the_data_set(dataset):
    """A detector that finds the ground truth, groups included, scores 1 with no penalty."""
    chosen = dataset.image_ids[:4]
    queue = list(chosen)

    def detect(images):
        masks, class_ids = dataset.load_mask(queue.pop(0))
        found = {"rois": extract_bboxes(masks), "class_ids": np.abs(class_ids), "masks": masks}
        return [{**found, "scores": np.full(len(class_ids), 0.9)}]

    truth = coco_ground_truth(dataset, chosen, progress=False)
    metrics, results, *_ = evaluate_model(detect, dataset, truth, chosen, progress=False)
    assert metrics["segm"]["AP"] == pytest.approx(1)
    assert {result["category_id"] for result in results} <= set(CLASSES["instance"])


def test_table_and_csv(tmp_path):
    nan = float("nan")
    metrics = {"average": {"AP": 1 / 3, "AP50": 0.5}, "train": {"AP": nan, "AP50": nan}}
    assert format_table(metrics).splitlines() == [
        "                   AP   AP50",
        "average         0.333  0.500",
        "train               -      -",
    ]
    write_csv(tmp_path / "ap.csv", metrics)
    with open(tmp_path / "ap.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["AP"]) == 1 / 3 and rows[1] == {
        "label": "train",
        "AP": "nan",
        "AP50": "nan",
    }
