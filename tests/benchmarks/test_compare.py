"""Comparing kept figures: what counts as a fall. Nothing is timed here."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import compare, figures
from benchmarks.compare import Verdict

RESULTS = Path(figures.__file__).parent / "results"
MACHINE = {"processor": "fast", "cores": 2}


def record(machine: dict[str, Any] = MACHINE, **samples: Any) -> dict[str, Any]:
    """A file of figures; lists are times, pairs (list, settings) anything else."""
    found = {}
    for name, value in samples.items():
        numbers, settings = value if isinstance(value, tuple) else (value, {})
        found[name] = {"higher_is_better": False, "relative": False, **settings}
        found[name]["samples"] = numbers
    return {"commit": "c" * 40, "date": "2026-01-01", "machine": machine, "figures": found}


def verdict(old: Any, new: Any, **machines: Any) -> Verdict:
    (found,) = compare.compare(record(step=old), record(step=new, **machines))
    return found.verdict


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ([1.0, 1.0, 1.0], [1.0, 1.0, 1.0], Verdict.SAME),
        ([1.0, 1.0, 1.0], [1.1, 1.1, 1.1], Verdict.FELL),
        ([1.0, 1.0, 1.0], [0.9, 0.9, 0.9], Verdict.ROSE),
        ([1.0, 1.0, 1.0], [1.01, 1.01, 1.01], Verdict.SAME),  # below MIN_NOISE
        ([0.8, 1.0, 1.2], [0.9, 1.1, 1.3], Verdict.SAME),  # within the spread of both
        ([0.95, 1.0, 1.05], [1.05, 1.11, 1.15], Verdict.FELL),
        ([0.9, 1.0, 1.1], [1.15, 1.19, 1.35], Verdict.SAME),
        ([1.0], [1.5], Verdict.FELL),
    ],
)
def test_times(old, new, expected):
    assert verdict(old, new) is expected


def test_a_rate_that_sinks_has_fallen():
    rate = {"higher_is_better": True}
    assert verdict(([100.0] * 3, rate), ([80.0] * 3, rate)) is Verdict.FELL
    assert verdict(([100.0] * 3, rate), ([120.0] * 3, rate)) is Verdict.ROSE


def test_another_machine_is_compared_by_ratios_only():
    other = {"processor": "slow", "cores": 2}
    assert verdict([1.0], [5.0], machine=other) is Verdict.OTHER_MACHINE
    ratio = {"relative": True}
    assert verdict(([1.0], ratio), ([5.0], ratio), machine=other) is Verdict.FELL
    assert verdict(([1.0], ratio), ([1.0], ratio), machine=other) is Verdict.SAME


def test_figures_of_one_file_only_are_named():
    found = compare.compare(record(a=[1.0], b=[1.0]), record(b=[1.0], c=[1.0]))
    assert [(c.name, c.verdict) for c in found] == [
        ("a", Verdict.MISSING),
        ("b", Verdict.SAME),
        ("c", Verdict.MISSING),
    ]


@pytest.mark.parametrize(("new", "status"), [([1.0], 0), ([0.5], 0), ([2.0], 1)])
def test_the_command(tmp_path, monkeypatch, capsys, new, status):
    for name, samples in (("old", [1.0]), ("new", new)):
        (tmp_path / name).write_text(json.dumps(record(step=samples)))
    monkeypatch.setattr(sys, "argv", ["compare", str(tmp_path / "old"), str(tmp_path / "new")])
    assert compare.main() == status
    assert ("step: fell" in capsys.readouterr().out) == bool(status)


def test_without_a_second_file_the_same_figures_are_measured(tmp_path, monkeypatch):
    stored = record(**{"paste ratio": [2.0], "paste pasted_median_ms": [2.0], "rle ratio": [1.0]})
    (tmp_path / "old").write_text(json.dumps(stored))
    asked = []

    def measure(names, repeats):
        asked.append((names, repeats))
        return stored

    monkeypatch.setattr(figures, "measure", measure)
    monkeypatch.setattr(sys, "argv", ["compare", str(tmp_path / "old"), "--repeats", "2"])
    assert compare.main() == 0
    assert asked == [(["paste", "rle"], 2)]


class TestFindLine:
    figure = figures.Figure(("loader",), "rate", line=(("engine", "caller"),))

    def test_the_line_that_matches(self):
        lines = [{"floor": 1}, {"engine": "threads", "rate": 3}, {"engine": "caller", "rate": 2}]
        assert figures.find_line(lines, self.figure) == 2

    @pytest.mark.parametrize("count", [0, 2])
    def test_no_line_or_several_are_an_error(self, count):
        with pytest.raises(ValueError, match=f"{count} lines with 'rate'"):
            figures.find_line([{"engine": "caller", "rate": 2}] * count, self.figure)


def test_every_figure_of_a_name_comes_from_one_command():
    for found in figures.FIGURES.values():
        assert len({figure.command for figure in found}) == 1


def test_the_kept_figures_are_of_what_is_measured_today():
    paths = sorted(RESULTS.glob("*.json"))
    assert paths
    known = {f"{name} {f.key}": f for name, found in figures.FIGURES.items() for f in found}
    for path in paths:
        kept = json.loads(path.read_text(encoding="utf-8"))
        assert kept["commit"] and kept["machine"]["processor"]
        for name, figure in kept["figures"].items():
            assert figure["samples"] and all(sample > 0 for sample in figure["samples"])
            assert figure["relative"] == known[name].relative
            assert figure["higher_is_better"] == known[name].higher_is_better
