"""The commands, run as a user runs them, on a tiny data set."""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from PIL import Image

import mrcnn
from mrcnn.checkpoints import state_file
from mrcnn.checkpoints.settings_file import save_settings
from mrcnn.commands import cli, demo, evaluate
from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from mrcnn.datasets.shapes import CLASS_NAMES, write_shapes
from mrcnn.model import MaskRCNN
from mrcnn.runs import settings as run_settings
from tests.conftest import REPOSITORY

TINY = [
    *("--backbone", "resnet10", "--image-size", "64", "--batch-size", "2", "--rois", "8"),
    *("--steps-per-epoch", "2", "--validation-steps", "1", "--workers", "1", "--set"),
    *("TOP_DOWN_PYRAMID_SIZE=16", "RPN_CONV_FILTERS=16", "MASK_CONV_FILTERS=8"),
    *("FPN_CLASSIF_FC_LAYERS_SIZE=16", "RPN_ANCHOR_SCALES=(8,16,32,48,64)", "PRE_NMS_LIMIT=100"),
    *("POST_NMS_ROIS_TRAINING=30", "POST_NMS_ROIS_INFERENCE=20", "DETECTION_MAX_INSTANCES=5"),
]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    write_shapes(folder, train=6, val=3, image_size=(64, 64))
    return folder


def read_metrics(path: Path) -> dict[str, dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return {row["iou_type"]: row for row in csv.DictReader(file)}


def test_train_then_evaluate(shapes, tmp_path, capsys):
    logs = tmp_path / "logs"
    command = ["train", str(shapes), "--name", "tiny", "--logs", str(logs), "--steps", "6"]
    assert cli.main([*command, "--edge-loss-filters", "sobel", *TINY]) == 0
    (run,) = logs.iterdir()
    *weights, best = sorted(path.name for path in run.glob("*.h5"))
    assert weights == [f"mask_rcnn_tiny_{epoch:04d}.h5" for epoch in (1, 2, 3)]
    assert best == "mask_rcnn_tiny_best.h5"
    said = capsys.readouterr().out
    assert "6 steps of 2 images" in said and "stage 2    2 steps at rate 0.002" in said
    with open(run / "losses.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(weights)
    assert float(rows[-1]["mrcnn_mask_edge_loss"]) >= 0
    assert float(rows[-1]["val_loss"]) > 0
    assert Image.open(run / "losses.png").width > 100
    written = json.loads((run / "config.json").read_text())
    assert written["BACKBONE"] == "resnet10"
    assert written["class_names"] == ["BG", *CLASS_NAMES]
    assert sum(steps for *_, steps in written["training"]["stages"]) == 6
    assert list(run.glob("events.out.tfevents.*"))

    # The settings come from beside the weights.
    weights_path = run / weights[-1]
    assert cli.main(["evaluate", str(shapes), "--model", str(weights_path)]) == 0
    metrics = read_metrics(run / "coco_val.csv")
    assert set(metrics) == {"segm", "bbox", "boundary"} and len(metrics["segm"]) == 13
    with open(run / "coco_val_classes.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["category"] for row in rows} == set(CLASS_NAMES)
    with open(run / "images_val.csv", newline="", encoding="utf-8") as file:
        images = list(csv.DictReader(file))
    detections = json.loads((run / "detections_val.json").read_text())
    assert len(images) == 3 and all(row["file_name"].endswith(".png") for row in images)
    assert sum(int(row["detections"]) for row in images) == len(detections)
    objects = json.loads((shapes / "annotations" / "instances_val.json").read_text())["annotations"]
    there = sum(int(row["found"]) + int(row["missed"]) for row in images)
    assert there == sum(not entry["iscrowd"] for entry in objects)
    with open(run / "errors_val.csv", newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 6
    with open(run / "confusion_val.csv", newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [row["object"] for row in table] == [*CLASS_NAMES, "background"]
    assert sum(int(row[name]) for row in table[:-1] for name in row if name != "object") == there
    assert Image.open(run / "analysis_val.png").width > 100
    assert Image.open(run / "detections_val.png").width > 100
    assert "AP50" in capsys.readouterr().out

    # The newest run, or its folder, may be named instead of a file.
    where = ["--logs", str(logs), "--name", "tiny", "--limit", "1"]
    assert cli.main(["evaluate", str(shapes), *where]) == 0
    assert cli.main(["evaluate", "--dataset", str(shapes), "--model", str(run), *where]) == 0
    capsys.readouterr()

    # Training continues in the run with its settings; here nothing is left to do.
    last = ["train", str(shapes), "--name", "tiny", "--logs", str(logs), "--model", "last"]
    assert cli.main(last) == 0
    out = capsys.readouterr().out
    assert "Resuming at step 6" in out and "the run has all of its 6 steps" in out
    assert list(logs.iterdir()) == [run]

    # Longer: nothing but the length changes, and what was trained stays.
    assert cli.main([*last, "--steps", "9"]) == 0
    out = capsys.readouterr().out
    assert "continues to 9 steps in all, in place of 6" in out and "Nothing to train" not in out
    assert "Epochs 4 to 5, learning rate 0.002" in out
    state, _ = state_file.newest_state(run)
    assert (state.header["step"], state.header["epoch"]) == (9, 5)
    with open(run / "losses.csv", newline="", encoding="utf-8") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3", "4", "5"]


def test_a_run_goes_on_with_what_it_was_started_with(shapes, tmp_path, capsys, monkeypatch):
    """Its schedule, augmentation and subsets: stopped after its first stage, no option given."""
    command = ["train", str(shapes), "--name", "tiny", "--logs", str(tmp_path / "logs")]
    schedule = ["--schedule", "paper-160k", "--steps", "8", "--augment", "updown", "rotate"]
    train = MaskRCNN.train

    def train_the_first_stage(self, *given, **options):
        if self.epoch:
            raise KeyboardInterrupt
        return train(self, *given, **options)

    monkeypatch.setattr(MaskRCNN, "train", train_the_first_stage)
    assert cli.main([*command, *schedule, "--val-subset", "", *TINY]) == 130
    monkeypatch.setattr(MaskRCNN, "train", train)
    capsys.readouterr()

    assert cli.main([*command, "--model", "last"]) == 0
    out = capsys.readouterr().out
    (run,) = (tmp_path / "logs").iterdir()
    assert "Nothing to train" not in out and "learning rate 0.0001" in out
    header = state_file.newest_state(run)[0].header
    assert header["step"] == 8 and header["validation"] is None
    transforms = json.dumps(header["augmentation"])
    assert "VerticalFlip" in transforms and "RandomRotate90" in transforms

    # Another schedule is taken when it is asked for by name, and said.
    assert cli.main([*command, "--model", "last", "--schedule", "scratch", "--steps", "10"]) == 0
    assert "The schedule changes as the options say" in capsys.readouterr().out
    assert state_file.newest_state(run)[0].header["stage"]["learning_rate"] == 2e-3


def test_anchors_are_fitted_to_the_objects_before_a_random_start(tmp_path, capsys):
    data = tmp_path / "tiny"
    write_shapes(data, train=6, val=0, image_size=(64, 64))
    anchors = TINY.index("RPN_ANCHOR_SCALES=(8,16,32,48,64)")
    options = [*TINY[:anchors], *TINY[anchors + 1 :]]
    command = ["train", str(data), "--logs", str(tmp_path / "logs"), "--model", "none"]
    assert cli.main([*command, "--val-subset", "", "--steps", "1", *options]) == 0
    (run,) = (tmp_path / "logs").iterdir()
    scales = tuple(run_settings.load_settings(run / "config.json")["RPN_ANCHOR_SCALES"])
    assert scales[0] < 32 == Config.RPN_ANCHOR_SCALES[0]
    assert f"Anchors of sides {scales} fit the objects better" in capsys.readouterr().out


def test_a_run_of_a_script_says_that_its_schedule_is_needed(shapes, tmp_path, capsys):
    run = tmp_path / "tiny20260101T1200"
    save_settings(run_settings.configure(Config, {"NAME": "tiny"}), run)
    (run / "mask_rcnn_tiny_0001.h5").write_bytes(b"")
    command = ["train", str(shapes), "--name", "tiny", "--logs", str(tmp_path), "--no-check"]
    assert cli.main([*command, "--model", "last"]) == 2
    assert "--schedule NAME" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--edge-loss-filters", "scharr"], "laplace"),
        (["--edge-loss-norm", "l0"], "l1"),
        (["--set", "NO_SUCH_SETTING=1"], "NO_SUCH_SETTING"),
        (["--set", "MASK_SHAPES=(28,28)"], "MASK_SHAPE"),
        (["--image-size", "100"], "64"),
        (["--model", "imagenet", "--backbone", "resnet10"], "resnet50"),
        (["--model", "last"], "No checkpoint"),
        (["--allow-changed"], "--model last"),
        (["--exclude", "mrcnn_mask.*"], "--exclude: expected start weights"),
        (["--model", "no/such/file.h5"], "no/such/file.h5"),
    ],
)
def test_wrong_options_are_clear_errors(shapes, tmp_path, capsys, arguments, message):
    common = ["train", str(shapes), "--logs", str(tmp_path), "--image-size", "64"]
    assert cli.main([*common, "--backbone", "resnet10", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, 130), (FloatingPointError, 2)])
def test_the_exit_status_of_a_run_that_stops(monkeypatch, error, status):
    def stop(args):
        raise error

    monkeypatch.setattr(demo, "run", stop)
    assert cli.main(["demo"]) == status


def test_a_missing_data_set_is_a_clear_error(tmp_path, capsys):
    assert cli.main(["train", str(tmp_path / "nothing")]) == 2
    assert "expected the folder of a data set; there is nothing there" in capsys.readouterr().err


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_a_command_has_what_the_command_line_calls(name):
    command = cli.module_of(name)
    assert command.HELP and "\n" not in command.HELP
    command.add_options(argparse.ArgumentParser())
    assert callable(command.run) and command.run.__doc__


def test_a_new_command_is_one_file_and_one_name_in_the_list(monkeypatch, capsys):
    def add_options(parser):
        parser.add_argument("name")

    def run(args):
        print(f"Hello, {args.name}.")
        return 7

    greet = ModuleType("mrcnn.commands.greet")
    greet.HELP, greet.add_options, greet.run = "greet somebody", add_options, run
    monkeypatch.setitem(sys.modules, greet.__name__, greet)
    monkeypatch.setattr(cli, "COMMANDS", (*cli.COMMANDS, "greet"))
    assert cli.main(["greet", "you"]) == 7
    assert capsys.readouterr().out == "Hello, you.\n"
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert "greet somebody" in capsys.readouterr().out


def test_python_m_mrcnn_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "mrcnn", "--version"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"mrcnn {mrcnn.__version__}\n"


def test_an_error_is_one_line_on_the_standard_error(tmp_path, capsys):
    assert cli.main(["evaluate", str(tmp_path), "--model", "no.h5"]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("mrcnn: ")
    assert printed.err.count("\n") == 1


def test_classes_are_told_apart_by_their_names(tmp_path):
    def split(*names: str) -> SimpleNamespace:
        dataset = Dataset()
        for number, name in enumerate(names, start=1):
            dataset.add_class("coco", number, name)
        dataset.prepare()
        return SimpleNamespace(dataset=dataset)

    weights = tmp_path / "a.h5"
    data = split("nut", "fig")
    evaluate._order_classes(data, weights)  # of a script: unknown
    assert data.dataset.class_names == ["BG", "nut", "fig"]
    save_settings(Config(), tmp_path, {"class_names": ["BG", "fig", "date", "nut"]})
    evaluate._order_classes(data, weights)
    assert data.dataset.class_names == ["BG", "fig", "date", "nut"]
    with pytest.raises(ValueError, match="a.h5: .* trained on, fig, date, nut; .* too: kiwi"):
        evaluate._order_classes(split("kiwi", "nut"), weights)
