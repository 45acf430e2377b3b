"""The files of predictions: what other programs read, and going on after a kill."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from mrcnn.prediction.prediction import Prediction
from mrcnn.prediction.records import Ids, Records
from mrcnn.prediction.sources import Picture
from mrcnn.prediction.stream import Predictor
from tests.prediction.disc_detector import DiscDetector, discs

NAMES = ["background", "disc", "green"]
SETTINGS = {"weights": "a", "tile": None}


def prediction(name: str, count: int) -> Prediction:
    image = discs(80, 90, [(20, 20), (20, 60), (60, 20)][:count], green=1)
    (found,) = Predictor(DiscDetector(), NAMES)([Picture(name, None, image)])
    assert isinstance(found, Prediction)
    return found


def test_pycocotools_reads_them(tmp_path):
    records = Records(tmp_path / "out", SETTINGS, NAMES)
    found = [prediction("a.png", 2), prediction("sub/b.png", 0), prediction("c.png", 3)]
    for one in found:
        records.add(one)
    records.finish()
    images = COCO(str(tmp_path / "out/images.json"))
    results = images.loadRes(str(tmp_path / "out/predictions.json"))
    names = {entry["file_name"]: entry["id"] for entry in images.dataset["images"]}
    assert names == {"a.png": 1, "sub/b.png": 2, "c.png": 3}
    assert images.dataset["images"][0] | {"id": 1} == {
        "id": 1,
        "file_name": "a.png",
        "width": 90,
        "height": 80,
    }
    for one in found:
        listed = results.loadAnns(results.getAnnIds([names[one.name]]))
        assert len(listed) == len(one)
        for annotation, k in zip(listed, range(len(one)), strict=True):
            np.testing.assert_array_equal(results.annToMask(annotation), one.masks[..., k])
            assert images.loadCats([annotation["category_id"]])[0]["name"] == one.names[k]
            assert annotation["score"] == pytest.approx(float(one.scores[k]))
            y1, x1, y2, x2 = one.rois[k].tolist()
            assert annotation["bbox"] == [x1, y1, x2 - x1, y2 - y1]
    with open(tmp_path / "out/predictions.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["file_name"] for row in rows] == ["a.png"] * 2 + ["c.png"] * 3
    assert int(rows[0]["area"]) == found[0].masks[..., 0].sum()
    assert {row["class"] for row in rows} == {"disc", "green"}


def test_a_run_that_was_killed_goes_on(tmp_path):
    whole = Records(tmp_path / "whole", SETTINGS, NAMES)
    for name in "abc":
        whole.add(prediction(name, 2))
    whole.finish()

    killed = Records(tmp_path / "out", SETTINGS, NAMES)
    killed.add(prediction("a", 2))
    killed.add_unreadable("x", "x: cannot be read")
    with open(tmp_path / "out/predictions.jsonl", "a") as file:
        file.write('{"image": {"id": 2, "file_na')  # killed while it wrote
    resumed = Records(tmp_path / "out", SETTINGS, NAMES, resume=True)
    assert resumed.done == {"a"}
    for name in "bc":
        resumed.add(prediction(name, 2))
    resumed.finish()
    for name in ("predictions.json", "images.json", "predictions.csv"):
        assert (tmp_path / "out" / name).read_text() == (tmp_path / "whole" / name).read_text()


def test_earlier_predictions_are_neither_lost_nor_mixed(tmp_path):
    Records(tmp_path, SETTINGS, NAMES).add(prediction("a", 1))
    with pytest.raises(FileExistsError, match="--resume"):
        Records(tmp_path, SETTINGS, NAMES)
    with pytest.raises(ValueError, match="weights: 'a' before, 'b' now"):
        Records(tmp_path, SETTINGS | {"weights": "b"}, NAMES, resume=True)
    (tmp_path / "predictions.jsonl").write_text('{"settings": {}}\nno json\n')
    with pytest.raises(ValueError, match=r"predictions\.jsonl, line 2"):
        Records(tmp_path, {}, NAMES, resume=True)


def test_ids_of_a_data_set(tmp_path):
    content = {
        "images": [{"id": 700, "file_name": "a.png"}, {"id": "x7", "file_name": "b.png"}],
        "annotations": [],
        "categories": [{"id": 30, "name": "green"}, {"id": 20, "name": "disc"}],
    }
    (tmp_path / "val.json").write_text(json.dumps(content))
    ids = Ids.of_dataset(tmp_path / "val.json")
    records = Records(tmp_path / "out", SETTINGS, NAMES, ids)
    records.add(prediction("b.png", 2))
    records.add(prediction("a.png", 1))
    with pytest.raises(ValueError, match=r"c\.png.*--image-ids"):
        records.add(prediction("c.png", 1))
    records.finish()
    found = json.loads((tmp_path / "out/predictions.json").read_text())
    assert [one["image_id"] for one in found] == ["x7", "x7", 700]
    assert {one["category_id"] for one in found} == {20, 30}
    (tmp_path / "bad.json").write_text(json.dumps({"images": [{"id": 1}], "categories": []}))
    with pytest.raises(ValueError, match=r"bad\.json: expected a COCO json file"):
        Ids.of_dataset(tmp_path / "bad.json")
