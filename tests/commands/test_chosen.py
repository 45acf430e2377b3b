"""What the options mean that were given."""

from __future__ import annotations

import argparse

import pytest

from mrcnn.commands import chosen, cli, options
from mrcnn.config import Config
from mrcnn.datasets.shapes import write_shapes
from mrcnn.runs.settings import configure
from mrcnn.training import stages


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    options.add_options(parser, *options.SCHEDULE, "seed", *options.NETWORK, *options.TRAINING)
    return parser.parse_args(arguments)


def stages_of(args: argparse.Namespace, optimizer: str = "sgd") -> list[stages.Stage]:
    return chosen.stages_from_args(args, optimizer, "paper-160k")


def test_nothing_given_changes_nothing():
    assert chosen.settings_from_args(parse()) == {}
    assert stages_of(parse()) == stages.schedule("paper-160k")


def test_the_published_flags():
    flags = ["--edge-loss-norm", "l4", "--edge-loss-weight-factor", "0.0625"]
    flags += ["--edge-loss-smoothing-groundtruth", "--edge-loss-smoothing-predictions"]
    flags += ["--edge-loss-weight-entropy", "--mask-size", "56", "--edge-loss-filters", "sobel"]
    config = configure(Config, chosen.settings_from_args(parse(*flags)))
    assert config.EDGE_LOSS_FILTERS == ("sobel-x", "sobel-y")
    assert config.EDGE_LOSS_NORM == "l4" and config.EDGE_LOSS_WEIGHT_FACTOR == 0.0625
    assert config.EDGE_LOSS_SMOOTHING_GT and config.EDGE_LOSS_SMOOTHING_PREDICTIONS
    assert config.EDGE_LOSS_WEIGHT_ENTROPY and tuple(config.MASK_SHAPE) == (56, 56)


def test_the_variants_that_the_paper_tried_beside():
    flags = ["--edge-loss-filters", "roberts", "laplace-4", "--edge-loss-norm", "12.5"]
    flags += ["--edge-loss-weight-entropy", "exp", "--edge-loss-entropy-divisor", "4"]
    flags += ["--edge-loss-magnitude", "--uncertainty-weighting"]
    config = configure(Config, chosen.settings_from_args(parse(*flags)))
    assert config.EDGE_LOSS_FILTERS == ("roberts-x", "roberts-y", "laplace-4")
    assert config.EDGE_LOSS_ENTROPY_DIVISOR == 4 and config.EDGE_LOSS_WEIGHT_ENTROPY == "exp"
    assert config.EDGE_LOSS_MAGNITUDE and config.UNCERTAINTY_WEIGHTING


def test_the_magnitude_alone_is_a_flag_of_its_own():
    flags = ["--edge-loss-filters", "sobel", "--edge-loss-magnitude-only"]
    config = configure(Config, chosen.settings_from_args(parse(*flags)))
    assert config.EDGE_LOSS_MAGNITUDE == "only" and config.edge_settings().magnitude == "only"


def test_steps_scale_the_schedule():
    found = stages_of(parse("--steps", "16"))
    assert [stage.steps for stage in found] == [4, 8, 4]
    found = stages_of(parse("--steps", "16", "--training-mode", "base"))
    assert [stage.layers for stage in found] == ["heads", "4+"]
    assert sum(stage.steps for stage in found) == 16


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 47, 48, 60, 61, 1000])
@pytest.mark.parametrize("name", stages.SCHEDULES)
def test_so_many_steps_are_trained_as_were_asked_for(name: str, steps: int):
    found = chosen.stages_from_args(parse("--schedule", name, "--steps", str(steps)))
    assert sum(stage.steps for stage in found) == steps
    whole = stages.schedule(name)
    total = sum(stage.steps for stage in whole)
    for stage in found:  # within a step of its share
        share = {(s.layers, s.learning_rate): s.steps * steps / total for s in whole}
        assert len(share) == len(whole)
        assert abs(stage.steps - share[stage.layers, stage.learning_rate]) < 1


@pytest.mark.parametrize("steps", ["0", "-3"])
def test_at_least_one_step_is_trained(steps: str):
    with pytest.raises(ValueError, match=f"at least 1; received {steps}"):
        stages_of(parse("--steps", steps))


def test_one_length_at_a_time():
    with pytest.raises(ValueError, match="--steps and --scale"):
        stages_of(parse("--steps", "4", "--scale", "0.1"))


def test_the_learning_rate_is_that_of_the_fastest_stage():
    found = stages_of(parse("--learning-rate", "0.01"))
    assert [stage.learning_rate for stage in found] == pytest.approx([0.01, 0.01, 0.001])


def test_the_rates_of_a_schedule_are_those_of_sgd():
    with pytest.raises(ValueError, match="paper-160k: .* OPTIMIZER=sgd; .* --learning-rate"):
        stages_of(parse(), "adam")
    found = stages_of(parse("--learning-rate", "5e-4"), "adam")
    assert max(stage.learning_rate for stage in found) == pytest.approx(5e-4)


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
    settings = chosen.settings_from_args(
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
        chosen.parse_settings([text])


def test_the_weights_that_an_option_means(tmp_path):
    args = parse("--backbone", "resnet10")
    file = tmp_path / "mask_rcnn_x_0001.h5"
    args.model, args.logs = str(file), tmp_path
    with pytest.raises(FileNotFoundError, match="it does not exist"):
        chosen.weights_from_args(Config, args)
    file.write_bytes(b"")
    assert chosen.weights_from_args(Config, args) == str(file)
    args.model = str(tmp_path)  # the folder of a run
    assert chosen.weights_from_args(Config, args) == str(file)
    args.model = "imagenet"
    with pytest.raises(ValueError, match="resnet10"):
        chosen.weights_from_args(Config, args)
