"""Tables hold what the lines of a run hold, for readers that are not ours."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as mask_api

from mrcnn.prediction import parquet
from mrcnn.prediction.records import Ids, Records
from tests.prediction.test_records import NAMES, SETTINGS, prediction

COUNTS = {"a.png": 2, "sub/b.png": 0, "c.png": 3}


def written(folder: Path, ids: Ids | None = None) -> Records:
    records = Records(folder, SETTINGS, NAMES, *([ids] if ids else []))
    for name, count in COUNTS.items():
        records.add(prediction(name, count))
    rows = parquet.write_tables(
        folder, records.predictions(), records.categories, records.image_ids_are_text
    )
    assert rows == (3, 5)
    return records


def rows_of(file: Path) -> list[dict[str, Any]]:
    table = pytest.importorskip("pyarrow.parquet", reason="pip install '.[parquet]'")
    return table.read_table(file).to_pylist()


@pytest.mark.parametrize("group", [1, 2, 10_000])
def test_rows_are_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: int):
    monkeypatch.setattr(parquet, "GROUP_ROWS", group)
    records = written(tmp_path)
    pictures, objects = (rows_of(tmp_path / f"{name}.parquet") for name in ("pictures", "objects"))
    found = list(records.predictions())
    assert pictures == [
        {
            "image_id": entry["id"],
            "file_name": entry["file_name"],
            "image_width": 90,
            "image_height": 80,
            "objects": COUNTS[entry["file_name"]],
        }
        for entry, _ in found
    ]
    expected = [(entry, result) for entry, results in found for result in results]
    assert len(objects) == len(expected) == 5
    for row, (entry, result) in zip(objects, expected, strict=True):
        assert row["image_id"] == entry["id"] and row["file_name"] == entry["file_name"]
        assert row["category_id"] == result["category_id"]
        assert row["class"] == NAMES[result["category_id"]]
        box = [row[name] for name in ("x", "y", "width", "height")]
        np.testing.assert_allclose([row["score"], *box], [result["score"], *result["bbox"]])
        rle = {"size": [row["image_height"], row["image_width"]], "counts": row["rle"]}
        mask = mask_api.decode(rle)
        np.testing.assert_array_equal(mask, mask_api.decode(result["segmentation"]))
        assert row["area"] == mask.sum() > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("objects.parquet", "pictures.parquet", "predictions.jsonl")
    ]


def test_ids_that_are_text_make_a_column_of_text(tmp_path: Path):
    written(tmp_path, Ids({"a.png": 7, "sub/b.png": "b", "c.png": 9}, {"disc": "D", "green": 2}))
    pictures, objects = (rows_of(tmp_path / f"{name}.parquet") for name in ("pictures", "objects"))
    assert [row["image_id"] for row in pictures] == ["7", "b", "9"]
    assert {row["category_id"] for row in objects} == {"D", "2"}


def test_a_run_without_an_object_has_tables_too(tmp_path: Path):
    records = Records(tmp_path, SETTINGS, NAMES)
    assert parquet.write_tables(tmp_path, records.predictions(), records.categories) == (0, 0)
    assert rows_of(tmp_path / "objects.parquet") == []


def test_an_error_leaves_no_file(tmp_path: Path):
    records = Records(tmp_path, SETTINGS, NAMES)
    records.add(prediction("a.png", 1))
    with pytest.raises(KeyError):
        parquet.write_tables(tmp_path, records.predictions(), {})
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.jsonl"]


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    own = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError("No module named 'pyarrow'")
        return own(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'mrcnn\[parquet\]'"):
        parquet.import_pyarrow()
