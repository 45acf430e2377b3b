"""COCO's metrics: the published numbers, small cases worked out by hand, and the whole loop."""

from __future__ import annotations

import ast
import copy
import csv
import json
import sys

import numpy as np
import pytest
from pycocotools import mask as mask_api
from pycocotools.coco import COCO

from mrcnn.data.boxes import extract_bboxes
from mrcnn.datasets.coco import CocoDataset
from mrcnn.datasets.coco_json import coco_api
from mrcnn.datasets.shapes import write_shapes
from mrcnn.evaluation.boundary import boundary_metrics
from mrcnn.evaluation.coco import (
    METRIC_NAMES,
    evaluate_model,
    evaluate_results,
    format_table,
    write_csv,
)
from mrcnn.evaluation.detection import FunctionDetector
from mrcnn.evaluation.results import coco_results

# README of coco_eval100, from cocodataset/cocoapi results/val2014_fake_eval_res.txt.
PUBLISHED = {
    "segm": [0.320, 0.562, 0.299, 0.387, 0.310, 0.327, 0.268, 0.415, 0.417, 0.469, 0.377, 0.381],
    "bbox": [0.505, 0.697, 0.573, 0.586, 0.519, 0.501, 0.387, 0.594, 0.595, 0.640, 0.566, 0.564],
}


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_published_numbers(shared, iou_type, capsys):
    folder = shared / "data" / "coco_eval100"
    file = folder / f"instances_val2014_fake{iou_type}100_results.json"
    metrics = evaluate_results(
        folder / "instances_val2014_100.json", json.loads(file.read_text()), (iou_type,)
    )
    assert capsys.readouterr().out == ""
    assert list(metrics) == [iou_type] and tuple(metrics[iou_type]) == METRIC_NAMES
    values = list(metrics[iou_type].values())
    assert [round(value, 3) for value in values] == PUBLISHED[iou_type]

    line = next(
        line
        for line in (folder / "pycocotools_2_0_stats.txt").read_text().splitlines()
        if line.startswith(iou_type)
    )
    exact = [float(text) for text in ast.literal_eval(line[line.rindex("[") :])]
    np.testing.assert_allclose(values, exact, rtol=0, atol=1e-12)


def square(y: int, x: int, side: int, shape=(200, 200)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[y : y + side, x : x + side] = True
    return mask


def ground_truth(masks, *, images=(1,), **fields) -> dict:
    """The masks as annotations of category 5, one image each in turn."""
    annotations = []
    for index, mask in enumerate(masks):
        rle = mask_api.encode(np.asfortranarray(mask, np.uint8))
        annotations.append(
            {
                "id": index,  # from 0 up, as some tools write
                "image_id": images[index % len(images)],
                "category_id": 5,
                "iscrowd": 0,
                "area": int(mask.sum()),
                "bbox": mask_api.toBbox(rle).tolist(),
                "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
                **fields,
            }
        )
    height, width = masks[0].shape
    return {
        "images": [{"id": i, "height": height, "width": width} for i in images],
        "annotations": annotations,
        "categories": [{"id": 5, "name": "square"}, {"id": 6, "name": "never"}],
    }


def results_of(masks, scores, image_id=1, category=5):
    stack = np.stack(masks, axis=2)
    return coco_results(image_id, extract_bboxes(stack), [category] * len(masks), scores, stack)


def test_perfect_detections_score_one():
    masks = [square(0, 0, 20), square(50, 50, 60), square(0, 100, 98)]  # small, medium, large
    metrics = evaluate_results(coco_api(ground_truth(masks)), results_of(masks, [0.9, 0.8, 0.7]))
    for iou_type in ("segm", "bbox"):
        values = dict(metrics[iou_type])
        assert values.pop("AR1") == pytest.approx(1 / 3)
        assert all(value == pytest.approx(1) for value in values.values())


def test_one_of_two_found_and_a_false_positive_before_it():
    """Precision 1/2 up to recall 1/2, that is at 51 of COCO's 101 recall steps."""
    found, missed = square(0, 0, 40), square(100, 100, 40)
    results = results_of([square(0, 100, 40), found], [0.9, 0.8])
    metrics = evaluate_results(coco_api(ground_truth([found, missed])), results)["segm"]
    assert metrics["AP"] == metrics["AP50"] == pytest.approx(0.5 * 51 / 101)
    assert metrics["AR100"] == 0.5 and metrics["AR1"] == 0
    assert metrics["AP_S"] == metrics["AP_L"] == -1


def test_threshold_of_the_overlap():
    """An IoU of 0.8: found at 0.5 to 0.8, 7 of the 10 thresholds."""
    truth, shorter = square(0, 0, 40), square(0, 0, 40)
    shorter[32:] = False
    metrics = evaluate_results(coco_api(ground_truth([truth])), results_of([shorter], [0.9]))
    for iou_type in ("segm", "bbox"):
        assert metrics[iou_type]["AP50"] == metrics[iou_type]["AP75"] == pytest.approx(1)
        assert metrics[iou_type]["AP"] == pytest.approx(0.7)


def test_size_of_a_detection_is_the_area_of_its_mask():
    """A thin frame: its box is large, its mask of 792 pixels small, where it counts as false."""
    truth = square(0, 150, 20)
    frame = square(0, 0, 100) & ~square(2, 2, 96)
    metrics = evaluate_results(
        coco_api(ground_truth([truth])), results_of([frame, truth], [0.9, 0.8])
    )
    assert metrics["segm"]["AP_S"] == pytest.approx(0.5)
    assert metrics["bbox"]["AP_S"] == pytest.approx(1)


def test_detections_in_a_crowd_are_no_error():
    found, crowd = square(0, 0, 40), square(100, 100, 80)
    content = ground_truth([found, crowd])
    content["annotations"][1]["iscrowd"] = 1
    results = results_of([square(110, 110, 30), found], [0.9, 0.8])
    assert evaluate_results(coco_api(content), results)["segm"]["AP"] == pytest.approx(1)


def test_a_class_of_crowds_only_has_no_part_in_the_mean():
    """What the doctor says of it in validation."""
    found, crowd, wrong = square(0, 0, 40), square(100, 100, 80), square(0, 150, 40)
    content = ground_truth([found, crowd])
    content["annotations"][1].update(iscrowd=1, category_id=6)
    results = results_of([found], [0.9]) + results_of([crowd, wrong], [0.8, 0.95], category=6)
    for values in evaluate_results(coco_api(content), results).values():
        assert [values["AP"], values["AR100"]] == pytest.approx([1, 1])
    assert boundary_metrics(coco_api(content), results)["AP"] == pytest.approx(1)
    content["annotations"] = content["annotations"][1:]
    for values in evaluate_results(coco_api(content), results).values():
        assert set(values.values()) == {-1}


def test_no_results_give_zero_and_no_objects_minus_one():
    content = ground_truth([square(0, 0, 40)])
    for values in evaluate_results(coco_api(content), []).values():
        assert values["AP"] == values["AR100"] == values["AP_M"] == 0
        assert values["AP_S"] == values["AR_L"] == -1
    content["annotations"] = []
    for results in ([], results_of([square(0, 0, 40)], [0.9])):
        for values in evaluate_results(coco_api(content), results).values():
            assert set(values.values()) == {-1}


def test_image_ids_restrict_ground_truth_and_results():
    mask = square(0, 0, 40)
    truth = coco_api(ground_truth([mask, mask], images=(1, 2)))
    results = results_of([mask], [0.9], image_id=1)
    assert evaluate_results(truth, results)["segm"]["AP"] < 0.6
    assert evaluate_results(truth, results, image_ids=[1])["segm"]["AP"] == pytest.approx(1)
    assert evaluate_results(truth, results, image_ids=iter([2]))["segm"]["AP"] == 0
    assert evaluate_results(truth, results, image_ids=[])["segm"]["AP"] == -1


def test_boxes_alone_and_boxes_from_masks():
    mask = square(0, 0, 40)
    truth = coco_api(ground_truth([mask]))
    (result,) = results_of([mask], [0.9])
    boxes = [{k: v for k, v in result.items() if k != "segmentation"}]
    masks = [{k: v for k, v in result.items() if k != "bbox"}]
    assert evaluate_results(truth, boxes, ("bbox",))["bbox"]["AP"] == pytest.approx(1)
    assert evaluate_results(truth, masks, ("bbox",))["bbox"]["AP"] == pytest.approx(1)
    with pytest.raises(ValueError, match=r"Result 1 \(image 1\): .*'segmentation'"):
        evaluate_results(truth, boxes, ("segm",))


def test_ground_truth_without_area_box_and_crowd_flag():
    mask = square(0, 0, 40)
    content = ground_truth([mask])
    for field in ("area", "bbox", "iscrowd"):
        del content["annotations"][0][field]
    metrics = evaluate_results(coco_api(content), results_of([mask], [0.9]))
    assert metrics["segm"]["AP_M"] == metrics["bbox"]["AP_M"] == pytest.approx(1)


def test_ground_truth_and_results_are_left_as_they_were():
    truth = coco_api(ground_truth([square(0, 0, 40)]))
    results = results_of([square(0, 0, 40)], [0.9])
    before = copy.deepcopy((truth.dataset, results))
    evaluate_results(truth, results)
    assert (truth.dataset, results) == before


def test_foreign_images_and_kinds_are_refused():
    truth = coco_api(ground_truth([square(0, 0, 40)]))
    with pytest.raises(ValueError, match="1 others, such as 9"):
        evaluate_results(truth, results_of([square(0, 0, 40)], [0.9], image_id=9))
    with pytest.raises(ValueError, match="1 others, such as 8"):
        evaluate_results(truth, [], image_ids=[1, 8])
    with pytest.raises(ValueError, match="received 'keypoints'"):
        evaluate_results(truth, [], ("keypoints",))


def test_csv_and_table(tmp_path):
    metrics = {"segm": {name: 1 / (k + 3) for k, name in enumerate(METRIC_NAMES)}}
    metrics["bbox"] = {**metrics["segm"], "AP_S": -1.0}
    write_csv(tmp_path / "metrics.csv", metrics)
    with open(tmp_path / "metrics.csv", newline="") as file:
        rows = {row.pop("iou_type"): row for row in csv.DictReader(file)}
    assert {k: {n: float(v) for n, v in row.items()} for k, row in rows.items()} == metrics

    header, segm, bbox = format_table(metrics).splitlines()
    assert header.split() == list(METRIC_NAMES)
    assert segm.split()[:4] == ["segm", "0.333", "0.250", "0.200"]
    assert bbox.split()[4] == "-"
    assert len(header) == len(segm) == len(bbox)


# --- The whole loop, with a detector that knows the ground truth -------------------------


@pytest.fixture(scope="module")
def shapes(tmp_path_factory) -> tuple[CocoDataset, COCO]:
    folder = tmp_path_factory.mktemp("shapes")
    write_shapes(folder, 0, 6, (64, 64))  # one of them without objects: not loaded
    dataset = CocoDataset()
    # Internal class ids other than the category ids.
    coco = dataset.load_coco(folder, "val", class_ids=[3, 1, 2], return_coco=True)
    dataset.prepare()
    return dataset, coco


class Oracle:
    """Recognizes an image by its pixels and returns its ground truth, crowds aside."""

    def __init__(self, dataset: CocoDataset) -> None:
        self.dataset = dataset
        self.batches: list[int] = []
        self.known = {dataset.load_image(i).tobytes(): i for i in dataset.image_ids}

    def __call__(self, images):
        self.batches.append(len(images))
        return [self.detect_one(self.known[image.tobytes()]) for image in images]

    def detect_one(self, image_id):
        masks, class_ids = self.dataset.load_mask(image_id)
        masks, class_ids = masks[..., class_ids > 0], class_ids[class_ids > 0]
        return {
            "rois": extract_bboxes(masks),
            "class_ids": class_ids,
            "scores": np.ones(len(class_ids), np.float32),
            "masks": masks,
        }


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_a_perfect_detector_scores_one(shapes, batch_size, capsys):
    dataset, coco = shapes
    oracle = Oracle(dataset)
    metrics, results, timing, _ = evaluate_model(
        FunctionDetector(oracle, batch_size), dataset, coco, progress=False
    )
    assert set(oracle.batches) == {batch_size}  # the last one is filled up
    assert metrics["segm"]["AP"] == metrics["bbox"]["AP"] == pytest.approx(1)
    objects = [a for a in coco.dataset["annotations"] if not a["iscrowd"]]
    assert len(results) == len(objects)
    assert timing.images == 5
    assert 0 < timing.first_batch_seconds <= timing.detect_seconds <= timing.seconds
    assert capsys.readouterr().out == ""
    json.dumps(results)


@pytest.mark.parametrize("missed", [None, 0, 1])
def test_the_ap_is_the_mean_of_the_classes(shapes, missed):
    """Of a detector that misses one class altogether, and of one that misses none."""
    dataset, coco = shapes
    ids = sorted({a["category_id"] for a in coco.dataset["annotations"] if not a["iscrowd"]})
    lost = None if missed is None else dataset.map_source_class_id(f"coco.{ids[missed]}")
    oracle = Oracle(dataset)

    def detect(images):
        found = []
        for whole in oracle(images):
            keep = whole["class_ids"] != lost
            masks = whole["masks"][..., keep]
            parts = {name: whole[name][keep] for name in ("rois", "class_ids", "scores")}
            found.append({**parts, "masks": masks})
        return found

    metrics, _, _, classes = evaluate_model(detect, dataset, coco, progress=False)
    for kind, values in classes.items():
        known = {category: v["AP"] for category, v in values.items() if v["AP"] != -1}
        assert set(known) == set(ids)
        assert np.mean(list(known.values())) == pytest.approx(metrics[kind]["AP"])
        if missed is not None:
            assert known[ids[missed]] == 0 and max(known.values()) == pytest.approx(1)


def test_limit_and_image_ids(shapes):
    dataset, coco = shapes
    oracle = Oracle(dataset)
    ids = [info["id"] for info in dataset.image_info]
    _, results, timing, _ = evaluate_model(oracle, dataset, coco, limit=2, progress=False)
    assert timing.images == 2 and {r["image_id"] for r in results} == set(ids[:2])
    metrics, results, *_ = evaluate_model(
        oracle, dataset, coco, image_ids=[4, 2], limit=1, progress=False
    )
    assert {r["image_id"] for r in results} == {ids[4]}
    assert metrics["segm"]["AP"] == pytest.approx(1)  # on that image only


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_progress_bar_goes_to_stderr_where_that_is_a_terminal(
    shapes, capsys, monkeypatch, is_terminal
):
    dataset, coco = shapes
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal, raising=False)
    evaluate_model(Oracle(dataset), dataset, coco, limit=1)
    captured = capsys.readouterr()
    assert captured.out == "" and ("Evaluate" in captured.err) == is_terminal


def test_a_blind_detector_scores_zero(shapes):
    dataset, coco = shapes
    nothing = {
        "rois": np.zeros((0, 4), np.int32),
        "class_ids": np.zeros(0, np.int32),
        "scores": np.zeros(0, np.float32),
        "masks": np.zeros((64, 64, 0), bool),
    }
    metrics, results, *_ = evaluate_model(
        lambda images: [nothing] * len(images), dataset, coco, progress=False
    )
    assert results == [] and metrics["segm"]["AP"] == metrics["bbox"]["AP"] == 0


def test_detections_of_another_source_are_left_out(shapes):
    dataset, coco = copy.deepcopy(shapes[0]), shapes[1]
    dataset.add_class("other", 1, "thing")
    dataset.prepare()
    stray = {
        "rois": np.array([[0, 0, 9, 9]]),
        "class_ids": np.array([dataset.num_classes - 1]),
        "scores": np.array([1.0]),
        "masks": np.ones((64, 64, 1), bool),
    }
    _, results, *_ = evaluate_model(lambda images: [stray], dataset, coco, limit=1, progress=False)
    assert results == []


def test_images_twice_and_missing_detections_are_refused(shapes):
    dataset, coco = shapes
    with pytest.raises(ValueError, match="each image once"):
        evaluate_model(Oracle(dataset), dataset, coco, image_ids=[1, 1], progress=False)
    with pytest.raises(ValueError, match="a dict for each of the 2 images; received 0"):
        evaluate_model(FunctionDetector(lambda images: [], 2), dataset, coco, progress=False)
    with pytest.raises(ValueError, match="batch_size of at least 1"):
        FunctionDetector(Oracle(dataset), batch_size=0)
    with pytest.raises(ValueError, match="limit of at least 0; received -1"):
        evaluate_model(Oracle(dataset), dataset, coco, limit=-1)
