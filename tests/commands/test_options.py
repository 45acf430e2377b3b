"""The options that commands and samples share, and what they mean."""

from __future__ import annotations

import argparse

import pytest

from mrcnn.commands import cli, options
from mrcnn.config import Config
from mrcnn.datasets.shapes import write_shapes
from mrcnn.runs.settings import configure
from mrcnn.training import stages


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    options.add_settings_options(parser)
    options.add_schedule_options(parser, default="paper-160k")
    return parser.parse_args(arguments)


def test_nothing_given_changes_nothing():
    assert options.settings_from_args(parse()) == {}
    assert options.stages_from_args(parse()) == stages.schedule("paper-160k")


def test_the_published_flags():
    flags = ["--edge-loss-norm", "l4", "--edge-loss-weight-factor", "0.0625"]
    flags += ["--edge-loss-smoothing-groundtruth", "--edge-loss-smoothing-predictions"]
    flags += ["--edge-loss-weight-entropy", "--mask-size", "56", "--edge-loss-filters", "sobel"]
    config = configure(Config, options.settings_from_args(parse(*flags)))
    assert config.EDGE_LOSS_FILTERS == ("sobel-x", "sobel-y")
    assert config.EDGE_LOSS_NORM == "l4" and config.EDGE_LOSS_WEIGHT_FACTOR == 0.0625
    assert config.EDGE_LOSS_SMOOTHING_GT and config.EDGE_LOSS_SMOOTHING_PREDICTIONS
    assert config.EDGE_LOSS_WEIGHT_ENTROPY and tuple(config.MASK_SHAPE) == (56, 56)


def test_the_variants_that_the_paper_tried_beside():
    flags = ["--edge-loss-filters", "roberts", "laplace-4", "--edge-loss-norm", "12.5"]
    flags += ["--edge-loss-weight-entropy", "exp", "--edge-loss-entropy-divisor", "4"]
    flags += ["--edge-loss-magnitude", "--uncertainty-weighting"]
    config = configure(Config, options.settings_from_args(parse(*flags)))
    assert config.EDGE_LOSS_FILTERS == ("roberts-x", "roberts-y", "laplace-4")
    assert config.EDGE_LOSS_ENTROPY_DIVISOR == 4 and config.EDGE_LOSS_WEIGHT_ENTROPY == "exp"
    assert config.EDGE_LOSS_MAGNITUDE and config.UNCERTAINTY_WEIGHTING


def test_steps_scale_the_schedule():
    chosen = options.stages_from_args(parse("--steps", "16"))
    assert [stage.steps for stage in chosen] == [4, 8, 4]
    chosen = options.stages_from_args(parse("--steps", "16", "--training-mode", "base"))
    assert [stage.layers for stage in chosen] == ["heads", "4+"]
    assert sum(stage.steps for stage in chosen) == 16


def test_the_learning_rate_is_that_of_the_fastest_stage():
    chosen = options.stages_from_args(parse("--learning-rate", "0.01"))
    assert [stage.learning_rate for stage in chosen] == pytest.approx([0.01, 0.01, 0.001])


def test_the_rates_of_a_schedule_are_those_of_sgd():
    with pytest.raises(ValueError, match="paper-160k: .* OPTIMIZER=sgd; .* --learning-rate"):
        options.stages_from_args(parse(), "adam")
    chosen = options.stages_from_args(parse("--learning-rate", "5e-4"), "adam")
    assert max(stage.learning_rate for stage in chosen) == pytest.approx(5e-4)


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("train", ["--set", "OPTIMIZER=adam"]),
        ("ablate", ["--set", "OPTIMIZER=adam"]),
        ("ablate", ["--arm", "own", "OPTIMIZER=adam"]),  # one arm is enough
    ],
)
def test_commands_refuse_them_for_adam_before_they_begin(tmp_path, capsys, command, options):
    write_shapes(tmp_path / "data", 2, 1, (64, 64))
    out = str(tmp_path / "out")
    place = ["--output", out] if command == "ablate" else ["--logs", out, "--no-check"]
    assert cli.main([command, str(tmp_path / "data"), *place, *options]) == 2
    assert "--schedule scratch: its learning rates are those of" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_any_setting_can_be_set():
    settings = options.settings_from_args(
        parse("--set", "TRAIN_BN=None", "IMAGE_RESIZE_MODE=pad64", "MASK_SHAPE=(56, 56)")
    )
    assert settings == {
        "TRAIN_BN": None,
        "IMAGE_RESIZE_MODE": "pad64",
        "MASK_SHAPE": (56, 56),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("MASK_SHAPE", "NAME=VALUE"),
        ("MASK_SHAPES=(28,28)", "Did you mean MASK_SHAPE"),
        ("BATCH_SIZE=4", "no setting"),  # derived from IMAGES_PER_GPU
        ("validate=1", "no setting"),  # a method
    ],
)
def test_what_is_no_setting_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        options.parse_settings([text])


def test_the_weights_that_an_option_means(tmp_path):
    args = parse("--backbone", "resnet10")
    args.model, args.logs = "some/file.h5", tmp_path
    assert options.weights_from_args(Config, args) == "some/file.h5"
    args.model = "imagenet"
    with pytest.raises(ValueError, match="resnet10"):
        options.weights_from_args(Config, args)
