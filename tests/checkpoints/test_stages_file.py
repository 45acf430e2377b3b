"""The record of the stages that a run has trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mrcnn.checkpoints.identity import StageRun
from mrcnn.checkpoints.stages_file import TrainedStage, read_stages, record_stage


def begin(folder: Path, layers: str, first_epoch: int, last_epoch: int, **more: Any) -> None:
    """Record a stage that begins when `first_epoch` epochs are done."""
    stage = StageRun(
        layers=layers,
        learning_rate=more.pop("rate", 0.001),
        momentum=0.9,
        first_epoch=first_epoch,
        last_epoch=last_epoch,
    )
    record_stage(folder, stage, **more)


def test_stages_follow_each_other_and_count_epochs_from_1(tmp_path: Path) -> None:
    assert read_stages(tmp_path) == []
    begin(tmp_path, "heads", 0, 4)
    begin(tmp_path, "all", 4, 6, rate=0.1, rate_schedule="cosine")
    assert read_stages(tmp_path) == [
        TrainedStage(1, 4, "heads", 0.001),
        TrainedStage(5, 6, "all", 0.1, "cosine"),
    ]


def test_a_resumed_stage_is_recorded_once(tmp_path: Path) -> None:
    begin(tmp_path, "heads", 0, 4)
    begin(tmp_path, "heads", 0, 4)
    assert read_stages(tmp_path) == [TrainedStage(1, 4, "heads", 0.001)]


def test_what_is_trained_anew_is_taken_out_and_what_was_cut_short_is_cut(tmp_path: Path) -> None:
    for first, last in ((0, 4), (4, 8), (8, 9)):
        begin(tmp_path, "heads", first, last)
    begin(tmp_path, "all", 6, 7)
    assert read_stages(tmp_path) == [
        TrainedStage(1, 4, "heads", 0.001),
        TrainedStage(5, 6, "heads", 0.001),
        TrainedStage(7, 7, "all", 0.001),
    ]


@pytest.mark.parametrize(
    "content",
    ["{", "3", '{"a": 1}', '[{"layers": "all"}]', "[1]"]
    + ['[{"first_epoch": 0, "last_epoch": 1, "layers": "all", "learning_rate": 1}]']
    + ['[{"first_epoch": "1", "last_epoch": 1, "layers": "all", "learning_rate": 1}]']
    + ['[{"first_epoch": 1, "last_epoch": 1, "layers": 3, "learning_rate": 1}]'],
)
def test_a_damaged_record_is_told_and_stops_nothing(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "stages.json").write_text(content)
    assert read_stages(tmp_path) == []
    assert "stages.json: expected a list of stages" in caplog.text
    begin(tmp_path, "all", 2, 3)
    assert read_stages(tmp_path) == [TrainedStage(3, 3, "all", 0.001)]
