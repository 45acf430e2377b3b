"""Parts are written whole, once, and taken up where they were left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mrcnn.prediction import parts
from mrcnn.prediction.sources import Picture
from mrcnn.prediction.stream import Predictor
from tests.prediction.disc_detector import DiscDetector
from tests.prediction.test_stream import NAMES, pictures

tables = pytest.importorskip("pyarrow.parquet", reason="pip install '.[parquet]'")

SETTINGS = {"weights": "abc", "score": None}


def predictor() -> Predictor:
    return Predictor(DiscDetector(), NAMES)


def rows(folder: Path, file: str) -> list[dict]:
    found = sorted(folder.glob(f"part-*/{file}.parquet"))
    return [row for path in found for row in tables.read_table(path).to_pylist()]


def test_every_picture_is_in_one_part(tmp_path: Path):
    divided = parts.divide(pictures(11), 4)
    assert [(part.number, part.first, len(part.pictures)) for part in divided] == [
        *((0, 0, 4), (1, 4, 4), (2, 8, 3))
    ]
    assert parts.take_up(tmp_path, divided, SETTINGS) == divided
    for part in reversed(divided):  # in any order
        parts.predict_part(tmp_path, part, predictor())
    assert parts.finish(tmp_path, divided) == parts.Totals(11, 20, 0)
    found = rows(tmp_path, "pictures")
    assert [row["file_name"] for row in found] == [f"{k}.png" for k in range(11)]
    assert [row["image_id"] for row in found] == list(range(1, 12))
    assert [row["objects"] for row in found] == [k % 5 for k in range(11)]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("manifest.json", "part-000000", "part-000001", "part-000002")
    ]
    assert sorted(path.name for path in (tmp_path / "part-000001").iterdir()) == [
        *("objects.parquet", "pictures.parquet", "unreadable.jsonl")
    ]


def test_a_part_that_is_there_stays_as_it_is(tmp_path: Path):
    (part,) = parts.divide(pictures(3), 5)
    parts.predict_part(tmp_path, part, predictor())
    (tmp_path / part.name / "mark").write_text("first")
    totals = parts.predict_part(tmp_path, part, predictor())  # of another worker
    assert totals.pictures == 3 and (tmp_path / part.name / "mark").exists()
    assert [path.name for path in tmp_path.iterdir()] == [part.name]


def test_a_worker_that_fails_leaves_nothing(tmp_path: Path):
    (part,) = parts.divide(pictures(5), 5)
    failing = predictor()
    failing._detector.detect_batch = lambda batch: 1 / 0
    with pytest.raises(ZeroDivisionError):
        parts.predict_part(tmp_path, part, failing)
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError, match="expected a part"):
        parts.finish(tmp_path, [part])


def test_what_cannot_be_read_is_listed(tmp_path: Path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    broken = Picture("broken.png", tmp_path / "broken.png")
    divided = parts.divide([*pictures(2), broken], 3)
    folder = tmp_path / "out"
    parts.take_up(folder, divided, SETTINGS)
    assert parts.predict_part(folder, divided[0], predictor()) == parts.Totals(2, 1, 1)
    assert parts.finish(folder, divided).unreadable == 1
    ((name, reason),) = parts.unreadable_in(folder)
    assert name == "broken.png" and "cannot be read as an image" in reason


def test_taking_up(tmp_path: Path):
    divided = parts.divide(pictures(6), 2)
    parts.take_up(tmp_path, divided, SETTINGS)
    parts.predict_part(tmp_path, divided[1], predictor())
    killed = tmp_path / "part-000000.host.1.abcdef.part"  # of a process that is gone
    killed.mkdir()
    with pytest.raises(FileExistsError, match="--resume"):
        parts.take_up(tmp_path, divided, SETTINGS)
    todo = parts.take_up(tmp_path, divided, SETTINGS, resume=True)
    assert [part.number for part in todo] == [0, 2]
    for changed in (parts.divide(pictures(7), 2), parts.divide(pictures(6), 3)):
        with pytest.raises(ValueError, match="expected the same pictures, weights and options"):
            parts.take_up(tmp_path, changed, SETTINGS, resume=True)
    with pytest.raises(ValueError, match="'weights': 'abc'"):
        parts.take_up(tmp_path, divided, {**SETTINGS, "weights": "d"}, resume=True)
    for part in todo:
        parts.predict_part(tmp_path, part, predictor())
    assert parts.finish(tmp_path, divided).pictures == 6 and not killed.exists()


def test_a_part_of_other_rows_is_named(tmp_path: Path):
    divided = parts.divide(pictures(2), 2)
    parts.predict_part(tmp_path, divided[0], predictor())
    lines = tmp_path / "part-000000" / parts.UNREADABLE_FILE
    lines.write_text(json.dumps({"file_name": "x", "reason": "y"}) + "\n")
    with pytest.raises(ValueError, match=r"part-000000: expected 2 pictures; it has 2 and 1"):
        parts.finish(tmp_path, divided)
    with pytest.raises(ValueError, match="at least 1 picture"):
        parts.divide(pictures(2), 0)
