"""The table of the pretraining benchmark."""

from __future__ import annotations

from pathlib import Path

from benchmarks.pretraining import FIGURES, read_rows, table, write_row


def row(seed: int, start: str, loss: float) -> dict:
    figures = {**dict.fromkeys(FIGURES, 0.5), "loss": loss}
    return {"seed": seed, "start": start, "steps": 7, **figures, "cpu seconds": 3.0}


def test_only_seeds_with_both_starts_are_compared(tmp_path: Path):
    rows = [row(0, "random", 2.0), row(0, "pretrained", 1.5), row(1, "random", 3.0)]
    rows += [row(1, "pretrained", 2.9), row(2, "random", 9.0)]
    for number, one in enumerate(rows):
        assert len(read_rows(tmp_path / "runs.csv")) == number
        write_row(tmp_path / "runs.csv", one)
    lines = table(read_rows(tmp_path / "runs.csv"))
    assert lines == table(rows) and lines[0].startswith("| 2 seeds |")
    assert lines[2] == "| loss | 2.500 | 2.200 | -0.300 ± 0.283 |"
    assert lines[-1] == "| segm AP50 | 0.500 | 0.500 | +0.000 ± 0.000 |"
