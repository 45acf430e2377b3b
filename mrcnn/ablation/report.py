"""What a comparison found: tables, contrasts and figures of the runs that are finished.

Into a folder go `report.md`, `tables.csv` (the report's tables), `contrasts.csv` (those that the
report calls headline), `paper_numbers.csv`, `runs.csv` (every number of every run), `summary.csv`
and the figures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mrcnn.ablation import contrasts, curves, paper_numbers, pictures, statistics
from mrcnn.ablation.bootstrap import ImageResamples, Interval
from mrcnn.ablation.contrasts import Contrast, Tested
from mrcnn.ablation.grid import Grid, is_finished, run_folder
from mrcnn.ablation.matching import Matched
from mrcnn.ablation.outcomes import KINDS, PRIMARY
from mrcnn.ablation.run import LOSSES_FILE, MATCHES_FILE, METRICS_FILE
from mrcnn.config import Config
from mrcnn.evaluation.matches import Matches, read_matches

ARMS_PICTURE = "arms.png"
FACTOR = "mask_loss_factor"  # the column of `runs.csv` for what was measured

_Metrics = dict[str, dict[int, dict[str, float]]]  # by arm, seed and name
_Losses = dict[str, dict[int, dict[str, np.ndarray]]]  # likewise, by epoch


@dataclass(frozen=True)
class ReportOptions:
    """How a report is made.

    Attributes:
        command: that started the runs, for the reader.
        primary: a value of KINDS, in whose AP the headline contrasts are tested.
        image_resamples: of the intervals that count the images in; 0: there are none.
        score: from which on false positives are counted.
    """

    command: str = ""
    primary: str = PRIMARY
    image_resamples: int = 0
    score: float = Config.DETECTION_MIN_CONFIDENCE


DEFAULT_OPTIONS = ReportOptions()


def write_report(
    grid: Grid,
    output: str | Path,
    options: ReportOptions = DEFAULT_OPTIONS,
    folder: str | Path | None = None,
) -> Path | None:
    """Write the tables and figures of the finished runs.

    Args:
        grid: whose arms and seeds are reported; the folder may hold more.
        output: folder of the runs.
        options: of the report.
        folder: of the report; None: `output`.

    Returns:
        `report.md`, or None when no run is finished.
    """
    output = Path(output)
    folder = output if folder is None else Path(folder)
    results, losses = _read_runs(grid, output, options.score)
    if not results:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    statistics.write_runs(folder / "runs.csv", results)
    statistics.write_summary(folder / "summary.csv", results, grid.baseline)
    figures = {"losses.png": False, "losses_validation.png": True}
    for name, validation in figures.items():
        curves.plot_curves(
            losses, grid.baseline, folder / name, grid.epoch_ends, validation=validation
        )
    present = {metric for runs in results.values() for run in runs.values() for metric in run}
    kinds = {
        title: [f"{kind}/{name}" for name in paper_numbers.COLUMNS if f"{kind}/{name}" in present]
        for title, kind in KINDS.items()
    }
    tables = statistics.make_tables(results, grid.baseline, kinds)
    statistics.write_tables(folder / "tables.csv", tables, results)
    tested = contrasts.compare(
        results,
        contrasts.headline(list(grid.arms), grid.matched),
        f"{options.primary}/AP",
    )
    intervals = _image_intervals(grid, output, options, tested)
    contrasts.write_contrasts(folder / "contrasts.csv", tested, intervals, options.primary)
    numbers = paper_numbers.rows_of(results, losses, grid.baseline, grid.epoch_ends, options.score)
    paper_numbers.write_rows(folder / "paper_numbers.csv", numbers)
    names = list(figures)
    if pictures.draw_arms(grid, output, folder / ARMS_PICTURE):
        names.append(ARMS_PICTURE)
    path = folder / "report.md"
    parts = [
        *_head(grid, options.command, results),
        *_conclusions(grid, output, results),
        *_headline(grid, options, tested, intervals, results),
        *_paper_numbers(grid, options, numbers, results),
        statistics.format_tables(tables, results, grid.baseline),
        *(f"![{name}]({name})" for name in names),
    ]
    path.write_text("\n".join(parts) + "\n", encoding="utf-8")
    return path


def _read_runs(grid: Grid, output: Path, score: float) -> tuple[_Metrics, _Losses]:
    """The metrics and losses of the finished runs, arm by arm.

    Args:
        grid: whose runs are meant.
        output: their folder.
        score: from which on false positives are counted.
    """
    results: _Metrics = {}
    losses: _Losses = {}
    for arm, seed in sorted(grid.runs, key=lambda key: list(grid.arms).index(key[0])):
        if is_finished(output, arm, seed):
            folder = run_folder(output, arm, seed)
            metrics = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))
            matched = Matched.read(output / arm) if arm in grid.matched else None
            settings = {**grid.settings, **grid.arms[arm]}
            if matched is not None:
                metrics[FACTOR] = matched.factor
                settings = matched.apply(settings)
            of_run = curves.read_losses(folder / LOSSES_FILE, settings.get("LOSS_WEIGHTS"))
            metrics |= paper_numbers.mask_loss_metrics(of_run, grid.epoch_ends)
            if (folder / MATCHES_FILE).is_file():  # runs of an older version have none
                matches = read_matches(folder / MATCHES_FILE)["segm"]
                name = paper_numbers.false_positives_metric(score)
                metrics[name] = matches.false_positives(score)
            results.setdefault(arm, {})[seed] = metrics
            losses.setdefault(arm, {})[seed] = of_run
    return results, losses


def _image_intervals(
    grid: Grid, output: Path, options: ReportOptions, tested: Sequence[Tested]
) -> dict[Contrast, Interval]:
    """The intervals of the headline contrasts with the images resampled, where they are asked for.

    Runs of an older version have no matches, and are left out.
    """
    if not options.image_resamples:
        return {}
    matches: dict[str, dict[int, Matches]] = {arm: {} for arm in grid.arms}
    for arm, seed in grid.runs:
        path = run_folder(output, arm, seed) / MATCHES_FILE
        if is_finished(output, arm, seed) and path.is_file():
            found = read_matches(path)
            if options.primary in found:
                matches[arm][seed] = found[options.primary]
    resamples = ImageResamples(matches, options.image_resamples)
    return {one.contrast: resamples.interval(*one.contrast) for one in tested}


def _head(grid: Grid, command: str, results: _Metrics) -> list[str]:
    finished = sum(map(len, results.values()))
    hours, cpu_hours = (
        sum(run.get(name, np.nan) for runs in results.values() for run in runs.values()) / 3600
        for name in ("seconds/all", "seconds/cpu")
    )
    layers = list(dict.fromkeys(stage.layers for stage in grid.stages))
    return [
        f"# {', '.join(grid.arms)} on {Path(grid.dataset).name}",
        "",
        f"{finished} of {len(grid.runs)} runs, {grid.steps} steps each; {hours:.2f} hours in all, "
        f"{cpu_hours:.2f} CPU hours; seeds {', '.join(map(str, grid.seeds))}. AP from 0 to 1, mean "
        f"± standard deviation of the seeds. Layers that learn: {', then '.join(layers)}.",
        "",
        *([f"    {command}", ""] if command else []),
    ]


def _conclusions(grid: Grid, output: Path, results: _Metrics) -> list[str]:
    """A paragraph for each kind of AP, and for each factor that was measured."""
    sentences = [
        statistics.conclude(results, grid.baseline, f"{kind}/AP", title)
        for title, kind in KINDS.items()
        if any(f"{kind}/AP" in run for runs in results.values() for run in runs.values())
    ]
    for arm in _controls(grid):
        matched = Matched.read(output / arm)
        if matched is not None:
            sentences.append(matched.describe(arm) + " Its loss is shown without the factor.")
    return [f"{sentence}\n" for sentence in sentences if sentence]


def _headline(
    grid: Grid,
    options: ReportOptions,
    tested: Sequence[Tested],
    intervals: Mapping[Contrast, Interval],
    results: _Metrics,
) -> list[str]:
    """The section on the headline contrasts; [] where there is none."""
    if not tested:
        return []
    title = next(title for title, kind in KINDS.items() if kind == options.primary)
    parts = [
        f"## Headline contrasts: {title}\n",
        contrasts.explain(grid.baseline, _controls(grid), len(tested)),
    ]
    if options.image_resamples:
        parts.append(
            f"The second interval counts the images in: the middle {statistics.CONFIDENCE:.0%} of "
            f"{options.image_resamples} resamples of seeds and of images.\n"
        )
    parts.append(contrasts.format_contrasts(tested, intervals) + "\n")
    if grid.models:
        parts += _by_model(grid, tested, f"{options.primary}/AP", results)
    return parts


def _paper_numbers(
    grid: Grid,
    options: ReportOptions,
    rows: Mapping[str, paper_numbers.Row],
    results: _Metrics,
) -> list[str]:
    """The section on the paper's numbers; [] where there is nothing to compare."""
    if not rows:
        return []
    return [
        "## The paper's numbers\n",
        paper_numbers.explain(grid.baseline, options.score),
        paper_numbers.format_rows(rows, results, grid.baseline, options.score) + "\n",
    ]


def _controls(grid: Grid) -> list[str]:
    return [arm for arm in grid.matched if arm in grid.arms]


def _by_model(grid: Grid, tested: Sequence[Tested], metric: str, results: _Metrics) -> list[str]:
    """The mean differences of the contrasts for each of several start weights."""
    rows = []
    for one in tested:
        cells = [f"{one.contrast.arm} - {one.contrast.against}"]
        for number in range(len(grid.models)):
            part = {
                arm: {
                    seed: values
                    for seed, values in statistics.of_metric(results, arm, metric).items()
                    if seed % len(grid.models) == number
                }
                for arm in one.contrast
            }
            difference = statistics.paired_difference(
                part[one.contrast.arm], part[one.contrast.against]
            )
            cells.append(statistics.format_change(difference))
        rows.append(cells)
    head = ["", *(f"start {number}" for number in range(len(grid.models)))]
    starts = "; ".join(f"start {n}: {Path(name).name}" for n, name in enumerate(grid.models))
    return [
        f"By start weights (a seed starts from the file whose place is the seed modulo "
        f"{len(grid.models)}; {starts}):\n",
        statistics.markdown(head, rows) + "\n",
    ]
