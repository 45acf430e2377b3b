"""Another engine of the COCO metrics gives pycocotools' numbers, to the last digit."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.evaluation import Clock, evaluate, random_case
from mrcnn.commands import evaluate as command
from mrcnn.commands.parser import Parser
from mrcnn.datasets.coco_json import coco_api
from mrcnn.evaluation import engines
from mrcnn.evaluation.boundary import boundary_metrics
from mrcnn.evaluation.coco import IOU_TYPES, evaluate_results
from mrcnn.evaluation.ground_truth import Truth
from mrcnn.evaluation.matches import evaluate_kinds

HAS_HOTCOCO = importlib.util.find_spec(engines.HOTCOCO) is not None
needs_hotcoco = pytest.mark.skipif(
    not HAS_HOTCOCO, reason='needs hotcoco (pip install "mrcnn[fast-eval]")'
)


@needs_hotcoco
@pytest.mark.parametrize("iou_type", IOU_TYPES)
def test_cocos_example(shared, iou_type, capfd):
    folder = shared / "data" / "coco_eval100"
    truth = Truth.of(folder / "instances_val2014_100.json")
    file = folder / f"instances_val2014_fake{iou_type}100_results.json"
    found = json.loads(file.read_text())
    expected = evaluate_results(truth, found, (iou_type,))
    assert evaluate_results(Truth.of(truth, engines.HOTCOCO), found, (iou_type,)) == expected
    assert capfd.readouterr() == ("", "")


@needs_hotcoco
@pytest.mark.parametrize("iou_type", IOU_TYPES)
@pytest.mark.parametrize("seed", range(3))
def test_random_data(iou_type, seed):
    content, found = random_case(120, seed)
    truth = Truth.of(coco_api(content))
    metrics, categories, *arrays = evaluate(truth, found, iou_type)
    assert 0.1 < metrics["AP"] < 0.9 and len(categories) == 80
    others = evaluate(Truth.of(truth, engines.HOTCOCO), found, iou_type)
    assert others[:2] == (metrics, categories)
    for array, other in zip(arrays, others[2:], strict=True):
        np.testing.assert_array_equal(other, array)


@needs_hotcoco
@pytest.mark.parametrize("iou_type", IOU_TYPES)
def test_without_results_and_on_a_part_of_the_images(iou_type):
    content, found = random_case(10, 1)
    truth = Truth.of(coco_api(content))
    fast = Truth.of(truth, engines.HOTCOCO)
    assert evaluate_results(fast, [], (iou_type,)) == evaluate_results(truth, [], (iou_type,))
    some = [result for result in found if result["image_id"] < 4]
    expected = evaluate_results(truth, some, (iou_type,), [1, 2, 3])
    assert evaluate_results(fast, some, (iou_type,), [1, 2, 3]) == expected


def test_a_missing_package_is_named_before_the_work(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'hotcoco is not.*pip install "mrcnn\[fast-eval\]"'):
        engines.check_engine(engines.HOTCOCO)
    with pytest.raises(ValueError, match="fast-eval"):
        command.run(parsed("no data set is read", "--coco-engine", "hotcoco"))


def test_an_unknown_engine_is_refused():
    with pytest.raises(ValueError, match="pycocotools, hotcoco; received 'cocoapi'"):
        engines.check_engine("cocoapi")


def test_boundary_ap_and_matches_come_from_pycocotools_in_any_case():
    content, found = random_case(4, 0)
    truth = Truth.of(coco_api(content))
    other = replace(truth, engine=engines.HOTCOCO)
    assert boundary_metrics(other, found) == boundary_metrics(truth, found)
    (metrics, matches), (expected, known) = (
        evaluate_kinds(one, found, kinds=("segm",)) for one in (other, truth)
    )
    assert metrics == expected
    np.testing.assert_array_equal(matches["segm"].true, known["segm"].true)


def test_an_engine_that_would_do_nothing_is_refused():
    with pytest.raises(ValueError, match="--boxes ground-truth"):
        command.run(parsed("data", "--coco-engine", "hotcoco", "--boxes", "ground-truth"))


def test_pycocotools_is_the_default():
    assert parsed("data").coco_engine == engines.PYCOCOTOOLS
    assert Truth.of(coco_api(random_case(2, 0)[0])).engine == engines.PYCOCOTOOLS


def parsed(*arguments: str):
    parser = Parser(prog="mrcnn evaluate")
    command.add_options(parser)
    return parser.parse_args(arguments)


def test_a_part_within_a_part_counts_once(monkeypatch):
    ticks = iter(range(100))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(ticks)))
    clock = Clock()
    inner = clock.timing("inner", lambda: None)
    clock.timing("outer", lambda: [inner(), inner()])()
    # Started at 0, 1 to 2, 3 to 4, ended at 5.
    assert clock.seconds == {"inner": 2.0, "outer": 3.0}
