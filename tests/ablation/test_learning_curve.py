"""Few masks, many boxes: the arms, the table and the figure, without training anything."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mrcnn.ablation import grid as grids
from mrcnn.ablation import report as reports
from mrcnn.ablation.learning_curve import name_of, with_mask_shares, write_learning_curve
from mrcnn.commands import cli
from mrcnn.datasets.shapes import write_shapes
from mrcnn.training.stages import Stage

ARMS = {"baseline": {}, "sobel-l2": {"EDGE_LOSS_FILTERS": ["sobel-x", "sobel-y"]}}
SHARES = [1.0, 0.25]
# Mask AP by arm, share and seed; one run is not finished.
FOUND = {
    ("baseline", 1.0): {0: 0.40, 1: 0.44},
    ("baseline", 0.25): {0: 0.30, 1: 0.32},
    ("sobel-l2", 1.0): {0: 0.43, 1: 0.45},
    ("sobel-l2", 0.25): {0: 0.35},
}


@pytest.fixture
def finished(tmp_path: Path) -> tuple[grids.Grid, Path]:
    grid = grids.Grid(
        dataset="shapes",
        arms=with_mask_shares(ARMS, SHARES),
        seeds=[0, 1],
        settings={"STEPS_PER_EPOCH": 1},
        stages=[Stage("all", 0.1, 1)],
    )
    for (arm, share), values in FOUND.items():
        for seed, value in values.items():
            folder = grids.run_folder(tmp_path, name_of(arm, share), seed)
            folder.mkdir(parents=True)
            metrics = {"segm/AP": value, "bbox/AP": value + 0.1}
            (folder / "metrics.json").write_text(json.dumps(metrics))
    return grid, tmp_path


def test_every_arm_has_every_share():
    arms = with_mask_shares(ARMS, SHARES)
    assert list(arms) == [
        *("baseline-masks-100", "sobel-l2-masks-100"),
        *("baseline-masks-25", "sobel-l2-masks-25"),
    ]
    assert arms["sobel-l2-masks-25"] == {**ARMS["sobel-l2"], "MASK_SHARE": 0.25}
    assert "MASK_SHARE" not in ARMS["baseline"]


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ([0.5, 0.5], r"each share once; received \[0.5, 0.5\]"),
        ([0.0], "above 0, at most 1; received 0.0"),
        ([10], "above 0, at most 1; received 10"),
    ],
)
def test_shares_that_make_no_sense(shares, message):
    with pytest.raises(ValueError, match=f"--mask-share: expected .*{message}"):
        with_mask_shares(ARMS, shares)


def test_the_table_and_the_figure(finished):
    grid, output = finished
    path = write_learning_curve(grid, output, ARMS, SHARES)
    text = path.read_text()
    assert "| Mask AP | 25 % | 100 % |" in text and "| Box AP | 25 % | 100 % |" in text
    assert "| baseline | 0.310 ± 0.014 | 0.420 ± 0.028 |" in text
    assert "| sobel-l2 | 0.350 | 0.440 ± 0.014 |" in text
    # +3 and +1 points: 2 ± t(0.975, 1) * 1, t = 12.706. Of one pair there is no interval.
    assert "| sobel-l2 − baseline, points | +5.0 | +2.0 [-10.7, +14.7] |" in text
    with open(output / "learning_curve.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * len(FOUND)  # two metrics
    row = next(r for r in rows if r["arm"] == "sobel-l2" and r["mask_share"] == "1.0")
    assert (row["metric"], row["seeds"]) == ("segm/AP", "2")
    assert float(row["mean"]) == pytest.approx(0.44)
    with Image.open(output / "learning_curve.png") as picture:
        assert picture.width > 600 and np.asarray(picture.convert("L")).std() > 10


def test_without_a_finished_run_there_is_nothing(finished, tmp_path):
    grid, _ = finished
    assert write_learning_curve(grid, tmp_path / "empty", ARMS, SHARES) is None


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """From the options to the runs and the page; what runs is a stand-in."""
    write_shapes(tmp_path / "data", 2, 2, (64, 64))
    seen = {}

    def run_grid(grid: grids.Grid, output: str, jobs: int) -> list[str]:
        seen["arms"] = grid.arms
        for arm, seed in grid.runs:
            folder = grids.run_folder(Path(output), arm, seed)
            folder.mkdir(parents=True)
            (folder / "metrics.json").write_text(json.dumps({"segm/AP": 0.5}))
        return []

    monkeypatch.setattr(grids, "run_grid", run_grid)
    monkeypatch.setattr(reports, "write_report", lambda *args: None)
    output = tmp_path / "out"
    command = ["ablate", str(tmp_path / "data"), "--output", str(output), "--backbone", "resnet10"]
    command += ["--mask-share", "0.1", "1", "--arms", "baseline", "sobel-l2", "--seeds", "0"]
    assert cli.main(command) == 0
    assert [arm["MASK_SHARE"] for arm in seen["arms"].values()] == [0.1, 0.1, 1.0, 1.0]
    assert "Learning curve: " in capsys.readouterr().out
    assert "| sobel-l2 | 0.500 | 0.500 |" in (output / "learning_curve.md").read_text()
    assert cli.main([*command, "--mask-share", "2"]) == 2
    assert "--mask-share: expected numbers above 0, at most 1" in capsys.readouterr().err
