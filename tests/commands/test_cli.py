"""The commands, run as a user runs them, on a tiny data set."""

from __future__ import annotations

import csv
import importlib.util
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import keras
import pytest
from PIL import Image

from mrcnn.commands import cli
from mrcnn.commands import options as commands_options
from mrcnn.config import Config
from mrcnn.datasets.shapes import write_shapes
from mrcnn.model import MaskRCNN
from mrcnn.runs import results, start_weights
from mrcnn.runs import settings as runs_settings
from mrcnn.training import stages

REPOSITORY = Path(__file__).resolve().parents[2]
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


def coco_sample():
    path = REPOSITORY / "samples" / "coco" / "coco.py"
    spec = importlib.util.spec_from_file_location("coco_sample", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_metrics(path: Path) -> dict[str, dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return {row["iou_type"]: row for row in csv.DictReader(file)}


def test_train_then_evaluate(shapes, tmp_path, capsys):
    logs = tmp_path / "logs"
    command = ["train", str(shapes), "--name", "tiny", "--logs", str(logs), "--steps", "6"]
    assert cli.main([*command, "--edge-loss-filters", "sobel", *TINY]) == 0
    (run,) = logs.iterdir()
    weights = sorted(path.name for path in run.glob("*.h5"))
    assert weights == [f"mask_rcnn_tiny_{epoch:04d}.h5" for epoch in range(1, len(weights) + 1)]
    assert len(weights) >= 3  # a stage each, at least
    with open(run / "losses.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(weights)
    assert float(rows[-1]["mrcnn_mask_edge_loss"]) >= 0
    assert float(rows[-1]["val_loss"]) > 0
    assert Image.open(run / "losses.png").width > 100
    assert json.loads((run / "config.json").read_text())["BACKBONE"] == "resnet10"
    assert list(run.glob("events.out.tfevents.*"))

    # The settings come from beside the weights.
    weights_path = run / weights[-1]
    assert cli.main(["evaluate", str(shapes), "--model", str(weights_path)]) == 0
    metrics = read_metrics(run / "coco_val.csv")
    assert set(metrics) == {"segm", "bbox"} and len(metrics["segm"]) == 13
    assert Image.open(run / "detections_val.png").width > 100
    assert "AP50" in capsys.readouterr().out

    # Training goes on in the run with its settings; here nothing is left to do.
    assert cli.main([*command, "--model", "last"]) == 0
    out = capsys.readouterr().out
    assert f"Going on at step {2 * len(weights)}" in out and "Nothing to train" in out
    assert list(logs.iterdir()) == [run]


def test_the_coco_sample_trains_goes_on_and_evaluates(shapes, tmp_path, capsys):
    # The sample has COCO's 80 classes whatever the data set; the year names the files.
    data = tmp_path / "coco"
    shutil.copytree(shapes, data)
    for subset in ("train", "val"):
        annotations = data / "annotations"
        (annotations / f"instances_{subset}.json").rename(
            annotations / f"instances_{subset}2017.json"
        )
        (data / subset).rename(data / f"{subset}2017")
    sample = coco_sample()
    common = ["--dataset", str(data), "--year", "2017", "--logs", str(tmp_path / "logs")]
    first = ["train", *common, "--model", "none", "--steps", "4", "--run-name", "sobel"]
    assert sample.main([*first, "--edge-loss-filters", "sobel-x", "sobel-y", *TINY]) == 0
    (run,) = (tmp_path / "logs").iterdir()
    assert run.name.startswith("coco_sobel_")
    assert len(list(run.glob("mask_rcnn_coco_*.h5"))) == 3

    evaluate = ["evaluate", *common, "--model", "last", "--run-name", "sobel", "--limit", "2"]
    assert sample.main(evaluate) == 0
    assert set(read_metrics(run / "coco_val2017.csv")) == {"segm", "bbox"}
    assert "2 images in" in capsys.readouterr().out


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

    monkeypatch.setattr(cli, "_demo", stop)
    assert cli.main(["demo"]) == status


def test_a_missing_data_set_is_a_clear_error(tmp_path, capsys):
    assert cli.main(["train", str(tmp_path / "nothing")]) == 2
    assert "instances_train.json" in capsys.readouterr().err


class TestOptions:
    def parse(self, *arguments: str):
        import argparse

        parser = argparse.ArgumentParser()
        commands_options.add_settings_options(parser)
        commands_options.add_schedule_options(parser, default="paper-160k")
        return parser.parse_args(arguments)

    def test_nothing_given_changes_nothing(self):
        assert commands_options.settings_of(self.parse()) == {}
        assert commands_options.stages_of(self.parse()) == stages.schedule("paper-160k")

    def test_the_published_flags(self):
        flags = ["--edge-loss-norm", "l4", "--edge-loss-weight-factor", "0.0625"]
        flags += ["--edge-loss-smoothing-groundtruth", "--edge-loss-smoothing-predictions"]
        flags += ["--edge-loss-weight-entropy", "--mask-size", "56", "--edge-loss-filters", "sobel"]
        config = runs_settings.configure(Config, commands_options.settings_of(self.parse(*flags)))
        assert config.EDGE_LOSS_FILTERS == ("sobel-x", "sobel-y")
        assert config.EDGE_LOSS_NORM == "l4" and config.EDGE_LOSS_WEIGHT_FACTOR == 0.0625
        assert config.EDGE_LOSS_SMOOTHING_GT and config.EDGE_LOSS_SMOOTHING_PREDICTIONS
        assert config.EDGE_LOSS_WEIGHT_ENTROPY and tuple(config.MASK_SHAPE) == (56, 56)

    def test_the_variants_that_the_paper_tried_beside(self):
        flags = ["--edge-loss-filters", "roberts", "laplace-4", "--edge-loss-norm", "12.5"]
        flags += ["--edge-loss-weight-entropy", "exp", "--edge-loss-entropy-divisor", "4"]
        flags += ["--edge-loss-magnitude", "--uncertainty-weighting"]
        config = runs_settings.configure(Config, commands_options.settings_of(self.parse(*flags)))
        assert config.EDGE_LOSS_FILTERS == ("roberts-x", "roberts-y", "laplace-4")
        assert config.EDGE_LOSS_ENTROPY_DIVISOR == 4 and config.EDGE_LOSS_WEIGHT_ENTROPY == "exp"
        assert config.EDGE_LOSS_MAGNITUDE and config.UNCERTAINTY_WEIGHTING
        described = results.describe(config)
        assert "edge agreement: roberts-x, roberts-y, laplace-4; 12.5, factor 1.0" in described
        assert "EDGE_LOSS_MAGNITUDE=True" in described and "loss is learned" in described

    def test_edge_settings_without_a_filter_are_said_to_do_nothing(self):
        config = runs_settings.configure(
            Config, commands_options.settings_of(self.parse("--edge-loss-norm", "l1"))
        )
        assert "edge agreement: off; no effect has EDGE_LOSS_NORM=l1" in results.describe(config)
        assert results.describe(Config()).endswith("edge agreement: off")

    def test_steps_scale_the_schedule(self):
        chosen = commands_options.stages_of(self.parse("--steps", "16"))
        assert [stage.steps for stage in chosen] == [4, 8, 4]
        chosen = commands_options.stages_of(self.parse("--steps", "16", "--training-mode", "base"))
        assert [stage.layers for stage in chosen] == ["heads", "4+"]
        assert sum(stage.steps for stage in chosen) == 16

    def test_the_learning_rate_is_that_of_the_fastest_stage(self):
        chosen = commands_options.stages_of(self.parse("--learning-rate", "0.01"))
        assert [stage.learning_rate for stage in chosen] == pytest.approx([0.01, 0.01, 0.001])

    def test_any_setting_can_be_set(self):
        settings = commands_options.settings_of(
            self.parse("--set", "TRAIN_BN=None", "IMAGE_RESIZE_MODE=pad64", "MASK_SHAPE=(56, 56)")
        )
        assert settings == {
            "TRAIN_BN": None,
            "IMAGE_RESIZE_MODE": "pad64",
            "MASK_SHAPE": (56, 56),
        }

    def test_settings_survive_the_file(self, tmp_path):
        config = runs_settings.configure(
            Config, {"NAME": "x", "BBOX_STD_DEV": (0.1, 0.1, 0.2, 0.4)}
        )
        runs_settings.save_settings(config, tmp_path)
        loaded = runs_settings.configure(
            Config, runs_settings.load_settings(tmp_path / "weights.h5")
        )
        for name, value in config.to_dict().items():
            assert list(map(str, [value])) == list(map(str, [getattr(loaded, name)])) or list(
                value
            ) == pytest.approx(list(getattr(loaded, name))), name


def test_stages_count_on_from_their_start(monkeypatch):
    model = object.__new__(MaskRCNN)
    model.config = runs_settings.configure(Config, {"STEPS_PER_EPOCH": 2})
    asked = []
    monkeypatch.setattr(
        MaskRCNN, "train", lambda self, *arguments, **options: asked.append(arguments[2:])
    )
    chosen = [stages.Stage("heads", 1e-3, 4), stages.Stage("all", 1e-4, 3)]
    model.train_stages(None, None, chosen, start=5)
    assert asked == [(1e-3, 7, "heads"), (1e-4, 9, "all")]


def test_layers_can_be_left_out_of_the_start_weights(tmp_path):
    """Expressions become the names of the layers that they match."""
    layers = [keras.layers.Dense(1, name=name) for name in ("conv1", "mrcnn_mask_conv1", "fc")]
    network = keras.Sequential([keras.Input((1,)), *layers])
    calls = []
    model = SimpleNamespace(
        config=Config(),
        model_dir=tmp_path,
        keras_model=network,
        load_weights=lambda path, **options: calls.append((path, options)),
    )
    start_weights.load_start_weights(model, "a.h5", ["mrcnn_mask.*", "fc"])
    assert calls == [("a.h5", {"by_name": True, "exclude": ["mrcnn_mask_conv1", "fc"]})]
    with pytest.raises(ValueError, match="mask_of_nothing"):
        start_weights.load_start_weights(model, "a.h5", ["mask_of_nothing"])
    start_weights.load_start_weights(model, "none", ["mrcnn_mask.*"])
    assert len(calls) == 1
