"""`mrcnn pretrain`, run as a user runs it, and a detector that starts from what it wrote."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mrcnn.commands import cli
from mrcnn.datasets.shapes import write_shapes
from tests.commands.test_cli import TINY

SMALL = [
    *("--backbone", "resnet10", "--batch-size", "4", "--workers", "1", "--steps", "4"),
    *("--steps-per-epoch", "2", "--validation-steps", "1", "--set"),
    "FPN_CLASSIF_FC_LAYERS_SIZE=16",
]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    write_shapes(folder, train=6, val=3, image_size=(64, 64))
    return folder


def weights_in(run: Path) -> list[str]:
    return sorted(path.name for path in run.glob("*_0*.h5"))


@pytest.mark.slow  # tests/runs/test_pretraining.py trains too
def test_a_detector_starts_from_the_crops_of_its_data(shapes, tmp_path, capsys):
    logs = tmp_path / "logs"
    command = ["pretrain", str(shapes), "--logs", str(logs), "--empty", "5", "--seed", "3"]
    assert cli.main([*command, *SMALL]) == 0
    said = capsys.readouterr().out
    (run,) = logs.iterdir()
    assert run.name.startswith(f"{shapes.name.lower()}_backbone")
    assert "backbone resnet10 as a classifier of 3 classes and no object" in said
    assert "5 empty windows" in said and "4 steps of 4 images" in said
    assert "Accuracy after the last epoch: training 0." in said and ", validation 0." in said
    before = weights_in(run)
    last = run / before[-1]
    assert f"mrcnn train DATASET --model {last}" in said

    # What is not given is as before, the crops too; and the run becomes longer.
    again = ["pretrain", str(shapes), "--logs", str(logs), "--model", "last", "--steps", "6"]
    assert cli.main([*again, "--workers", "1"]) == 0
    assert "5 empty windows" in capsys.readouterr().out
    assert weights_in(run)[: len(before)] == before != weights_in(run)
    written = json.loads((run / "config.json").read_text())
    assert written["training"]["empty"] == 5 and written["SEED"] == 3

    # The backbone is that of the weights, unless another one is asked for.
    options = [*TINY[2:], "TRAIN_BN=None"]
    train = ["train", str(shapes), "--logs", str(tmp_path / "detector"), "--steps", "2"]
    assert cli.main([*train, "--model", str(last), "--no-check", *options]) == 0
    (detector,) = (tmp_path / "detector").iterdir()
    assert json.loads((detector / "config.json").read_text())["BACKBONE"] == "resnet10"
    said = capsys.readouterr().out
    assert str(last) in said and "pretrain_fc" in said  # of the file, and not of the detector


def test_class_folders(tmp_path, capsys):
    for number, name in enumerate(("cat", "dog", "background")):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for index in range(4):
            image = np.full((50, 70, 3), 80 * number + index, np.uint8)
            Image.fromarray(image).save(tmp_path / "pets" / name / f"{index}.png")
    command = ["pretrain", str(tmp_path / "pets"), "--logs", str(tmp_path / "logs")]
    assert cli.main([*command, *SMALL]) == 0
    said = capsys.readouterr().out
    assert "training data: 9 images: 3 cat, 3 dog, 3 of no object" in said
    assert "validation data: 3 images: 1 cat, 1 dog, 1 of no object" in said
    assert cli.main([*command, "--empty", "3", *SMALL]) == 2
    assert "--empty: expected a data set in COCO's layout" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--context", "-1"], "train: context: expected a number of at least 0; received -1.0"),
        (["--allow-changed"], "--allow-changed: expected --model last"),
        (["--model", "last"], "No checkpoint"),
    ],
)
def test_what_cannot_be_is_said(shapes, tmp_path, capsys, options, message):
    assert cli.main(["pretrain", str(shapes), "--logs", str(tmp_path), *options]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_of_neither_kind(tmp_path, capsys):
    (tmp_path / "data").mkdir()
    assert cli.main(["pretrain", str(tmp_path / "data"), "--logs", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "class folders" in said and "COCO" in said
