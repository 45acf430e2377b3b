"""An option is declared once: the same spelling, help and default in all commands and samples."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator

import pytest

from mrcnn.commands import cli, options
from mrcnn.commands.parser import Parser
from samples.balloon import balloon
from samples.cityscapes import cityscapes
from samples.coco import coco
from samples.digits import digits
from samples.nucleus import nucleus
from samples.shapes import shapes

SAMPLES = {
    module.__name__: module.main for module in (balloon, cityscapes, coco, digits, nucleus, shapes)
}


def parser_of_command(name: str) -> argparse.ArgumentParser:
    parser = Parser(prog=name)
    cli.module_of(name).add_options(parser)
    return parser


class ParserMadeError(Exception):
    """Carries the parser of a sample out of its `main`."""


def parser_of_sample(
    main: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> argparse.ArgumentParser:
    def stop(parser, *arguments):
        raise ParserMadeError(parser)

    monkeypatch.setattr(Parser, "parse_args", stop)
    with pytest.raises(ParserMadeError) as made:
        main([])
    return made.value.args[0]


@pytest.fixture
def parsers(monkeypatch: pytest.MonkeyPatch) -> dict[str, argparse.ArgumentParser]:
    found = {name: parser_of_command(name) for name in cli.COMMANDS}
    return found | {name: parser_of_sample(main, monkeypatch) for name, main in SAMPLES.items()}


def actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        if action.option_strings and action.dest not in ("help", "verbose"):
            yield action


def declared(action: argparse.Action) -> list[options.Option]:
    return [o for o in options.OPTIONS.values() if action.option_strings[0] in o.flags]


def test_the_same_option_is_the_same_everywhere(parsers):
    seen: dict[str, argparse.Action] = {}
    shared = 0
    for command, parser in parsers.items():
        for action in actions(parser):
            name = action.option_strings[0]
            before = seen.setdefault(name, action)
            shared += before is not action
            alike = ("option_strings", "dest", "nargs", "type", "default", "choices", "metavar")
            for attribute in alike:
                assert getattr(action, attribute) == getattr(before, attribute), (command, name)
            assert type(action) is type(before)
    assert shared > 200


def test_what_two_commands_have_is_declared(parsers):
    owners: dict[str, list[str]] = {}
    for command, parser in parsers.items():
        for action in actions(parser):
            owners.setdefault(action.option_strings[0], []).append(command)
            known = declared(action)
            if not known:
                continue
            template = {
                re.escape(o.help.format(default="DEFAULT")).replace("DEFAULT", ".*") for o in known
            }
            text = (action.help or "").replace("%%", "%")
            hidden = action.help == argparse.SUPPRESS and known[0].positional
            assert hidden or any(re.fullmatch(t, text) for t in template), (command, text)
    undeclared = {
        name: commands
        for name, commands in owners.items()
        if len(commands) > 1
        and not any(name in option.flags for option in options.OPTIONS.values())
    }
    assert not undeclared


def test_every_option_says_what_it_does(parsers):
    for command, parser in parsers.items():
        for action in actions(parser):
            if action.help == argparse.SUPPRESS:
                continue
            assert action.help and len(action.help.split()) >= 3, (command, action.option_strings)
            takes_number = action.type in (int, float)
            assert not takes_number or "default" in action.help or command in ("samples",), (
                f"{command} {action.option_strings}: {action.help}"
            )


def test_the_data_set_comes_first_or_behind_its_flag(capsys: pytest.CaptureFixture):
    parser = Parser()
    options.add_options(parser, "dataset", "limit")
    assert parser.parse_args(["data"]).dataset == "data"
    assert parser.parse_args(["--dataset", "data"]).dataset == "data"
    assert parser.parse_args(["--dataset", "data", "--limit", "3"]).limit == 3
    assert parser.parse_args([]).dataset is None
    with pytest.raises(SystemExit):
        parser.parse_args(["one", "--dataset", "two"])
    assert "expected one; received" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("--epochs", "--steps"),
        ("--lr", "--learning-rate"),
        ("--batch", "--batch-size"),
        ("--bacbone", "--backbone"),
        ("--step", "--steps"),
        ("--imgsz", "--image-size"),
        ("--weigths", "--weights"),
    ],
)
def test_an_unknown_option_is_answered_with_what_is_near(capsys, given: str, meant: str):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["train", "data", given, "4"])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert f"unknown option {given}; did you mean" in error and meant in error


def test_an_option_that_nothing_is_near_to(capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit):
        cli.main(["evaluate", "data", "--zzzz=1"])
    assert "unknown option --zzzz\n" in capsys.readouterr().err


def test_an_option_that_has_no_effect_is_not_offered(capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit):
        cli.main(["evaluate", "data", "--rois", "8"])
    assert "unknown option --rois" in capsys.readouterr().err


def test_the_options_that_matter_most_come_first(parsers):
    groups = parsers["train"]._action_groups
    titles = [group.title for group in groups if group._group_actions]
    assert titles[:3] == ["options", "what matters most", "data"]
    [first] = [group for group in groups if group.title == "what matters most"]
    shown = [a.dest for a in first._group_actions if a.help != argparse.SUPPRESS]
    assert len(shown) == 10 and shown[:2] == ["dataset", "model"]
    text = parsers["train"].format_help()
    assert text.index("--steps N") < text.index("--rois N") < text.index("--edge-loss-norm")
    everything = [a for group in groups for a in group._group_actions]
    assert len(everything) == len({id(a) for a in everything})


def test_the_usage_is_a_line(parsers):
    for name, parser in parsers.items():
        usage = parser.format_help().split("\n\n")[0]
        assert len(usage.splitlines()) <= 2 and usage.endswith("[options]"), name
    formats = "{savedmodel,onnx,openvino,litert}"
    assert f"usage: export --format {formats} [options]" in parsers["export"].format_help()


def test_an_error_says_where_the_options_are(capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit):
        cli.main(["export"])
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and said[1] == "mrcnn export --help lists what it takes."
