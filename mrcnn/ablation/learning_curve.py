"""Few masks, many boxes: what each arm reaches with the masks of a share of the objects.

An arm is run with every share (`with_mask_shares`); the runs of a seed leave out the same masks,
and a smaller share has no mask that a larger one lacks. The result is `learning_curve.md` with
`learning_curve.csv` and `learning_curve.png`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.ablation import statistics
from mrcnn.ablation.grid import Grid, is_finished, run_folder
from mrcnn.ablation.outcomes import KINDS
from mrcnn.ablation.run import METRICS_FILE

SETTING = "MASK_SHARE"
NAME = "learning_curve"
FIELDS = ("arm", "mask_share", "metric", "seeds", "mean", "deviation")

_Points = dict[str, dict[float, dict[int, dict[str, float]]]]  # by arm, share, seed and metric


def name_of(arm: str, share: float) -> str:
    """The name of an arm with a share of the masks.

    >>> name_of("sobel-l2", 0.25)
    'sobel-l2-masks-25'
    """
    return f"{arm}-masks-{100 * share:g}"


def with_mask_shares(
    arms: Mapping[str, dict[str, Any]], shares: Sequence[float]
) -> dict[str, dict[str, Any]]:
    """Each arm with each share of the masks, the first share's arms first.

    Raises:
        ValueError: a share that is given twice, or that is not above 0 and at most 1.
    """
    for share in shares:
        if not 0 < share <= 1:
            raise ValueError(
                f"--mask-share: expected numbers above 0, at most 1; received {share}."
            )
        if list(shares).count(share) > 1:
            raise ValueError(f"--mask-share: expected each share once; received {list(shares)}.")
    return {
        name_of(arm, share): {**settings, SETTING: share}
        for share in shares
        for arm, settings in arms.items()
    }


def write_learning_curve(
    grid: Grid, output: str | Path, arms: Iterable[str], shares: Iterable[float]
) -> Path | None:
    """Write the table and the figure of the finished runs.

    Args:
        grid: of the arms of `with_mask_shares`.
        output: its folder.
        arms, shares: as `with_mask_shares` was given them; other arms are compared with the first.

    Returns:
        `learning_curve.md`, or None when no run is finished.
    """
    output, arms, shares = Path(output), list(arms), sorted(shares)
    points = {
        arm: {share: _metrics(grid, output, name_of(arm, share)) for share in shares}
        for arm in arms
    }
    metrics = {
        title: f"{kind}/AP" for title, kind in KINDS.items() if _any_has(points, f"{kind}/AP")
    }
    if not metrics:
        return None
    _write_rows(output / f"{NAME}.csv", points, metrics.values())
    _plot(output / f"{NAME}.png", points, metrics)
    path = output / f"{NAME}.md"
    path.write_text(_text(points, metrics, len(grid.seeds)), encoding="utf-8")
    return path


def _metrics(grid: Grid, output: Path, arm: str) -> dict[int, dict[str, float]]:
    return {
        seed: json.loads((run_folder(output, arm, seed) / METRICS_FILE).read_text("utf-8"))
        for seed in grid.seeds
        if is_finished(output, arm, seed)
    }


def _any_has(points: _Points, metric: str) -> bool:
    runs = (
        run for shares in points.values() for seeds in shares.values() for run in seeds.values()
    )
    return any(metric in run for run in runs)


def _values(points: _Points, arm: str, share: float, metric: str) -> dict[int, float]:
    """A metric by seed."""
    return statistics.of_metric({arm: points[arm][share]}, arm, metric)


def _write_rows(path: Path, points: _Points, metrics: Iterable[str]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(FIELDS)
        for metric in metrics:
            for arm, shares in points.items():
                for share in shares:
                    found = list(_values(points, arm, share, metric).values())
                    mean, deviation = _summary(found)
                    writer.writerow([arm, share, metric, len(found), mean, deviation])


def _summary(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation; NaN where there are too few values."""
    mean = float(np.mean(values)) if len(values) else np.nan
    return mean, float(np.std(values, ddof=1)) if len(values) > 1 else np.nan


def _text(points: _Points, metrics: Mapping[str, str], seeds: int) -> str:
    """The page: a table a metric, arms by share, and the differences from the first arm."""
    lines = [
        "# Few masks, many boxes",
        "",
        "Training with the masks of a share of the objects; all objects train boxes and classes. "
        f"AP from 0 to 1, mean ± standard deviation of {seeds} seed{'s' if seeds != 1 else ''}; "
        "differences from the first arm are in points (one is 0.01), over the seeds that both "
        "have, with their 95 % confidence interval.",
        "",
    ]
    first, *others = points
    shares = list(points[first])
    for title, metric in metrics.items():
        lines += [
            f"| {title} | {' | '.join(f'{100 * share:g} %' for share in shares)} |",
            f"|---|{'---|' * len(shares)}",
        ]
        for arm in points:
            cells = [_mean_cell(_values(points, arm, share, metric)) for share in shares]
            lines.append(f"| {arm} | {' | '.join(cells)} |")
        for arm in others:
            cells = [
                _difference_cell(
                    _values(points, arm, share, metric), _values(points, first, share, metric)
                )
                for share in shares
            ]
            lines.append(f"| {arm} − {first}, points | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join([*lines, f"![{NAME}.png]({NAME}.png)", ""])


def _mean_cell(values: Mapping[int, float]) -> str:
    mean, deviation = _summary(list(values.values()))
    if np.isnan(mean):
        return ""
    return f"{mean:.3f}" if np.isnan(deviation) else f"{mean:.3f} ± {deviation:.3f}"


def _difference_cell(arm: Mapping[int, float], first: Mapping[int, float]) -> str:
    found = statistics.paired_difference(arm, first)
    if np.isnan(found.mean):
        return ""
    text = f"{100 * found.mean:+.1f}"
    return (
        text if np.isnan(found.low) else f"{text} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
    )


def _plot(path: Path, points: _Points, metrics: Mapping[str, str]) -> None:
    """A panel a metric: mean and range of the seeds over the share of the masks."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(metrics), 3.6), dpi=120, layout="constrained")
    for ax, (title, metric) in zip(
        figure.subplots(1, len(metrics), squeeze=False)[0], metrics.items(), strict=True
    ):
        for arm, shares in points.items():
            found = {s: list(_values(points, arm, s, metric).values()) for s in shares}
            found = {share: values for share, values in found.items() if values}
            xs = [100 * share for share in found]
            (line,) = ax.plot(xs, [np.mean(v) for v in found.values()], marker="o", label=arm)
            low, high = ([pick(v) for v in found.values()] for pick in (min, max))
            ax.fill_between(xs, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
        ax.set_title(title)
        ax.set_xlabel("objects with a mask, %")
        ax.set_ylim(bottom=0)
        ax.grid(alpha=0.3)
    figure.axes[0].set_ylabel("AP: mean, and range of the seeds")
    figure.axes[0].legend()
    figure.savefig(path)
