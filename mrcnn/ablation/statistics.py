"""Tables of a comparison: means, spreads, and paired differences with a confidence interval.

AP is given from 0 to 1, as pycocotools prints it, and differences of it in points, of which one
is 0.01.

Runs of one seed share their initial weights and batches, and the differences are taken seed by
seed. Whether that makes them vary less than differences of unrelated runs depends on the data:
where arms rise and fall together from seed to seed, it does; on the nuclei of docs/results they did
not, the correlation of Sobel's mask AP with the baseline's was -0.47, and pairing made the interval
wider. A report says the correlation of each contrast (`mrcnn.ablation.contrasts`).
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
POINTS = 100  # in an AP of 1
# A change relative to a baseline below this says nothing: a point is half of it.
LEAST_BASELINE = 0.02
ALL_ZERO = "all zero: the networks found nothing; train longer"
# {arm: {seed: {metric: value}}}; NaN where a metric is undefined
Results = Mapping[str, Mapping[int, Mapping[str, float]]]


class Summary(NamedTuple):
    """A metric over the seeds of an arm: `deviation` is NaN for a single seed."""

    mean: float
    deviation: float
    seeds: int


class Difference(NamedTuple):
    """A metric's mean difference from the baseline; `low` and `high` bound it."""

    mean: float
    low: float
    high: float
    relative: float  # of the mean, in parts of the baseline's over the same seeds; NaN: about 0
    seeds: int


class Table(NamedTuple):
    """One table in the form of the paper's: a row for each arm, a column for each metric."""

    kind: str
    content: str  # "mean" or "difference in points"
    columns: tuple[str, ...]
    rows: dict[str, list[str]]  # by arm
    is_zero: bool = False  # no run has a metric above 0


def summarize(values: Sequence[float]) -> Summary:
    """Mean and standard deviation (of the sample) of the finite values."""
    known = np.array([value for value in values if np.isfinite(value)], float)
    if not len(known):
        return Summary(np.nan, np.nan, 0)
    deviation = float(known.std(ddof=1)) if len(known) > 1 else np.nan
    return Summary(float(known.mean()), deviation, len(known))


def paired_difference(
    arm: Mapping[int, float], baseline: Mapping[int, float], confidence: float = CONFIDENCE
) -> Difference:
    """The difference of two arms over the seeds that both have.

    The interval is Student's t for the mean of the seeds' differences; with one seed there
    is none (NaN).
    """
    seeds = [
        seed
        for seed in arm
        if seed in baseline and np.isfinite(arm[seed]) and np.isfinite(baseline[seed])
    ]
    if not seeds:
        return Difference(np.nan, np.nan, np.nan, np.nan, 0)
    differences = np.array([arm[seed] - baseline[seed] for seed in seeds])
    mean = float(differences.mean())
    half = np.nan
    if len(seeds) > 1:
        spread = differences.std(ddof=1) / np.sqrt(len(seeds))
        half = float(stats.t.ppf((1 + confidence) / 2, len(seeds) - 1) * spread)
    reference = float(np.mean([baseline[seed] for seed in seeds]))
    relative = mean / reference if abs(reference) >= LEAST_BASELINE else np.nan
    return Difference(mean, mean - half, mean + half, relative, len(seeds))


def of_metric(results: Results, arm: str, metric: str) -> dict[int, float]:
    """A metric's value for each seed of an arm."""
    return {seed: metrics.get(metric, np.nan) for seed, metrics in results[arm].items()}


def make_tables(results: Results, baseline: str, kinds: Mapping[str, Sequence[str]]) -> list[Table]:
    """For each kind of metric, the arms' means, and their differences from the baseline's.

    Where all means are 0 there is nothing to compare, and no table of differences.

    Args:
        results: finished runs.
        baseline: the arm that the others are compared with.
        kinds: name of each pair of tables -> its metrics, named as in `results`, such as
            `segm/AP`; the part after the slash heads a column.
    """
    found = []
    for kind, metrics in kinds.items():
        columns = tuple(metric.split("/")[-1] for metric in metrics)
        values = {arm: [of_metric(results, arm, metric) for metric in metrics] for arm in results}
        rows = {
            arm: [_mean(summarize(list(value.values()))) for value in values[arm]]
            for arm in results
        }
        is_zero = _is_zero(results, metrics)
        found.append(Table(kind, "mean", columns, rows, is_zero))
        if baseline in results and len(results) > 1 and not is_zero:
            rows = {
                arm: [
                    format_change(paired_difference(value, reference))
                    for value, reference in zip(values[arm], values[baseline], strict=True)
                ]
                for arm in results
                if arm != baseline
            }
            found.append(Table(kind, "difference in points", columns, rows))
    return found


def format_tables(found: Sequence[Table], results: Results, baseline: str) -> str:
    """`make_tables` as Markdown, a heading for each kind."""
    parts = []
    for table in found:
        if table.content == "mean":
            parts.append(f"### {table.kind}\n")
        else:
            parts.append(
                f"Difference from {baseline} in points (one is 0.01), seed by seed, with its "
                f"{CONFIDENCE:.0%} confidence interval, and the relative change where {baseline} "
                f"has {LEAST_BASELINE:g} or more:\n"
            )
        if table.is_zero:
            parts.append(f"{ALL_ZERO.capitalize()}.\n")
            continue
        rows = [[arm, str(len(results[arm])), *cells] for arm, cells in table.rows.items()]
        parts += [markdown(["", "runs", *table.columns], rows), ""]
    return "\n".join(parts).rstrip() + "\n"


def conclude(results: Results, baseline: str, metric: str, title: str) -> str:
    """A sentence on a metric: which arms differ from the baseline, and which may not.

    An arm differs when the confidence interval of its difference leaves out 0.
    """
    parts = []
    for arm in results:
        if arm == baseline or baseline not in results:
            continue
        difference = paired_difference(
            of_metric(results, arm, metric), of_metric(results, baseline, metric)
        )
        if difference.seeds < 2:
            verdict = "one seed, no conclusion" if difference.seeds else "no seed in common"
        elif difference.low > 0:
            verdict = "better"
        elif difference.high < 0:
            verdict = "worse"
        else:
            verdict = "no significant difference"
        parts.append(f"{arm} {format_change(difference, ' points')}: {verdict}")
    if parts and _is_zero(results, [metric]):
        return f"{title}: {ALL_ZERO}."
    return f"{title} compared with {baseline}: {'; '.join(parts)}." if parts else ""


def write_tables(path: str | Path, found: Sequence[Table], results: Results) -> Path:
    """CSV of `make_tables`: the cells as the Markdown shows them, a row for each arm."""
    path = Path(path)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        columns = list(dict.fromkeys(column for table in found for column in table.columns))
        writer.writerow(["table", "content", "arm", "runs", *columns])
        for table in found:
            for arm, cells in table.rows.items():
                known = dict(zip(table.columns, cells, strict=True))
                values = [known.get(column, "") for column in columns]
                writer.writerow([table.kind, table.content, arm, len(results[arm]), *values])
    return path


def write_runs(path: str | Path, results: Results) -> Path:
    """CSV: a row for each run, a column for each metric."""
    path = Path(path)
    metrics = _metrics(results)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["arm", "seed", *metrics])
        for arm, runs in results.items():
            for seed, values in runs.items():
                writer.writerow([arm, seed, *(repr(float(values.get(m, "nan"))) for m in metrics)])
    return path


def write_summary(path: str | Path, results: Results, baseline: str) -> Path:
    """CSV: a row for each arm and metric: mean, spread and difference from the baseline."""
    path = Path(path)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["arm", "metric", "runs", "mean", "standard_deviation"]
            + ["difference", "low", "high", "relative"]
        )
        for arm in results:
            for metric in _metrics(results):
                values = of_metric(results, arm, metric)
                summary = summarize(list(values.values()))
                row = [arm, metric, summary.seeds, summary.mean, summary.deviation]
                if baseline in results:
                    row += paired_difference(values, of_metric(results, baseline, metric))[:4]
                writer.writerow(row)
    return path


def _metrics(results: Results) -> list[str]:
    """Every metric there is, in the order of the first run that has it."""
    return list(dict.fromkeys(m for runs in results.values() for run in runs.values() for m in run))


def _is_zero(results: Results, metrics: Sequence[str]) -> bool:
    """Whether all known values of some metrics are 0, and there is one."""
    values = np.array(
        [
            value
            for metric in metrics
            for arm in results
            for value in of_metric(results, arm, metric).values()
        ]
    )
    known = values[np.isfinite(values)]
    return bool(known.size) and not known.any()


def _mean(summary: Summary) -> str:
    if not summary.seeds:
        return "-"
    text = f"{summary.mean:.3f}"
    return text if np.isnan(summary.deviation) else f"{text} ± {summary.deviation:.3f}"


def format_change(difference: Difference, unit: str = "") -> str:
    """A difference in points, with the name of the unit if wanted, its interval and its share."""
    if not difference.seeds:
        return "-"
    text = f"{POINTS * difference.mean:+.1f}{unit}"
    if not np.isnan(difference.low):
        text += f" [{POINTS * difference.low:+.1f}, {POINTS * difference.high:+.1f}]"
    return text if np.isnan(difference.relative) else f"{text} ({difference.relative:+.1%})"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
