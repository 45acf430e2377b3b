"""`mrcnn predict`: from pictures on a disk to files that other programs read."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

import mrcnn
from mrcnn.commands import cli, predict
from mrcnn.config import Config
from mrcnn.datasets.shapes import write_shapes
from mrcnn.evaluation.coco import evaluate_results
from mrcnn.model import MaskRCNN
from mrcnn.prediction.prediction import Prediction
from mrcnn.runs import nuclei
from mrcnn.runs.settings import configure, save_settings
from tests.prediction.disc_detector import discs
from tests.weights.test_mismatch import SMALL

CLASSES = ["BG", "apple", "nut"]


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of a random network; the newer one's scores reach down to 0."""
    logs = tmp_path_factory.mktemp("work") / "logs"
    for name, score in (("small20260101T1200", 0.99), ("small20260102T1200", 0.0)):
        folder = logs / name
        folder.mkdir(parents=True)
        config = configure(Config, {**SMALL, "DETECTION_MIN_CONFIDENCE": score})
        model = MaskRCNN("inference", config, logs)
        model.save_weights(folder / "mask_rcnn_small_0001.h5")
        save_settings(config, folder, {"class_names": CLASSES})
    return logs


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for k, name in enumerate(("1.jpg", "2.png", "sub/3.jpg", "10.tif")):
        pixels = discs(60 + 10 * (k % 2), 90, [(20, 20), (40, 60)])
        Image.fromarray(pixels).save(folder / name)
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


def test_a_folder_becomes_pictures_results_and_a_table(logs, photos, tmp_path, caplog):
    caplog.set_level("INFO", "mrcnn")
    out = tmp_path / "out"
    command = ["predict", str(photos), "--logs", str(logs), "--output", str(out)]
    forms = ["--save", "overlays", "labelme", "coco", "parquet"]
    assert cli.main([*command, *forms, "--max-detections", "3"]) == 1  # one is broken
    assert "broken.jpg: cannot be read as an image" in caplog.text
    assert "1 could not be read" in caplog.text
    images = COCO(str(out / "images.json"))
    names = [entry["file_name"] for entry in images.dataset["images"]]
    assert names == ["1.jpg", "2.png", "10.tif", "sub/3.jpg"]
    results = json.loads((out / "predictions.json").read_text())
    assert results and max(np.unique([r["image_id"] for r in results], return_counts=True)[1]) <= 3
    images.loadRes(str(out / "predictions.json"))
    for drawn in ("1.jpg", "2.png", "10.tif.png", "sub/3.jpg"):
        with Image.open(out / "overlays" / drawn) as picture:
            assert picture.width == 90
    labelme = json.loads((out / "labelme/sub/3.json").read_text())
    copy = out / "labelme/sub" / labelme["imagePath"]
    assert copy.read_bytes() == (photos / "sub/3.jpg").read_bytes()
    data = json.loads((out / "annotations.json").read_text())
    assert [c["name"] for c in data["categories"]] == CLASSES[1:]
    assert (out / "objects.parquet").exists() and (out / "pictures.parquet").exists()

    # The same in Python.
    model = mrcnn.load(logs / "small20260102T1200")
    found = model.predict(photos / "2.png", max_detections=3)[0]
    of_file = [r for r in results if r["image_id"] == names.index("2.png") + 1]
    assert [r["score"] for r in of_file] == pytest.approx(found.scores.tolist(), abs=1e-5)
    found.save(tmp_path / "new/drawn.png")
    with pytest.raises(ValueError, match=r"broken\.jpg"):
        list(model.predict(photos, keep_images=False))


def test_going_on(logs, photos, tmp_path, monkeypatch, caplog):
    (photos / "broken.jpg").unlink()
    command = ["predict", str(photos), "--logs", str(logs)]
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert cli.main([*command, "--output", str(whole)]) == 0
    calls = []

    def stop_at_the_third(self, path):
        calls.append(path)
        if len(calls) == 3:
            raise KeyboardInterrupt
        save(self, path)

    save = Prediction.save
    monkeypatch.setattr(Prediction, "save", stop_at_the_third)
    assert cli.main([*command, "--output", str(out)]) == 130
    monkeypatch.undo()
    assert cli.main([*command, "--output", str(out)]) == 2
    assert "--resume" in caplog.text
    caplog.set_level("INFO", "mrcnn")
    assert cli.main([*command, "--output", str(out), "--resume"]) == 0
    assert "2 pictures are done already" in caplog.text
    for name in ("predictions.json", "images.json", "predictions.csv"):
        assert (out / name).read_text() == (whole / name).read_text()
    # With other options the predictions would be others.
    assert cli.main([*command, "--output", str(out), "--resume", "--score", "0.4"]) == 2
    assert "score: None before, 0.4 now" in caplog.text


def test_a_video_comes_back_as_a_video(logs, tmp_path):
    frames = [Image.fromarray(discs(60, 90, [(20, 20 + 9 * k)])) for k in range(3)]
    frames[0].save(tmp_path / "walk.gif", save_all=True, append_images=frames[1:], duration=40)
    out = tmp_path / "out"
    command = ["predict", str(tmp_path / "walk.gif"), "--logs", str(logs), "--output", str(out)]
    assert cli.main(command) == 0
    entries = json.loads((out / "images.json").read_text())["images"]
    assert [entry["file_name"] for entry in entries] == [f"walk.gif#00000{k}" for k in range(3)]
    with Image.open(out / "overlays/walk.gif") as drawn:
        assert drawn.n_frames == 3 and drawn.size == (90, 60)
    before = (out / "predictions.json").read_text()
    assert cli.main([*command, "--resume"]) == 0
    assert (out / "predictions.json").read_text() == before


def test_tiles(logs, photos, tmp_path):
    out = tmp_path / "out"
    command = ["predict", str(photos / "*.jpg"), "--logs", str(logs), "--output", str(out)]
    (photos / "broken.jpg").unlink()
    assert cli.main([*command, "--tile", "48", "--overlap", "24", "--save"]) == 0
    assert not (out / "overlays").exists()
    assert json.loads((out / "predictions.json").read_text())


def test_looking_twice(logs, photos, tmp_path):
    """The option reaches the detector: what the looks find is put together."""
    (photos / "broken.jpg").unlink()
    scores = {}
    for name, looks in (("once", []), ("twice", ["--tta", "1"])):
        out = tmp_path / name
        command = ["predict", str(photos / "*.jpg"), "--logs", str(logs), "--output", str(out)]
        assert cli.main([*command, *looks, "--save"]) == 0
        found = json.loads((out / "predictions.json").read_text())
        scores[name] = [result["score"] for result in found]
    assert scores["twice"] and scores["twice"] != scores["once"]


def test_an_evaluation_looks_as_it_is_told(logs, tmp_path, caplog):
    data = tmp_path / "data"
    write_shapes(data, train=1, val=1, image_size=(64, 64))
    weights = logs / "small20260102T1200/mask_rcnn_small_0001.h5"
    command = ["evaluate", str(data), "--model", str(weights), "--output", str(tmp_path / "out")]
    assert cli.main([*command, "--boxes", "ground-truth", "--tta", "1"]) == 2
    assert "--tta: expected the detector's boxes" in caplog.text


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--classes", "pear"], "['apple', 'nut']"),
        (["--score", "50"], "score"),
        (["--overlap", "5"], "--tile"),
        (["--tile", "5", "--overlap", "5"], "overlap"),
        (["--limit", "-1"], "--limit"),
        (["--model", "nothing.h5"], "does not exist"),
        (["--logs", "nowhere"], "--model"),
    ],
)
def test_wrong_options(logs, photos, tmp_path, caplog, options, word):
    command = ["predict", str(photos), "--logs", str(logs), "--output", str(tmp_path / "out")]
    assert cli.main([*command, *options]) == 2
    assert word in caplog.text
    assert not (tmp_path / "out").exists()


def test_a_camera(logs, tmp_path, monkeypatch):
    from mrcnn.data import video
    from mrcnn.data.video import VideoFrames

    def camera(number: int) -> VideoFrames:
        assert number == 0

        def read():
            while True:
                yield discs(60, 90, [(20, 20)])

        return VideoFrames(None, 5.0, read)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(video, "read_camera", camera)
    written = []

    def write(path, frames, rate):
        written.extend(frames)
        Path(path).write_bytes(b"video")
        return len(written)

    monkeypatch.setattr(video, "write_frames", write)
    assert cli.main(["predict", "0", "--logs", str(logs), "--output", "out", "--limit", "4"]) == 0
    assert len(written) == 4 and Path("out/overlays/camera_0.mp4").exists()


def test_names_of_drawn_pictures():
    assert predict._overlay_name("a/b.JPG") == "a/b.JPG"
    assert predict._overlay_name("a/b.tiff") == "a/b.tiff.png"


def test_pictures_in_a_tar_file_have_no_labelme_files(logs, photos, tmp_path, caplog):
    pytest.importorskip("fsspec", reason="pip install '.[remote]'")
    with tarfile.open(tmp_path / "shard.tar", "w") as archive:
        archive.add(photos / "2.png", "2.png")
    out = tmp_path / "out"
    command = ["predict", str(tmp_path / "shard.tar"), "--logs", str(logs), "--output", str(out)]
    assert cli.main([*command, "--save", "overlays", "labelme"]) == 0
    assert (out / "overlays" / "2.png").is_file() and not (out / "labelme").exists()
    assert "of 1 pictures, which lie at addresses or in tar files, no file" in caplog.text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--part-size", "5"], "--part-size: expected --ray"),
        (["--ray-workers", "2"], "--ray-workers: expected --ray"),
        (["--ray", "local", "--save", "coco"], "--save: expected parquet alone with --ray"),
        (["--ray", "local", "--image-ids", "a.json"], "--ray: expected no --image-ids"),
    ],
)
def test_what_does_not_go_with_a_cluster(logs, photos, tmp_path, caplog, options, said):
    command = ["predict", str(photos), "--logs", str(logs), "--output", str(tmp_path / "out")]
    assert cli.main([*command, *options]) == 2
    assert said in caplog.text and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_command_on_a_cluster(logs, photos, tmp_path, caplog):
    ray = pytest.importorskip("ray", reason="pip install '.[ray]'")
    tables = pytest.importorskip("pyarrow.parquet")
    caplog.set_level("INFO", "mrcnn")
    out = tmp_path / "out"
    command = ["predict", str(photos), "--logs", str(logs), "--output", str(out)]
    on_ray = [*command, "--ray", "local", "--part-size", "2"]
    try:
        assert cli.main(on_ray) == 1  # one is broken
        assert "4 pictures, 1 could not be read" in caplog.text
        assert cli.main(on_ray) == 2 and "add --resume" in caplog.text
        assert cli.main([*on_ray, "--resume"]) == 1 and "3 of 3 parts are done" in caplog.text
    finally:
        ray.shutdown()
    assert cli.main([*command[:-1], str(tmp_path / "plain"), "--save", "parquet"]) == 1
    for file in ("pictures", "objects"):
        parts = sorted(out.glob(f"part-*/{file}.parquet"))
        rows = [row for part in parts for row in tables.read_table(part).to_pylist()]
        plain = tables.read_table(tmp_path / "plain" / f"{file}.parquet").to_pylist()
        assert len(rows) == len(plain)
        for row, expected in zip(rows, plain, strict=True):
            # Ids count the broken one too, and in another batch floats are added in another order.
            for name in {*row} - {"image_id", "area", "rle"}:
                value = row[name]
                assert value == (
                    pytest.approx(expected[name], abs=0.01)
                    if isinstance(value, float)
                    else expected[name]
                )


def test_tables_are_evaluated_as_results_are(tmp_path, caplog):
    pytest.importorskip("pyarrow", reason="pip install '.[parquet]'")
    data, out = tmp_path / "data", tmp_path / "out"
    truth = data / "annotations" / "instances_val.json"
    for source, target in [
        (nuclei.ANNOTATIONS, truth),
        *((picture, data / "val" / picture.name) for picture in nuclei.PICTURES),
    ]:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    command = ["predict", "--demo", str(data / "val"), "--save", "parquet", "--image-ids"]
    assert cli.main([*command, str(truth), "--output", str(out), "--score", "0.05"]) == 0
    evaluate = ["evaluate", str(data), "--predictions", str(out)]
    assert cli.main([*evaluate, "--output", str(tmp_path / "ev")]) == 0
    lines = (tmp_path / "ev" / "coco_val.csv").read_text().splitlines()
    rows = [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]
    expected = evaluate_results(truth, json.loads((out / "predictions.json").read_text()))
    assert sorted(row.pop(next(iter(row))) for row in rows) == ["bbox", "boundary", "segm"]
    for values, kind in ((expected["segm"], 0), (expected["bbox"], 1)):
        for name, value in values.items():
            assert float(rows[kind][name]) == pytest.approx(value, abs=1e-6)
    assert expected["segm"]["AP"] > 0.3
    # Of some images there are no predictions; and what does not go together is said.
    one = [*command[:2], str(data / "val" / nuclei.PICTURES[0].name), "--save", "parquet"]
    assert cli.main([*one, "--output", str(tmp_path / "one")]) == 0
    assert cli.main(["evaluate", str(data), "--predictions", str(tmp_path / "one")]) == 0
    assert "1 images of the subset are not among the predictions" in caplog.text
    (data / "val" / nuclei.PICTURES[0].name).rename(data / "val" / "other.png")
    content = truth.read_text().replace(nuclei.PICTURES[0].name, "other.png")
    truth.write_text(content)
    assert cli.main(["evaluate", str(data), "--predictions", str(tmp_path / "one")]) == 2
    assert "Are they of another subset?" in caplog.text
    for option in (["--model", "a.h5"], ["--boxes", "ground-truth"], ["--image-size", "64"]):
        assert cli.main([*evaluate, *option]) == 2
        assert f"--predictions: expected no {option[0]}" in caplog.text
    assert cli.main(["evaluate", str(data), "--predictions", str(data)]) == 2
    assert "expected pictures.parquet and objects.parquet" in caplog.text
