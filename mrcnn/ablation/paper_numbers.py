"""The numbers that the Edge Agreement paper is known by, of a comparison.

After arXiv 1809.07069: the mean of the six relative changes of its Table 1 ("+8.1 %"), the
training that is spared until the baseline's final value is reached ("29 %", on its publication
page), the mask loss, and the number of false positives (section 5.1).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats

from mrcnn.ablation.statistics import (
    CONFIDENCE,
    LEAST_BASELINE,
    Difference,
    Results,
    markdown,
    of_metric,
    paired_difference,
    summarize,
)
from mrcnn.evaluation.coco import METRIC_NAMES

# The columns of the paper's Table 1.
COLUMNS = METRIC_NAMES[:6]
MASK_LOSS = "mrcnn_mask_loss"
# Losses are smoothed over this part of the epochs: single epochs are noisy.
SMOOTHED_PART = 0.1
# Metrics of a run that are computed here; with `val_` before the loss for validation images.
END, MEAN = "mask_loss/end", "mask_loss/mean"
VAL_END, VAL_MEAN = "mask_loss/val_end", "mask_loss/val_mean"


class RelativeChange(NamedTuple):
    """A relative change in parts, such as 0.081, with its interval."""

    value: float
    low: float
    high: float
    seeds: int
    metrics: int  # how many were averaged over


class Speed(NamedTuple):
    """How soon an arm reaches what the baseline ends with, over the seeds of both.

    Attributes:
        steps: mean number of steps of those that reached it; NaN: none did.
        spared: mean of 1 - steps / steps of the whole training, with its interval, which there is
            only where all seeds reached it.
        low, high: of `spared`.
        reached: the seeds that reached it.
        seeds: all.
    """

    steps: float
    spared: float
    low: float
    high: float
    reached: int
    seeds: int


def relative_change(
    results: Results, arm: str, baseline: str, metrics: Sequence[str]
) -> RelativeChange:
    """The mean over metrics of the relative change of an arm's mean over the seeds.

    As the paper computes its "+8.1 %": relative to the baseline's mean, not seed by seed. The
    interval is Student's on the jackknife's pseudo-values: the number is computed again without
    each seed in turn. Metrics that the baseline has below LEAST_BASELINE, or that are undefined in
    a run, are left out.

    Args:
        results: finished runs.
        arm, baseline: names.
        metrics: named as in `results`.

    Returns:
        NaN without a seed in common or without a metric; without an interval for one seed.
    """
    seeds = [seed for seed in results[arm] if seed in results[baseline]]
    pairs = []
    for metric in metrics:
        mine, other = of_metric(results, arm, metric), of_metric(results, baseline, metric)
        pair = np.array([[mine[seed], other[seed]] for seed in seeds]).reshape(-1, 2)
        if len(pair) and np.isfinite(pair).all() and pair[:, 1].mean() >= LEAST_BASELINE:
            pairs.append(pair)
    if not pairs:
        return RelativeChange(np.nan, np.nan, np.nan, len(seeds), 0)
    values = np.stack(pairs)  # [metrics, seeds, (arm, baseline)]
    whole = _mean_change(values)
    low = high = np.nan
    if len(seeds) > 1:
        count = len(seeds)
        without = [_mean_change(np.delete(values, i, axis=1)) for i in range(count)]
        pseudo = count * whole - (count - 1) * np.array(without)
        half = stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * pseudo.std(ddof=1) / np.sqrt(count)
        low, high = whole - float(half), whole + float(half)
    return RelativeChange(whole, low, high, len(seeds), len(values))


def _mean_change(values: np.ndarray) -> float:
    """The mean relative change of values [metrics, seeds, (arm, baseline)]."""
    means = values.mean(axis=1)
    return float((means[:, 0] / means[:, 1] - 1).mean())


def smoothed(losses: np.ndarray) -> np.ndarray:
    """The mean of each epoch's loss and of those before it, over a tenth of the training.

    At the beginning, where there are fewer epochs, over those that there are. A value that is not
    finite is left out; NaN where there is no other.

    >>> smoothed(np.arange(20.0))[:3].tolist()
    [0.0, 0.5, 1.5]
    """
    window = max(1, round(SMOOTHED_PART * len(losses)))
    found = np.full(len(losses), np.nan)
    for end in range(1, len(losses) + 1):
        part = losses[max(0, end - window) : end]
        part = part[np.isfinite(part)]
        if len(part):
            found[end - 1] = part.mean()
    return found


def steps_to_reach(losses: np.ndarray, target: float, epoch_ends: Sequence[int]) -> float | None:
    """After how many steps a smoothed loss first is at most a target.

    Between the ends of two epochs it is interpolated linearly. Before the end of the first one
    there is no value: a target that is reached there counts as reached at its end.

    Args:
        losses: by epoch, not smoothed yet.
        target: of the same kind.
        epoch_ends: the steps done at the end of each epoch.

    Returns:
        None where it is never reached.
    """
    curve = smoothed(losses)
    below = np.flatnonzero(curve <= target)
    if not below.size:
        return None
    first = int(below[0])
    if first == 0 or not np.isfinite(curve[first - 1]):
        return float(epoch_ends[first])
    before, after = curve[first - 1], curve[first]
    share = (before - target) / (before - after)
    return float(epoch_ends[first - 1] + share * (epoch_ends[first] - epoch_ends[first - 1]))


def speed(
    losses: Mapping[str, Mapping[int, Mapping[str, np.ndarray]]],
    arm: str,
    baseline: str,
    name: str,
    epoch_ends: Sequence[int],
) -> Speed:
    """How soon the mask loss of an arm is as low as the baseline's of the same seed at the end.

    Both losses are smoothed (see `smoothed`), and the baseline needs the whole training for it by
    definition. A seed that never reaches it spares nothing that could be averaged: the number of
    those that do is told, and there is no interval.

    Args:
        losses: by arm, seed and name, of each epoch.
        arm, baseline: names.
        name: of the loss, such as "mrcnn_mask_loss" or "val_mrcnn_mask_loss".
        epoch_ends: the steps done at the end of each epoch.
    """
    found: list[float | None] = []
    for seed, own in losses.get(arm, {}).items():
        other = losses.get(baseline, {}).get(seed, {})
        if name not in own or name not in other:
            continue
        target = smoothed(other[name])[-1]
        if math.isfinite(target):
            found.append(steps_to_reach(own[name], target, epoch_ends))
    steps = np.array([value for value in found if value is not None])
    if not steps.size:
        return Speed(np.nan, np.nan, np.nan, np.nan, 0, len(found))
    spared = dict(enumerate(1 - steps / epoch_ends[-1]))
    if len(steps) == len(found):
        difference = paired_difference(spared, dict.fromkeys(spared, 0.0))
        low, high = difference.low, difference.high
    else:
        low = high = np.nan
    mean = float(np.mean(list(spared.values())))
    return Speed(float(steps.mean()), mean, low, high, len(steps), len(found))


def mask_loss_metrics(
    losses: Mapping[str, np.ndarray], epoch_ends: Sequence[int]
) -> dict[str, float]:
    """The mask loss at the end of a run (smoothed) and averaged over its steps, by metric."""
    found = {}
    for prefix, end, mean in (("", END, MEAN), ("val_", VAL_END, VAL_MEAN)):
        values = losses.get(prefix + MASK_LOSS)
        if values is None or not np.isfinite(values).any():
            continue
        lengths = np.diff([0, *epoch_ends])[: len(values)]
        known = np.isfinite(values)
        found[end] = float(smoothed(values)[-1])
        found[mean] = float(np.average(values[known], weights=lengths[known]))
    return found


def false_positives_metric(score: float) -> str:
    """The name of the metric that counts false positives from a score on."""
    return f"false_positives/{score:g}"


class Row(NamedTuple):
    """What the paper says of an arm."""

    change: RelativeChange
    speeds: dict[str, Speed]  # by the name of the loss
    ends: dict[str, Difference]  # by metric: END, MEAN, …
    false_positives: Difference


def rows_of(
    results: Results,
    losses: Mapping[str, Mapping[int, Mapping[str, np.ndarray]]],
    baseline: str,
    epoch_ends: Sequence[int],
    score: float,
) -> dict[str, Row]:
    """A row for every arm but the baseline, by its name.

    Args:
        results: finished runs, with the metrics of `mask_loss_metrics` and of
            `false_positives_metric`.
        losses: of the same, by arm, seed and name.
        baseline: its name.
        epoch_ends: the steps done at the end of each epoch.
        score: from which on false positives are counted.
    """
    if baseline not in results:
        return {}
    metrics = [f"segm/{name}" for name in COLUMNS]
    found = {}
    for arm in results:
        if arm == baseline:
            continue
        found[arm] = Row(
            relative_change(results, arm, baseline, metrics),
            {
                name: speed(losses, arm, baseline, name, epoch_ends)
                for name in (MASK_LOSS, f"val_{MASK_LOSS}")
            },
            {metric: _paired(results, arm, baseline, metric) for metric in _LOSS_METRICS},
            _paired(results, arm, baseline, false_positives_metric(score)),
        )
    return found


_LOSS_METRICS = (END, MEAN, VAL_END, VAL_MEAN)


def explain(baseline: str, score: float) -> str:
    """A paragraph on what the columns of `format_rows` mean."""
    return (
        f"Relative to {baseline}, with {CONFIDENCE:.0%} intervals. AP: the mean of the relative "
        f"changes of mask {', '.join(COLUMNS)} (of those that {baseline} has {LEAST_BASELINE:g} or "
        "more of), interval by the jackknife over the seeds. Steps spared: 1 - steps / all steps, "
        "for the steps after which the mask loss, averaged with earlier epochs over a tenth of the "
        f"training, is as low as {baseline}'s of the same seed at the end; the number of seeds "
        "that reach it, where some do not. Mask loss: averaged over the last tenth of the epochs "
        "(end) and over all steps (mean). Losses are those of training images, and of validation "
        f"images (val). False positives: detections with a score of {score:g} or more whose mask "
        "overlaps no object by an IoU of 0.5 or more, or only one that a better detection has.\n"
    )


def format_rows(rows: Mapping[str, Row], results: Results, baseline: str, score: float) -> str:
    """`rows_of` as a table in Markdown; the baseline's row has its own values.

    Args:
        rows: of the other arms.
        results, baseline, score: as for `rows_of`.
    """
    head = ["", "runs", "AP", "steps spared", "(val)", "mask loss, end", "mean"]
    head += ["val end", "val mean", "false positives"]
    metrics = (*_LOSS_METRICS, false_positives_metric(score))
    own = [of_metric(results, baseline, metric) for metric in metrics]
    means = [summarize(list(values.values())).mean for values in own]
    cells = ["-" if np.isnan(mean) else f"{mean:.4g}" for mean in means]
    lines = [[baseline, str(len(results[baseline])), "", "", "", *cells]]
    for arm, row in rows.items():
        change = "-" if np.isnan(row.change.value) else _percent(*row.change[:3])
        if row.change.metrics and row.change.metrics < len(COLUMNS):
            change += f" ({row.change.metrics} of {len(COLUMNS)})"
        speeds = [_speed(found) for found in row.speeds.values()]
        differences = [row.ends[metric] for metric in _LOSS_METRICS] + [row.false_positives]
        relative = [_relative(one) for one in differences]
        lines.append([arm, str(len(results[arm])), change, *speeds, *relative])
    return markdown(head, lines)


def write_rows(path: str | Path, rows: Mapping[str, Row]) -> Path:
    """CSV: a row for each arm and number, in parts of 1 where it is relative."""
    path = Path(path)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["arm", "number", "value", "low", "high", "runs"])
        for arm, row in rows.items():
            change = row.change
            writer.writerow(
                [arm, f"relative change of {change.metrics} mask AP", *change[:3], change.seeds]
            )
            for name, found in row.speeds.items():
                writer.writerow(
                    [arm, f"steps spared, {name}", found.spared, found.low, found.high]
                    + [f"{found.reached} of {found.seeds}"]
                )
            for metric, one in {**row.ends, "false positives": row.false_positives}.items():
                writer.writerow([arm, f"difference in {metric}", *one[:3], one.seeds])
    return path


def _speed(found: Speed) -> str:
    if not found.seeds:
        return "-"
    if not found.reached:
        return f"never reached (0 of {found.seeds})"
    text = _percent(found.spared, found.low, found.high)
    whole = found.reached == found.seeds
    return text if whole else f"{text}, reached by {found.reached} of {found.seeds}"


def _relative(one: Difference) -> str:
    """A difference in percent of the baseline, or as it is where that is about zero."""
    if not one.seeds:
        return "-"
    if np.isnan(one.relative) or not one.mean:
        text = f"{one.mean:+.3g}"
        return text if np.isnan(one.low) else f"{text} [{one.low:+.3g}, {one.high:+.3g}]"
    scale = one.relative / one.mean
    return _percent(one.relative, one.low * scale, one.high * scale)


def _percent(value: float, low: float, high: float) -> str:
    text = f"{value:+.1%}"
    return text if np.isnan(low) else f"{text} [{low:+.1%}, {high:+.1%}]"


def _paired(results: Results, arm: str, baseline: str, metric: str) -> Difference:
    return paired_difference(of_metric(results, arm, metric), of_metric(results, baseline, metric))
