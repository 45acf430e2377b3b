"""Contrasts between arms: p values, Holm's correction, and the seeds that a difference needs."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mrcnn.ablation import contrasts
from mrcnn.ablation.bootstrap import Interval
from mrcnn.ablation.contrasts import Contrast


def runs(values):
    return {seed: {"segm/AP": value} for seed, value in enumerate(values)}


def test_headline_are_the_arms_against_the_baseline_and_against_their_controls():
    arms = ["baseline", "sobel", "laplace", "control"]
    found = contrasts.headline(arms, {"control": "sobel", "elsewhere": "laplace"})
    assert found == [
        *(Contrast(arm, "baseline") for arm in arms[1:]),
        Contrast("sobel", "control"),
    ]
    for first, second in (("control", "sobel"), ("sobel", "control")):
        assert contrasts.headline([first, second], {"control": "sobel"}) == [
            Contrast(second, first)
        ]


def test_p_is_that_of_the_paired_t_test():
    a, b = np.random.default_rng(0).normal(size=(2, 7))
    assert contrasts.paired_p(a - b) == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert math.isnan(contrasts.paired_p(np.array([1.0])))


def test_holm_of_a_worked_example():
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, none below the one before.
    found = contrasts.holm([0.01, 0.04, math.nan, 0.03, 0.005])
    assert found[:2] + found[3:] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert math.isnan(found[2])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_its_steps_reject(p_values):
    """Step down from the smallest p: stop at the first that is above alpha over what is left."""
    rejected = set()
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    for rank, index in enumerate(order):
        if p_values[index] * (len(p_values) - rank) >= contrasts.ALPHA:
            break
        rejected.add(index)
    adjusted = contrasts.holm(p_values)
    assert {i for i, p in enumerate(adjusted) if p < contrasts.ALPHA} == rejected


@pytest.mark.parametrize(
    ("effect", "pairs"),
    # G*Power 3.1, "difference between two dependent means", two tails, alpha 0.05, power 0.80.
    [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10), (1.5, 6)],
)
def test_the_pairs_that_an_effect_needs_are_those_of_the_tables(effect: float, pairs: int):
    assert contrasts.seeds_needed(1.0, effect) == pairs
    assert contrasts.seeds_needed(0.01 / effect) == pairs  # of one point of AP


def test_the_power_is_how_often_the_test_finds_it():
    rng = np.random.default_rng(1)
    draws = rng.normal(0.012, 0.02, (20_000, 12))
    found = stats.ttest_1samp(draws, 0, axis=1).pvalue < contrasts.ALPHA
    assert contrasts.power(12, 0.02, 0.012) == pytest.approx(found.mean(), abs=0.012)


def test_seeds_that_cannot_be_told():
    assert contrasts.seeds_needed(math.nan) is None
    assert contrasts.seeds_needed(100.0) is None  # more than anyone runs
    assert contrasts.seeds_needed(0.0) == contrasts.seeds_needed(1e-9) == 2


def test_a_comparison_holds_tests_and_correlation():
    rng = np.random.default_rng(2)
    base = rng.normal(0.3, 0.05, 6)
    arm = base + rng.normal(0.02, 0.004, 6)
    results = {"baseline": runs(base), "arm": runs(arm), "opposite": runs(0.6 - base)}
    wanted = [Contrast(name, "baseline") for name in ("arm", "opposite", "absent")]
    first, second = contrasts.compare(results, wanted, "segm/AP")
    assert first.p == pytest.approx(stats.ttest_rel(arm, base).pvalue)
    assert first.adjusted == pytest.approx(2 * first.p)
    assert first.correlation == pytest.approx(np.corrcoef(arm, base)[0, 1])
    assert first.deviation == pytest.approx(np.std(arm - base, ddof=1))
    assert second.correlation == pytest.approx(-1)
    assert second.seeds_needed > first.seeds_needed


def test_the_table_and_the_file_say_the_same(tmp_path):
    results = {"baseline": runs([0.1, 0.2, 0.3]), "arm": runs([0.12, 0.23, 0.31])}
    contrast = Contrast("arm", "baseline")
    tested = contrasts.compare(results, [contrast, Contrast("none", "baseline")], "segm/AP")
    text = contrasts.format_contrasts(tested, {contrast: Interval(-0.001, 0.05)})
    assert "with images" in text and "[-0.1, +5.0]" in text and "arm - baseline | 3 | +2.0" in text
    assert "no significant difference" in text
    assert "with images" not in contrasts.format_contrasts(tested, {})
    path = contrasts.write_contrasts(tmp_path / "c.csv", tested, {}, "segm")
    (row,) = csv.DictReader(path.open(newline="", encoding="utf-8"))
    assert (row["metric"], row["arm"], row["against"]) == ("segm/AP", "arm", "baseline")
    assert float(row["difference"]) == pytest.approx(0.02) and row["image_low"] == "nan"
    assert float(row["holm"]) == pytest.approx(float(row["p"]))


def test_one_seed_concludes_nothing():
    results = {"baseline": runs([0.1]), "arm": runs([0.2])}
    tested = contrasts.compare(results, [Contrast("arm", "baseline")], "segm/AP")
    assert "no conclusion" in contrasts.format_contrasts(tested, {})
