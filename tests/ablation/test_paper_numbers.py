"""The numbers that the paper is known by."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcnn.ablation import paper_numbers
from mrcnn.ablation.statistics import paired_difference

METRICS = [f"segm/{name}" for name in paper_numbers.COLUMNS]
# Table 1 of arXiv 1809.07069, in per cent: AP, AP50, AP75, AP_S, AP_M, AP_L.
TABLE = {
    "baseline": (18.8, 36.5, 17.8, 8.0, 20.4, 26.6),
    "sobel": (20.2, 37.5, 20.0, 8.8, 21.9, 28.9),
}
NAME = "mrcnn_mask_loss"


def of_table(shift=0.0):
    row = {arm: dict(zip(METRICS, values, strict=True)) for arm, values in TABLE.items()}
    return {arm: {0: {m: v / 100 + shift for m, v in one.items()}} for arm, one in row.items()}


def test_the_papers_eight_per_cent():
    found = paper_numbers.relative_change(of_table(), "sobel", "baseline", METRICS)
    assert 100 * found.value == pytest.approx(8.09, abs=0.005)
    assert found.metrics == 6 and found.seeds == 1 and math.isnan(found.low)


def test_it_is_relative_to_the_means_of_the_seeds():
    """One seed twice as good and one as good: the mean is half as good again at equal weights."""
    results = {
        "baseline": {0: {"segm/AP": 0.1}, 1: {"segm/AP": 0.3}},
        "arm": {0: {"segm/AP": 0.2}, 1: {"segm/AP": 0.3}},
    }
    found = paper_numbers.relative_change(results, "arm", "baseline", ["segm/AP"])
    assert found.value == pytest.approx(0.25)  # 0.25 / 0.2 - 1, not the mean of 100 % and 0 %


def test_the_jackknife_of_a_constant_baseline_is_the_t_interval():
    rng = np.random.default_rng(0)
    arm = dict(enumerate(rng.normal(0.33, 0.02, 6)))
    results = {
        "baseline": {seed: {"segm/AP": 0.3} for seed in arm},
        "arm": {seed: {"segm/AP": value} for seed, value in arm.items()},
    }
    found = paper_numbers.relative_change(results, "arm", "baseline", ["segm/AP"])
    expected = paired_difference(arm, dict.fromkeys(arm, 0.3))
    scaled = [value / 0.3 for value in (expected.mean, expected.low, expected.high)]
    assert found[:3] == pytest.approx(scaled)


def test_what_is_about_zero_or_undefined_is_left_out():
    results = {
        "baseline": {0: {"a": 0.2, "b": 0.001, "c": math.nan}},
        "arm": {0: {"a": 0.3, "b": 0.9, "c": 0.1, "d": 1.0}},
    }
    found = paper_numbers.relative_change(results, "arm", "baseline", ["a", "b", "c", "d"])
    assert found.value == pytest.approx(0.5) and found.metrics == 1
    nothing = paper_numbers.relative_change(results, "arm", "baseline", ["b"])
    assert math.isnan(nothing.value) and nothing.metrics == 0


@given(st.lists(st.floats(0, 10), min_size=1, max_size=40))
def test_smoothing_is_the_mean_of_a_tenth_of_the_training(values):
    losses = np.array(values)
    window = max(1, round(len(losses) / 10))
    expected = [np.mean(losses[max(0, i + 1 - window) : i + 1]) for i in range(len(losses))]
    np.testing.assert_allclose(paper_numbers.smoothed(losses), expected)


def test_steps_are_interpolated_between_epochs():
    ends = [10, 20, 30, 35]
    losses = np.array([4.0, 3.0, 1.0, 0.5])
    assert paper_numbers.steps_to_reach(losses, 2.0, ends) == 25
    assert paper_numbers.steps_to_reach(losses, 0.5, ends) == 35
    assert paper_numbers.steps_to_reach(losses, 5.0, ends) == 10  # nothing is known before
    assert paper_numbers.steps_to_reach(losses, 0.4, ends) is None
    assert paper_numbers.steps_to_reach(np.array([np.nan, 1.0, 2.0, 3.0]), 1.5, ends) == 20


def runs(*curves):
    return {seed: {NAME: np.array(curve, float)} for seed, curve in enumerate(curves)}


def test_the_baseline_is_reached_sooner_later_or_never():
    ends = [100, 200, 300, 400]
    losses = {
        "baseline": runs([4, 3, 2, 1], [4, 3, 2, 1]),
        "twice": runs([2.5, 1, 0.9, 0.8], [2.5, 1, 0.9, 0.8]),
        "partly": runs([4, 3, 1, 0.5], [4, 3, 3, 2]),
        "never": runs([4, 4, 4, 4], [4, 4, 4, 3]),
    }
    twice, partly, never, same = (
        paper_numbers.speed(losses, arm, "baseline", NAME, ends)
        for arm in ("twice", "partly", "never", "baseline")
    )
    assert twice[:4] == (200, 0.5, 0.5, 0.5) and (twice.reached, twice.seeds) == (2, 2)
    assert (partly.steps, partly.spared) == (300, 0.25) and math.isnan(partly.low)
    assert (partly.reached, partly.seeds) == (1, 2)
    assert math.isnan(never.spared) and (never.reached, never.seeds) == (0, 2)
    assert same.spared == 0
    assert paper_numbers.speed(losses, "twice", "baseline", "val_x", ends).seeds == 0


def test_the_mask_loss_is_averaged_over_steps():
    losses = {NAME: np.array([4.0, 2.0]), f"val_{NAME}": np.array([np.nan, 3.0])}
    found = paper_numbers.mask_loss_metrics(losses, [30, 40])  # the last epoch is short
    assert found == {
        "mask_loss/end": 2,
        "mask_loss/mean": 3.5,
        "mask_loss/val_end": 3,
        "mask_loss/val_mean": 3,
    }
    assert paper_numbers.mask_loss_metrics({}, [10]) == {}


def test_the_table_and_the_file(tmp_path):
    ends = [100, 200]
    results = of_table()
    losses = {"baseline": runs([2.0, 1.0]), "sobel": runs([1.0, 0.5])}
    for arm, false in (("baseline", 20.0), ("sobel", 15.0)):
        results[arm][0] |= paper_numbers.mask_loss_metrics(losses[arm][0], ends)
        results[arm][0][paper_numbers.false_positives_metric(0.7)] = false
    rows = paper_numbers.rows_of(results, losses, "baseline", ends, 0.7)
    assert list(rows) == ["sobel"]
    text = paper_numbers.format_rows(rows, results, "baseline", 0.7)
    first, second = text.splitlines()[2:]
    assert first == "| baseline | 1 |  |  |  | 1 | 1.5 | - | - | 20 |"
    assert second == ("| sobel | 1 | +8.1% | +50.0% | - | -50.0% | -50.0% | - | - | -25.0% |")
    path = paper_numbers.write_rows(tmp_path / "numbers.csv", rows)
    with path.open(newline="", encoding="utf-8") as file:
        found = {row["number"]: row for row in csv.DictReader(file)}
    assert float(found["relative change of 6 mask AP"]["value"]) == pytest.approx(0.0809, abs=1e-4)
    assert found["steps spared, mrcnn_mask_loss"]["runs"] == "1 of 1"
    assert float(found["difference in false positives"]["value"]) == -5
    assert paper_numbers.rows_of(results, losses, "absent", ends, 0.7) == {}
