"""Exports of annotation tools: one answer from training, doctor, fix and evaluations."""

from __future__ import annotations

import pytest

from tests.datasets.exports.fruit import BOXES, area
from tests.datasets.exports.right import EXPORTS
from tests.doctor.readers import Right, hold_to_one_answer


@pytest.mark.parametrize("export", EXPORTS, ids=lambda export: export.write.__name__)
def test_all_readers_give_one_answer(tmp_path, export, monkeypatch):
    root = tmp_path / "data"
    export.write(root)
    right = Right(
        *(export.findings, export.objects, export.stops, export.repaired),
        **dict.fromkeys(export.options, True),
    )
    for objects in hold_to_one_answer(root, right, tmp_path / "out", monkeypatch):
        for seen in objects:
            # Contours through the middles of pixels lose those at the border.
            if seen.name in BOXES and not (seen.is_crowd and seen.pixels == 30):
                assert seen.pixels == pytest.approx(area(seen.name), rel=0.13)
        pictures = {seen.picture for seen in objects}
        assert not objects or len(pictures) == (1 if export.repaired == 2 else 3)
