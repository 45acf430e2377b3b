"""Peers side by side: the same work for all, turns in their order, and ratios of one round."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.peers import __main__ as peers
from benchmarks.peers import objects, ratios, rows
from benchmarks.peers.alternate import Command, Record, Turn, take_turns
from benchmarks.peers.rows import CONTESTANTS, ROWS

needs_torchvision = pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is None,
    reason='needs torchvision (pip install "mrcnn[bench]")',
)


# --- Objects --------------------------------------------------------------------------------


def naive_positives(chosen: np.ndarray, proposals: np.ndarray) -> int:
    count = 0
    for y1, x1, y2, x2 in proposals:
        best = 0.0
        for a1, b1, a2, b2 in chosen:
            shared = max(0, min(y2, a2) - max(y1, a1)) * max(0, min(x2, b2) - max(x1, b1))
            union = (y2 - y1) * (x2 - x1) + (a2 - a1) * (b2 - b1) - shared
            best = max(best, shared / union) if union > 0 else best
        count += best >= 0.5
    return count


@given(st.integers(0, 10_000), st.integers(1, 20))
def test_objects_make_exactly_so_many_proposals_positive(seed, positives):
    rng = np.random.default_rng(seed)
    corners, sides = rng.random((300, 2)) * 200, rng.uniform(4, 60, (300, 2))
    proposals = np.concatenate([corners, corners + sides], axis=1)
    proposals[250:] = 0  # padding
    chosen = objects.choose_objects(proposals, positives, 100, rng)
    assert chosen.dtype == np.int32 and 1 <= len(chosen) <= positives
    assert naive_positives(chosen, proposals) == positives


def test_too_few_proposals_or_objects_are_an_error():
    rng = np.random.default_rng(0)
    proposals = np.array([[0, 0, 20, 20], [50, 50, 90, 90]], np.float64)
    with pytest.raises(ValueError, match="make 3 of 2 proposals positive.*make 2"):
        objects.choose_objects(proposals, 3, 100, rng)
    with pytest.raises(ValueError, match="1 objects, of at most 1, make 1"):
        objects.choose_objects(proposals, 2, 1, rng)


@pytest.mark.parametrize("positives", [1, 2, 10, 16, 66])
def test_rois_in_use_are_those_of_the_sampling(positives):
    from mrcnn.ops.target_settings import RoiTargetSettings
    from mrcnn.ops.targets import detection_targets

    settings = RoiTargetSettings(200, 0.33, mask_shape=(4, 4))
    assert settings.positive_slots == 66
    box = np.array([0.1, 0.1, 0.3, 0.3], np.float32)
    others = np.array([0.6, 0.6, 0.9, 0.9], np.float32)
    proposals = np.concatenate([np.tile(box, (positives, 1)), np.tile(others, (300, 1))])[None]
    noise = np.random.default_rng(0).random((1, len(proposals[0]))).astype(np.float32)
    truth = np.ones((1, 1), np.int32), box[None, None], np.ones((1, 1, 8, 8), np.float32)
    found = detection_targets(proposals, *truth, noise, settings)
    assert np.sum(found.class_ids) == positives
    assert np.sum(found.valid) == objects.rois_in_use(positives, rows.POSITIVE_RATIO)


# --- Turns ----------------------------------------------------------------------------------


def fake(letter: str, log: Path, **more: Any) -> Command:
    spec = {"letter": letter, "log": str(log), "warm_up": 0, **more}
    return Command(letter, sys.executable, "tests.benchmarks.fake_peer", spec, {})


def test_turns_alternate_with_a_probe_between_any_two(tmp_path):
    log, probes = tmp_path / "work", tmp_path / "probes"
    probe = fake("p", probes, call="convolution")
    record = take_turns([fake("A", log), fake("B", log), fake("C", log)], probe, 3, 2, 60)
    first = "ABC"  # each has worked once when it is ready
    assert log.read_text() == first + 3 * "AABBCC"
    assert [turn.name for turn in record.turns] == 3 * ["A", "B", "C"]
    assert [turn.number for turn in record.turns] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    for before, after in zip(record.turns, record.turns[1:], strict=False):
        if before.number == after.number:
            assert before.after == after.before > 0
    assert len(probes.read_text()) == 1 + 3 * 4 * 4  # 4 calls, before and after each of three
    facts = record.facts["B"]
    assert facts["letter"] == "B" and facts["log"] == "AB" and facts["peak_gb"] > 0
    assert facts["seconds_until_first"] >= 0 and list(facts["first_seconds"]) == ["step"]


def test_no_round_begins_when_the_time_is_over(tmp_path):
    log, probe = tmp_path / "work", fake("p", tmp_path / "probes", call="convolution")
    record = take_turns([fake("A", log, seconds=0.2)], probe, 50, 1, 0.1)
    assert [turn.number for turn in record.turns] == [0]


def test_a_peer_that_fails_is_named_with_what_it_said(tmp_path):
    probe = fake("p", tmp_path / "probes", call="convolution")
    with pytest.raises(RuntimeError, match=r"(?s)B: its process ended.*has no wheels"):
        take_turns([fake("A", tmp_path / "a"), fake("B", tmp_path / "b", fails=1)], probe, 1, 1, 9)


# --- Ratios ---------------------------------------------------------------------------------


def turn(name: str, number: int, seconds: float, pace: float = 1e9) -> Turn:
    return Turn(name, number, {"step": [(seconds, 2 * seconds)]}, pace, pace)


def test_a_ratio_is_of_two_turns_of_one_round():
    turns = [turn("ours", 0, 1.0), turn("peer", 0, 2.0), turn("ours", 1, 4.0), turn("peer", 1, 4.0)]
    turns += [turn("ours", 2, 2.0, 2e9), turn("peer", 2, 6.0, 1e9)]
    facts = {"ours": {"peak_gb": 1.0}, "peer": {"peak_gb": 2.0, "positives": 3.0, "rois": 9.0}}
    ours, peer = ratios.summarize(Record(turns, facts), "ours")
    assert ours["ratio"] == ours["ratio_least"] == ours["ratio_greatest"] == 1.0
    assert (peer["ratio"], peer["ratio_least"], peer["ratio_greatest"]) == (2.0, 1.0, 3.0)
    assert peer["paced_ratio"] == 1.5  # of 2, 1 and 1.5
    assert (peer["seconds"], peer["best_seconds"], peer["rounds"]) == (4.0, 2.0, 3)
    lines = [{"row": "train", **line} for line in (ours, peer)]
    shown = ratios.table(json.loads(json.dumps(lines))).splitlines()
    assert len(shown) == 4 and "2.00 (1.00 to 3.00)" in shown[3]
    assert "3 positives of 9 RoIs" in shown[3] and "2.0 GB" in shown[3]


def test_a_ratio_can_be_of_processor_time():
    turns = [turn("ours", 0, 1.0), replace(turn("peer", 0, 1.0), samples={"step": [(1.0, 6.0)]})]
    facts = {"ours": {"peak_gb": 1.0}, "peer": {"peak_gb": 2.0}}
    assert ratios.summarize(Record(turns, facts), "ours", "processor")[1]["ratio"] == 3.0


# --- Who takes part --------------------------------------------------------------------------


def arguments(**given: Any) -> SimpleNamespace:
    values = {"only": None, "fork": None, "dtype": ["float32"]}
    return SimpleNamespace(**{**values, **given})


def names(row: str, **given: Any) -> list[str]:
    return [c.name for c in peers.contestants(ROWS[row], arguments(**given))]


def test_who_takes_part():
    assert names("train-r50-128") == ["ours", "torchvision", "torchvision-shipped"]
    assert names("load-1024", fork="x") == ["ours", "torchvision", "torchvision-shipped", "fork"]
    assert names("detect-r101-256", dtype=["bfloat16"]) == [
        "ours-bfloat16",
        "ours-frozen-bfloat16",
        "torchvision-bfloat16",
    ]
    # In the order that they are listed: the first sets the ratios.
    assert names("detect-r101-256", only=["torchvision", "ours"]) == ["ours", "torchvision"]
    with pytest.raises(ValueError, match="a fork needs --fork.*received fork"):
        names("train-r50-128", only=["ours", "fork"])
    with pytest.raises(ValueError, match="received ours-frozen"):
        names("train-r50-128", only=["ours-frozen"])


def test_work_that_is_not_equal_is_an_error():
    equal = {"positives": 3.0, "rois": 9.0, "loss": 1.0}
    peers.check_equal({"ours": equal, "peer": equal, "fork": {"loss": 2.0}})
    peers.check_equal({"ours": {"rois": 48.0}, "peer": {"rois": 45.0}})  # bfloat16
    with pytest.raises(ValueError, match="positives: expected equal work.*4"):
        peers.check_equal({"ours": equal, "peer": {**equal, "positives": 4.0}})
    with pytest.raises(ValueError, match="loss: expected finite"):
        peers.check_equal({"ours": equal, "peer": {**equal, "loss": float("nan")}})


def specification(row: str, contestant: str, **more: Any) -> dict[str, Any]:
    return rows.specification(ROWS[row], CONTESTANTS[contestant], **more)


# --- The work -------------------------------------------------------------------------------


def test_our_step_has_the_positives_that_were_asked_for():
    from benchmarks.peers import ours

    spec = specification("train-tiny", "ours", share=0.6, backbone="resnet10")
    assert (spec["positives"], spec["rois_in_use"]) == (3, 9)
    work = ours.prepare(spec)
    for _ in range(2):
        work.calls["step"]()
    counted = work.count()
    assert (counted["positives"], counted["rois"]) == (3, 9)
    assert np.isfinite(counted["loss"]) and work.memory() > 0


def test_our_detection_finds_something_in_both_calls():
    from benchmarks.peers import ours

    work = ours.prepare(specification("detect-tiny", "ours", share=1, backbone="resnet10"))
    for call in work.calls.values():
        call()
    assert list(work.calls) == ["graph", "whole"] and work.count()["found"] == 100


@needs_torchvision
def test_torchvisions_step_has_the_same():
    from benchmarks.peers import of_torchvision

    for shipped in (False, True):
        spec = specification("train-tiny", "torchvision", share=0.6, shipped=shipped)
        work = of_torchvision.prepare(spec)
        work.calls["step"]()
        counted = work.count()
        assert (counted["positives"], counted["rois"]) == (3, 9)
        assert np.isfinite(counted["loss"])


@needs_torchvision
def test_torchvisions_detection_finds_as_much():
    from benchmarks.peers import of_torchvision

    work = of_torchvision.prepare(specification("detect-tiny", "torchvision", share=1))
    for call in work.calls.values():
        call()
        assert work.count()["found"] == 100


def test_a_fork_that_is_none_is_an_error(tmp_path, monkeypatch):
    from benchmarks.peers import fork

    monkeypatch.setattr(sys, "path", [*sys.path])

    with pytest.raises(ImportError, match="--fork: expected a checkout with mrcnn/model.py"):
        fork.load({"checkout": str(tmp_path)})
