"""The network that comes with the package: it is small, described, and finds what its card says."""

from __future__ import annotations

import csv
import json
import re
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from mrcnn.commands import cli
from mrcnn.config import Config
from mrcnn.files.safetensors import read_safetensors
from mrcnn.runs import nuclei, trained
from mrcnn.weights.matterport import save_weights


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*arguments):
        raise AssertionError("the demo needs no network")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)


def annotations() -> dict:
    return json.loads(nuclei.ANNOTATIONS.read_text(encoding="utf-8"))


def test_it_is_small_and_what_it_holds_is_described():
    assert nuclei.WEIGHTS.stat().st_size < 13_000_000
    assert sum(path.stat().st_size for path in nuclei.PICTURES) < 200_000
    card = nuclei.CARD.read_text(encoding="utf-8")
    for word in ("## Data", "CC0", "## Scores", "## Limits", "## Command", "BBBC038"):
        assert word in card
    [licence] = annotations()["licenses"]
    assert licence["name"] == "CC0 1.0"
    assert {entry["license"] for entry in annotations()["images"]} == {licence["id"]}
    arrays = read_safetensors(nuclei.WEIGHTS)
    kernels = {name for name in arrays if name.endswith("/kernel")}
    assert {arrays[name].dtype for name in kernels} == {np.dtype("<f2")}
    assert {arrays[name].dtype for name in arrays.keys() - kernels} == {np.dtype("<f4")}
    size = sum(array.size for array in arrays.values()) / 1e6
    assert f"{size:.1f} million parameters" in card


def test_the_annotations_are_of_the_pictures():
    content = annotations()
    assert [entry["file_name"] for entry in content["images"]] == [p.name for p in nuclei.PICTURES]
    for entry, path in zip(content["images"], nuclei.PICTURES, strict=True):
        assert Image.open(path).size == (entry["width"], entry["height"])
    for entry in content["annotations"]:
        assert rle.decode(entry["segmentation"]).sum() == entry["area"]
    assert f"{len(content['annotations'])} nuclei" in nuclei.CARD.read_text(encoding="utf-8")


def test_it_is_loaded_into_float32_as_it_is_stored(tmp_path: Path):
    config = trained.inference_config(nuclei.WEIGHTS, Config)
    model = trained.load_detector(config, nuclei.WEIGHTS)
    assert model.class_names == ["BG", "nucleus"]
    assert {str(weight.dtype) for weight in model.keras_model.weights} == {"float32"}
    saved = read_safetensors(save_weights(model.keras_model, tmp_path / "all.safetensors"))
    stored = read_safetensors(nuclei.WEIGHTS)
    assert saved.keys() == stored.keys()
    for name, array in stored.items():
        np.testing.assert_array_equal(saved[name], array.astype(np.float32), err_msg=name)


def test_the_demo_finds_nuclei_without_a_network(offline, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["predict", "--demo"]) == 0
    said, bars = capsys.readouterr()
    assert "\r" not in said + bars  # no terminal, no bar
    found = {
        match[1]: tuple(map(int, match.groups()[1:]))
        for match in re.finditer(r"(\w+\.png): (\d+) of (\d+) nuclei found; (\d+) other", said)
    }
    right, objects, wrong = found["fluorescence.png"]
    assert objects == 56 and 45 <= right <= 53 and wrong <= 6
    right, objects, wrong = found["stained.png"]
    assert objects == 20 and 12 <= right <= 18 and wrong <= 6
    assert 0.45 < float(re.search(r"Mask AP of these detections: (\d\.\d+)", said)[1]) < 0.55
    folder = tmp_path / "demo_predictions"
    for path in nuclei.PICTURES:
        drawn = np.asarray(Image.open(folder / "overlays" / path.name).convert("RGB"))
        before = np.asarray(Image.open(path).convert("RGB"))
        assert drawn.shape == before.shape and (drawn != before).any(axis=2).mean() > 0.1
    with open(folder / "predictions.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["class"] for row in rows} == {"nucleus"} and len(rows) > 60

    # What is counted is what was predicted: without detections nothing is found.
    counts, precision = nuclei.compare([])
    assert [count.found for count in counts] == [0, 0] and precision == 0

    # Again, and on other pictures.
    assert cli.main(["predict", "--demo"]) == 0
    assert "done already" not in capsys.readouterr().out
    one = ["predict", "--demo", str(nuclei.PICTURES[1]), "--output", "one"]
    assert cli.main(one) == 0
    assert "nuclei found" not in capsys.readouterr().out
    assert json.loads(Path("one/predictions.json").read_text())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "mrcnn predict --demo needs none"),
        (["--demo", "--model", "last"], "--demo: expected no --model"),
    ],
)
def test_what_does_not_go_together(options, message, capsys):
    assert cli.main(["predict", *options]) == 2
    assert message in capsys.readouterr().err
