"""Tables of a comparison: means, paired differences, and their Markdown and CSV."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
from scipy import stats

from mrcnn.ablation import statistics

RESULTS = {
    "baseline": {0: {"segm/AP": 0.10, "bbox/AP": 0.3}, 1: {"segm/AP": 0.20}, 2: {"segm/AP": 0.30}},
    "sobel": {0: {"segm/AP": 0.12}, 1: {"segm/AP": 0.22}, 2: {"segm/AP": 0.32}},
    "noisy": {0: {"segm/AP": 0.30}, 2: {"segm/AP": 0.20}},
}


def test_the_mean_and_the_deviation_of_the_sample():
    summary = statistics.summarize([1.0, 2.0, 6.0, math.nan])
    assert summary == (3.0, pytest.approx(math.sqrt(7)), 3)


def test_one_seed_has_no_deviation_and_none_has_no_mean():
    assert statistics.summarize([2.0])[0] == 2 and math.isnan(statistics.summarize([2.0])[1])
    assert math.isnan(statistics.summarize([]).mean)


def test_a_gain_that_every_seed_shares_is_certain_though_the_seeds_differ():
    difference = statistics.paired_difference({0: 0.12, 1: 0.22, 2: 0.32}, {0: 0.1, 1: 0.2, 2: 0.3})
    assert difference.mean == pytest.approx(0.02)
    assert difference.low == pytest.approx(0.02) and difference.high == pytest.approx(0.02)
    assert difference.relative == pytest.approx(0.1)


def test_the_interval_is_that_of_the_paired_t_test():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 5))
    expected = stats.ttest_rel(a, b).confidence_interval(0.95)
    found = statistics.paired_difference(dict(enumerate(a)), dict(enumerate(b)))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_only_seeds_of_both_arms_count():
    found = statistics.paired_difference({0: 1.0, 7: 100.0}, {0: 0.5, 1: 3.0})
    assert found.seeds == 1 and found.mean == 0.5 and math.isnan(found.low)


def test_a_relative_change_needs_a_baseline_that_is_not_about_zero():
    assert math.isnan(statistics.paired_difference({0: 0.02}, {0: 0.001}).relative)
    assert math.isnan(statistics.paired_difference({0: 0.02}, {0: 0.0}).relative)
    assert statistics.paired_difference({0: 0.03}, {0: 0.02}).relative == pytest.approx(0.5)
    # It is the mean over the seeds that counts.
    arm, baseline = {0: 0.02, 1: 0.2}, {0: 0.0, 1: 0.1}
    assert statistics.paired_difference(arm, baseline).relative == pytest.approx(1.2)


def test_the_tables_show_fractions_and_the_change_in_points(tmp_path):
    tables = statistics.make_tables(RESULTS, "baseline", {"Mask AP": ["segm/AP"]})
    text = statistics.format_tables(tables, RESULTS, "baseline")
    assert "| baseline | 3 | 0.200 ± 0.100 |" in text
    assert "| sobel | 3 | +2.0 [+2.0, +2.0] (+10.0%) |" in text
    assert "| noisy | 2 | +5.0 [" in text  # of the seeds 0 and 2 only
    assert "Difference from baseline in points (one is 0.01)" in text
    path = statistics.write_tables(tmp_path / "tables.csv", tables, RESULTS)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["table", "content", "arm", "runs", "AP"]
    assert rows[1] == ["Mask AP", "mean", "baseline", "3", "0.200 ± 0.100"]
    points = ["Mask AP", "difference in points", "sobel", "3", "+2.0 [+2.0, +2.0] (+10.0%)"]
    assert rows[4] == points


def test_a_table_of_zeros_is_called_that(tmp_path):
    nothing = {"segm/AP": 0.0, "segm/AP50": 0.0, "segm/AP_L": math.nan, "bbox/AP": 0.1}
    results = {"baseline": {0: nothing, 1: nothing}, "sobel": {0: nothing, 1: nothing}}
    kinds = {"Mask AP": ["segm/AP", "segm/AP50", "segm/AP_L"], "Box AP": ["bbox/AP"], "Other": []}
    tables = statistics.make_tables(results, "baseline", kinds)
    text = statistics.format_tables(tables, results, "baseline")
    zero, rest = text.split("### Box AP")
    assert "All zero: the networks found nothing; train longer." in zero and "|" not in zero
    assert "| sobel | 2 | +0.0 [+0.0, +0.0] (+0.0%) |" in rest and "All zero" not in rest
    said = statistics.conclude(results, "baseline", "segm/AP", "Mask AP")
    assert said == "Mask AP: all zero: the networks found nothing; train longer."
    assert "sobel +0.0 points" in statistics.conclude(results, "baseline", "bbox/AP", "Box AP")
    # The file keeps the numbers.
    path = statistics.write_tables(tmp_path / "tables.csv", tables, results)
    assert "Mask AP,mean,sobel,2,0.000 ± 0.000,0.000 ± 0.000,-" in path.read_text()


def test_one_run_above_zero_is_a_table():
    results = {"baseline": {0: {"segm/AP": 0.0}}, "sobel": {0: {"segm/AP": 0.001}}}
    tables = statistics.make_tables(results, "baseline", {"Mask AP": ["segm/AP"]})
    assert "| sobel | 1 | +0.1 |" in statistics.format_tables(tables, results, "baseline")


def test_the_conclusion_claims_only_what_the_interval_shows():
    results = {
        **RESULTS,
        "bad": {0: {"segm/AP": 0.05}, 1: {"segm/AP": 0.14}, 2: {"segm/AP": 0.25}},
        "single": {0: {"segm/AP": 0.5}},
        "apart": {9: {"segm/AP": 0.5}},
    }
    said = statistics.conclude(results, "baseline", "segm/AP", "Mask AP")
    assert said.startswith("Mask AP compared with baseline: sobel +2.0 points [+2.0, +2.0] (")
    said = dict(part.strip().split(" ", 1) for part in said.split("baseline: ")[1].split(";"))
    assert said["sobel"].endswith(": better") and said["bad"].endswith(": worse")
    assert said["noisy"].endswith(": no significant difference")
    assert said["single"].endswith(": one seed, no conclusion")
    assert said["apart"] == "-: no seed in common."
    assert statistics.conclude({"baseline": RESULTS["baseline"]}, "baseline", "segm/AP", "x") == ""


def test_the_files_hold_every_run_and_metric(tmp_path):
    with statistics.write_runs(tmp_path / "runs.csv", RESULTS).open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    assert float(rows[0]["segm/AP"]) == 0.1 and math.isnan(float(rows[1]["bbox/AP"]))
    with statistics.write_summary(tmp_path / "summary.csv", RESULTS, "baseline").open() as file:
        summary = {(row["arm"], row["metric"]): row for row in csv.DictReader(file)}
    assert float(summary["sobel", "segm/AP"]["difference"]) == pytest.approx(0.02)
    assert summary["noisy", "segm/AP"]["runs"] == "2"
