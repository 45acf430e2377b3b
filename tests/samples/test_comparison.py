"""What the samples of the edge agreement loss share: the report and the options."""

from __future__ import annotations

import argparse
from types import ModuleType
from typing import Any

import pytest

from tests.samples.edge_samples import load


@pytest.fixture(scope="module")
def comparison() -> ModuleType:
    return load("comparison")


def compared(comparison: ModuleType) -> Any:
    unused = [None] * 5
    return comparison.Comparison("plain", {"iou": "IoU", "edge": "Edge IoU"}, *unused)


def rows_of(trainings: tuple[str, ...], seeds: dict[int, float]) -> list[dict[str, Any]]:
    rows = [
        {"seed": seed, "training": training, "step": step, "iou": value + shift, "edge": value / 2}
        for training, shift in zip(trainings, (0.0, 0.1), strict=True)
        for seed, value in seeds.items()
        for step in (1, 2)
    ]
    for row in rows[::2]:
        row["iou"] = 0.0  # of the first step
    return rows


def test_the_report_gives_mean_range_and_difference(comparison):
    case = compared(comparison)
    rows = rows_of(case.trainings, {4: 0.5, 9: 0.6})
    rows[-1]["iou"] += 0.02  # of the last training and seed
    header, plain, with_edges, differences, note = comparison.report(case, rows).splitlines()
    assert plain.endswith("0.2750 (0.2500 to 0.3000)")
    assert "0.6600 (0.6000 to 0.7200)" in with_edges
    # 0.10 and 0.12: 0.11 ± t(0.975, 1) * 0.01, t = 12.706.
    assert "+0.1100 [-0.0171, +0.2371]" in differences
    assert "+0.0000 [+0.0000, +0.0000]" in differences and "2 seeds" in note
    assert len({len(line) for line in (header, plain, with_edges, differences)}) == 1


def test_one_seed_says_little(comparison):
    case = compared(comparison)
    *_, note = comparison.report(case, rows_of(case.trainings, {4: 0.5})).splitlines()
    assert "One seed says little" in note


def test_options(comparison):
    parser = argparse.ArgumentParser()
    comparison.add_options(parser, "name", steps=7)
    args = parser.parse_args([])
    assert args.steps == 7 and args.output.name == "name"
    comparison.check_options(args, 8, 4)
    with pytest.raises(ValueError, match="--image-size: expected a multiple of 48"):
        comparison.check_options(args, 48, 4)
    with pytest.raises(ValueError, match="--seeds: expected different numbers from 0 up"):
        comparison.check_options(parser.parse_args(["--seeds", "-1"]), 8, 4)
    with pytest.raises(SystemExit):
        parser.parse_args(["--steps", "0"])
