"""`--config`: a command line in a file."""

from __future__ import annotations

import json

import pytest

from mrcnn.commands import chosen, cli, options
from mrcnn.commands.parser import Parser
from mrcnn.config import Config
from mrcnn.runs.settings import save_settings

YAML = """
# a comment
steps: 40
learning-rate: 1
mixed_precision: auto
filters: [sobel]
augment: [flip, rotate]
skip_invalid: true
dataset: photos
MAX_GT_INSTANCES: 200
RPN_ANCHOR_SCALES: [8, 16, 32, 64, 128]
"""


@pytest.fixture
def parser() -> Parser:
    made = Parser()
    names = ("dataset", *options.ANNOTATIONS, *options.SCHEDULE, "augment", *options.NETWORK)
    names = (*names, "edge_loss_filters")
    options.add_options(made, *names)
    return made


def written(tmp_path, text: str, name: str = "run.yaml") -> str:
    (tmp_path / name).write_text(text)
    return str(tmp_path / name)


def test_options_and_settings_come_from_it(parser, tmp_path):
    args = parser.parse_args(["--config", written(tmp_path, YAML)])
    assert (args.steps, args.learning_rate, args.augment) == (40, 1.0, ["flip", "rotate"])
    assert args.skip_invalid is True and args.dataset == "photos"
    given = chosen.settings_from_args(args)
    assert given == {
        "MAX_GT_INSTANCES": 200,
        "RPN_ANCHOR_SCALES": (8, 16, 32, 64, 128),
        "MIXED_PRECISION": "auto",
        # An option has the same name as in the command line, or any that it has there.
        "EDGE_LOSS_FILTERS": ("sobel-x", "sobel-y"),
    }


@pytest.mark.parametrize("dataset", [["nuts"], ["--dataset", "nuts"]])
def test_the_command_line_wins(parser, tmp_path, dataset):
    file = written(tmp_path, YAML)
    args = parser.parse_args(
        ["--config", file, *dataset, "--steps", "7", "--set", "MAX_GT_INSTANCES=3"]
    )
    assert args.steps == 7 and args.dataset == "nuts" and args.augment == ["flip", "rotate"]
    assert chosen.settings_from_args(args)["MAX_GT_INSTANCES"] == 3


@pytest.mark.parametrize(
    ("text", "given", "steps", "scale"),
    [
        ("scale: 8", ["--steps", "12"], 12, None),
        ("steps: 9", ["--scale", "2"], None, 2),
        ("scale: 8", [], None, 8),
        ("scale: 8", ["--scale", "2"], None, 2),
    ],
)
def test_one_length_takes_the_place_of_another(tmp_path, text, given, steps, scale):
    (tmp_path / "run.yaml").write_text(text)
    parsed = cli._parser().parse_args(
        ["train", "d", "--config", str(tmp_path / "run.yaml"), *given]
    )
    assert (parsed.steps, parsed.scale) == (steps, scale)


def test_json_is_as_good_and_an_empty_file_says_nothing(parser, tmp_path):
    file = written(tmp_path, json.dumps({"steps": 40, "IMAGE_MIN_DIM": 64}), "run.json")
    args = parser.parse_args(["--config", file, "--image-size", "128"])
    assert args.steps == 40 and chosen.settings_from_args(args)["IMAGE_MIN_DIM"] == 128
    assert parser.parse_args(["--config", written(tmp_path, "")]).steps is None


def test_the_settings_of_a_run(parser, tmp_path):
    config = type("Own", (Config,), {"MAX_GT_INSTANCES": 77, "NAME": "own"})()
    details = {
        "class_names": ["BG", "a"],
        "training": {"steps": 12, "year": "2017", "stages": [["all", 0.1, 12]], "start": 0},
    }
    save_settings(config, tmp_path, details)
    args = parser.parse_args(["--config", str(tmp_path / "config.json")])
    assert args.steps == 12 and args.year == "2017"
    assert chosen.settings_from_args(args)["MAX_GT_INSTANCES"] == 77


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stepps: 3", ["stepps", "Did you mean steps"]),
        ("MAX_GT_INSTANCE: 3", ["Did you mean MAX_GT_INSTANCES"]),
        ("steps: many", ["steps: expected an integer; received 'many'"]),
        ("steps: true", ["expected an integer"]),
        ("skip_invalid: 1", ["expected true or false"]),
        ("augment: [flipp]", ["expected a list of one of", "flip"]),
        ("backbone: resnet51", ["one of", "resnet50"]),
        ("- steps", ["expected names with their values; received list"]),
        ("a: [", ["expected a YAML file"]),
        ("!!python/object/apply:os.system ['true']", ["expected a YAML file"]),
        ("config: other.yaml", ["expected an option"]),
    ],
)
def test_what_is_refused(parser, tmp_path, capsys, text, words):
    with pytest.raises(SystemExit):
        parser.parse_args(["--config", written(tmp_path, text)])
    error = capsys.readouterr().err
    assert "run.yaml" in error and all(word in error for word in words)


def test_a_file_that_is_not_there(parser, capsys):
    with pytest.raises(SystemExit):
        parser.parse_args(["--config", "nowhere.yaml"])
    assert "nowhere.yaml" in capsys.readouterr().err
