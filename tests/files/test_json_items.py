"""Lists that stay in their json file are those that `json` reads, whatever the file looks like."""

from __future__ import annotations

import json
import os
import pickle
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mrcnn.files import json_items
from mrcnn.files.json_items import FileChangedError, JsonItems, load_json_items, where

LISTS = ("annotations",)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@pytest.fixture(autouse=True)
def read_all_by_small_windows(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(json_items, "MIN_BYTES", 0)
    monkeypatch.setattr(json_items, "WINDOW_BYTES", 7)
    monkeypatch.setattr(json_items, "READ_AHEAD_BYTES", 20)


def written(folder: Path, text: str | bytes) -> Path:
    file = folder / "file.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def plain(content: Any) -> Any:
    """With lists in place of items."""
    if not isinstance(content, dict):
        return content
    return {k: list(v) if isinstance(v, JsonItems) else v for k, v in content.items()}


@given(
    lists=st.dictionaries(st.sampled_from(["annotations", "images"]), st.lists(VALUES)),
    others=st.dictionaries(st.text(max_size=12), VALUES, max_size=3),
    indent=st.sampled_from([None, 1]),
    ascii=st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_what_is_read_is_what_json_reads(tmp_path, lists, others, indent, ascii):
    content = {**others, **lists}
    file = written(tmp_path, json.dumps(content, indent=indent, ensure_ascii=ascii))
    found = load_json_items(file, LISTS)
    assert plain(found) == content
    if "annotations" in lists:
        assert isinstance(found["annotations"], JsonItems)
        assert [found["annotations"][i] for i in range(len(lists["annotations"]))] == (
            lists["annotations"]
        )


@given(st.binary(max_size=40) | st.text(alphabet='{}[]",:1 -e.annotations', max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_what_is_no_such_file_is_read_or_refused_as_by_json(tmp_path, text):
    file = written(tmp_path, text)
    try:
        expected = json.loads(file.read_bytes())
    except ValueError:
        with pytest.raises(ValueError):
            load_json_items(file, LISTS)
    else:
        assert plain(load_json_items(file, LISTS)) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    "text",
    [
        b'\xef\xbb\xbf{"annotations": [1]}',  # with a byte order mark
        '{"annotations": [1, "ä"]}'.encode("utf-16"),
        b'{"annotations": [1], "annotations": [2, 3]}',
        b' {"annotations":[ ] , "images" :[1.5e3 ,-2] } \n',
        b'{"annotations": null}',
        b"{}",
        b"[1, 2]",
    ],
)
def test_unusual_files(tmp_path: Path, text: bytes):
    assert plain(load_json_items(written(tmp_path, text), LISTS)) == json.loads(text)


@pytest.mark.parametrize(
    "text", [b'{"annotations": [1]} x', b'{"annotations": [1,]}', b'{"annotations": [1', b""]
)
def test_what_is_not_json_says_so(tmp_path: Path, text: bytes):
    with pytest.raises(ValueError, match=r"line 1 column|char"):
        load_json_items(written(tmp_path, text), LISTS)


def test_deep_nesting_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="nested too deeply"):
        load_json_items(written(tmp_path, '{"annotations": ' + "[" * 100_000), LISTS)


def test_small_files_are_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(json_items, "MIN_BYTES", 1000)
    found = load_json_items(written(tmp_path, '{"annotations": [1]}'), LISTS)
    assert type(found["annotations"]) is list


@pytest.fixture
def items(tmp_path: Path) -> JsonItems:
    values = [{"id": number, "name": "ä" * (number % 5)} for number in range(40)]
    found = load_json_items(written(tmp_path, json.dumps({"annotations": values})), LISTS)
    return found["annotations"]


def ids(entries: Sequence[Any]) -> list[int]:
    return [entry["id"] for entry in entries]


def test_as_a_sequence(items: JsonItems):
    assert len(items) == 40 and items[-1]["id"] == 39
    assert ids(items[5:20:5]) == [5, 10, 15]
    assert ids(items.take([7, 3, 7])) == [7, 3, 7]
    assert ids(where(items, lambda entry: entry["id"] % 13 == 0)) == [0, 13, 26, 39]
    assert where([1, 2, 3], lambda value: value > 1) == [2, 3]
    with pytest.raises(IndexError):
        items[40]


def test_copies_read_for_themselves(items: JsonItems):
    assert items[3]["id"] == 3  # the file is open now
    copy = pickle.loads(pickle.dumps(items))
    assert ids(copy) == list(range(40))


def test_threads_do_not_disturb_each_other(items: JsonItems):
    wrong = []

    def read(seed: int) -> None:
        for number in np.random.default_rng(seed).integers(0, 40, 300):
            if items[number]["id"] != number:
                wrong.append(number)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("is_open", [False, True])
def test_a_file_that_changes_is_named(items: JsonItems, tmp_path: Path, is_open: bool):
    file = tmp_path / "file.json"
    if is_open:
        assert items[0]["id"] == 0
    text = file.read_text()
    file.write_text(text.replace('"id": 1', '"id": 9'))
    os.utime(file, ns=(0, 0))
    with pytest.raises(FileChangedError, match=r"file\.json: .*changed"):
        items[1]


def test_a_file_that_is_gone_is_named(items: JsonItems, tmp_path: Path):
    (tmp_path / "file.json").unlink()
    with pytest.raises(FileChangedError, match=r"file\.json: expected the file"):
        items[1]
