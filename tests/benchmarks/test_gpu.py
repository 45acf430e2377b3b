"""The script for a GPU, without one: its order, its budget, and what it does when a peer fails."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu

WORKER = "tests.benchmarks.fake_peer"


def test_the_cases_are_all_there_and_the_most_telling_come_first():
    names = [case.name for case in gpu.cases()]
    assert len(set(names)) == len(names) == 48
    assert names[:2] == [
        "train-r50-1024x1024-b4-bfloat16",
        "detect-r50-1024x1024-b4-bfloat16",
    ]
    assert {name.split("-", 1)[0] for name in names[:10]} == {"train", "detect"}
    assert names[-1] == "detect-r101-800x1333-b2-float32"


def test_cases_that_the_time_is_too_short_for_are_skipped(monkeypatch, capsys):
    now = [0.0]

    def race(case: gpu.Case, args: Any, deadline: float, trace: bool) -> list[dict[str, Any]]:
        assert trace == (now[0] < 150)  # the first of each kind
        now[0] += 100
        return [{"peer": "jax", "seconds": 1.0}]

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(gpu, "race", race)
    gpu.main(["--minutes", "5"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    done = [line["row"] for line in lines if "skipped" not in line]
    assert done == [case.name for case in gpu.cases()[:2]]  # 100 s of 300 are left, less the grace
    assert len(lines) == 48 and lines[-1]["skipped"] == "100 s are left, 100 are needed"


@pytest.fixture
def race(monkeypatch, tmp_path):
    """Runs a case with workers that do nothing, in place of the frameworks."""

    def run(seconds: float = 60, **more: dict[str, Any]) -> list[dict[str, Any]]:
        def specification(row: Any, framework: Any, share: float, **told: Any) -> dict[str, Any]:
            log = str(tmp_path / framework.name)
            plain = {"letter": framework.name[0], "log": log, "warm_up": 0}
            return {**plain, **more.get(framework.name, {})}

        monkeypatch.setattr(gpu, "specification", specification)
        monkeypatch.setattr(gpu, "MODULES", dict.fromkeys(gpu.MODULES, WORKER))
        args = gpu._parser().parse_args(["--device", "cpu", "--rounds", "2", "--repeats", "1"])
        case = gpu.tiny_cases()[0]
        return list(gpu.race(case, args, time.monotonic() + seconds, trace=False))

    return run


def test_all_take_turns(race, tmp_path):
    lines = race()
    assert [line["peer"] for line in lines] == ["jax", "tensorflow", "torchvision"]
    assert all(line["rounds"] == 2 and line["seconds"] >= 0 for line in lines)
    assert all(Path(tmp_path, name).read_text() == 3 * name[0] for name in gpu.ENVIRONMENTS)


def test_one_that_fails_at_its_start_or_later_is_reported_and_the_others_go_on(race):
    lines = race(jax={"fails": True}, tensorflow={"dies_after": 2})
    done = [line["peer"] for line in lines if "failed" not in line]
    failed = {line["peer"]: line["failed"] for line in lines if "failed" in line}
    assert done == ["torchvision"] and list(failed) == ["jax", "tensorflow"]
    assert "this peer has no wheels" in failed["jax"] and "out of memory" in failed["tensorflow"]


def test_nothing_runs_beyond_the_time_that_is_given(race):
    started = time.monotonic()
    lines = race(seconds=4, tensorflow={"seconds": 100})
    assert time.monotonic() - started < 20
    failed = {line["peer"] for line in lines if "failed" in line}
    assert "tensorflow" in failed
