"""The contrasts that a comparison is about: tests, their correction, and how many seeds they need.

The p values are those of the paired t test over the seeds that two arms have in common; Holm's
correction (Scandinavian Journal of Statistics 6, 1979) keeps the chance of any false claim among
the contrasts of one report at ALPHA.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats

from mrcnn.ablation.bootstrap import NO_INTERVAL, Interval
from mrcnn.ablation.statistics import (
    CONFIDENCE,
    POINTS,
    Difference,
    Results,
    format_change,
    markdown,
    of_metric,
    paired_difference,
)

ALPHA = 0.05
POWER = 0.8
POINT = 0.01  # of AP
MOST_SEEDS = 100_000
LEAST_SEEDS_OF_CORRELATION = 3


class Contrast(NamedTuple):
    """An arm, and the one that it is compared with."""

    arm: str
    against: str


class Tested(NamedTuple):
    """A contrast in one metric.

    Attributes:
        contrast: of which arms.
        difference: its mean over the seeds, with Student's interval.
        p: of the paired t test, two-sided; NaN with fewer than two seeds.
        adjusted: `p` after Holm's correction over all contrasts that were tested with it.
        correlation: of the two arms over the seeds; NaN with fewer than three.
        deviation: of the differences of single seeds.
        seeds_needed: to detect a difference of a point; None: unknown, or more than MOST_SEEDS.
    """

    contrast: Contrast
    difference: Difference
    p: float
    adjusted: float
    correlation: float
    deviation: float
    seeds_needed: int | None


def headline(arms: Sequence[str], matched: Mapping[str, str]) -> list[Contrast]:
    """The contrasts that a report calls headline.

    Args:
        arms: the first is the baseline.
        matched: control arms, with the arm that each is a control of.

    Returns:
        Every arm against the baseline, and every arm against its control, no two arms twice.
    """
    found = [Contrast(arm, arms[0]) for arm in arms[1:]]
    controls = [(arm, control) for control, arm in matched.items()]
    return found + [Contrast(a, b) for a, b in controls if {a, b} <= set(arms[1:])]


def compare(results: Results, contrasts: Sequence[Contrast], metric: str) -> list[Tested]:
    """Test contrasts in one metric, with Holm's correction over all of them.

    Args:
        results: finished runs.
        contrasts: those without a finished run of both arms are left out.
        metric: named as in `results`.
    """
    known = [pair for pair in contrasts if pair.arm in results and pair.against in results]
    values = [
        (of_metric(results, arm, metric), of_metric(results, against, metric))
        for arm, against in known
    ]
    pairs = [_paired(arm, against) for arm, against in values]
    p_values = [paired_p(a - b) for a, b in pairs]
    found = []
    for contrast, (arm, against), (a, b), p, adjusted in zip(
        known, values, pairs, p_values, holm(p_values), strict=True
    ):
        deviation = float(np.std(a - b, ddof=1)) if len(a) > 1 else np.nan
        found.append(
            Tested(
                *(contrast, paired_difference(arm, against), p, adjusted),
                *(correlation(a, b), deviation, seeds_needed(deviation)),
            )
        )
    return found


def paired_p(differences: np.ndarray) -> float:
    """The two-sided p value of Student's t for a mean of 0; NaN with fewer than two values.

    >>> paired_p(np.array([1.0, 1.0])), paired_p(np.zeros(3))
    (0.0, 1.0)
    """
    if len(differences) < 2:
        return np.nan
    mean, deviation = float(np.mean(differences)), float(np.std(differences, ddof=1))
    if deviation == 0:
        return 0.0 if mean else 1.0
    t = abs(mean) / (deviation / np.sqrt(len(differences)))
    return float(2 * stats.t.sf(t, len(differences) - 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """p values after Holm's step-down correction over those that are known.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    adjusted = np.full(len(p_values), np.nan)
    known = [i for i, p in enumerate(p_values) if np.isfinite(p)]
    highest = 0.0
    for rank, index in enumerate(sorted(known, key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(known) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted.tolist()


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's, of two arms over their common seeds; NaN where it is not defined.

    Above 0, pairing by seed makes the differences vary less; below 0, more.
    """
    if len(a) < LEAST_SEEDS_OF_CORRELATION or np.ptp(a) == 0 or np.ptp(b) == 0:
        return np.nan
    return float(np.corrcoef(a, b)[0, 1])


def power(seeds: int, deviation: float, difference: float = POINT, alpha: float = ALPHA) -> float:
    """The chance that a two-sided paired t test detects a difference.

    Args:
        seeds: pairs, at least 2.
        deviation: standard deviation of the differences of pairs, above 0.
        difference: the true mean of these.
        alpha: the chance to claim one that does not exist.
    """
    freedom = seeds - 1
    shift = abs(difference) / deviation * np.sqrt(seeds)
    bound = stats.t.ppf(1 - alpha / 2, freedom)
    return float(stats.nct.sf(bound, freedom, shift) + stats.nct.cdf(-bound, freedom, shift))


def seeds_needed(
    deviation: float,
    difference: float = POINT,
    wanted: float = POWER,
    alpha: float = ALPHA,
) -> int | None:
    """The fewest pairs with which a paired t test has the wanted power.

    Args:
        deviation, difference, alpha: see `power`.
        wanted: the power, below 1.

    Returns:
        At least 2; None where the deviation is unknown or MOST_SEEDS are not enough.

    >>> [seeds_needed(1.0, effect) for effect in (0.2, 0.5, 0.8)]
    [199, 34, 15]
    """
    if not np.isfinite(deviation):
        return None
    # Beyond, two pairs have the power, and the distribution is too far out to be computed.
    if deviation <= abs(difference) / 50:
        return 2
    low, high = 1, 2  # power(low) is too small, where it is one
    while power(high, deviation, difference, alpha) < wanted:
        low, high = high, 2 * high
        if low > MOST_SEEDS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        if power(middle, deviation, difference, alpha) < wanted:
            low = middle
        else:
            high = middle
    return high


def _paired(
    arm: Mapping[int, float], against: Mapping[int, float]
) -> tuple[np.ndarray, np.ndarray]:
    """The values of two arms for the seeds for which both are known."""
    seeds = [s for s in arm if s in against and np.isfinite(arm[s]) and np.isfinite(against[s])]
    return np.array([arm[s] for s in seeds]), np.array([against[s] for s in seeds])


def explain(baseline: str, controls: Sequence[str], count: int) -> str:
    """A paragraph on what the columns of `format_contrasts` mean."""
    which = f"every arm against {baseline}"
    if controls:
        which += f", and each arm that has a control ({', '.join(controls)}) against it"
    return (
        f"The headline contrasts are {which}. Differences are in points (one is 0.01) with "
        f"Student's {CONFIDENCE:.0%} interval over the seeds. p is that of the paired t test, "
        f"without and with Holm's correction over all {count}. Correlation: of the two arms over "
        "the seeds; above 0, pairing by seed helps. Seeds for 1 point: what a difference of one "
        f"point would need, by the deviation of the differences seen here (power {POWER:.0%}, "
        f"alpha {ALPHA:g}, two-sided paired t test).\n"
    )


def format_contrasts(tested: Sequence[Tested], intervals: Mapping[Contrast, Interval]) -> str:
    """Contrasts as a table in Markdown.

    Args:
        tested: a row each.
        intervals: with the images resampled; empty: no column.
    """
    head = ["", "seeds", "difference", *(["with images"] if intervals else [])]
    head += ["p", "Holm", "verdict", "correlation", "seeds for 1 point"]
    rows = []
    for one in tested:
        row = [f"{one.contrast.arm} - {one.contrast.against}", str(one.difference.seeds)]
        row.append(format_change(one.difference))
        if intervals:
            low, high = intervals.get(one.contrast, NO_INTERVAL)
            row.append("-" if np.isnan(low) else f"[{POINTS * low:+.1f}, {POINTS * high:+.1f}]")
        needed = "-" if one.seeds_needed is None else str(one.seeds_needed)
        row += [_number(one.p, ".2g"), _number(one.adjusted, ".2g"), _verdict(one)]
        row += [_number(one.correlation, "+.2f"), needed]
        rows.append(row)
    return markdown(head, rows)


def write_contrasts(
    path: str | Path,
    tested: Sequence[Tested],
    intervals: Mapping[Contrast, Interval],
    primary: str,
) -> Path:
    """CSV: a row for each contrast, in full precision; AP from 0 to 1."""
    path = Path(path)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["metric", "arm", "against", "seeds", "difference", "low", "high", "relative"]
            + ["image_low", "image_high", "p", "holm", "correlation", "deviation"]
            + ["seeds_for_a_point"]
        )
        for one in tested:
            difference = one.difference
            writer.writerow(
                [f"{primary}/AP", *one.contrast, difference.seeds, difference.mean]
                + [difference.low, difference.high, difference.relative]
                + [*intervals.get(one.contrast, NO_INTERVAL), one.p, one.adjusted]
                + [one.correlation, one.deviation, one.seeds_needed or ""]
            )
    return path


def _verdict(one: Tested) -> str:
    if np.isnan(one.adjusted):
        return "no conclusion"
    if one.adjusted >= ALPHA:
        return "no significant difference"
    return "better" if one.difference.mean > 0 else "worse"


def _number(value: float, form: str) -> str:
    return "-" if np.isnan(value) else format(value, form)
