"""A grid of runs, arms × seeds: started, followed, resumed and summed up.

The folder of a grid holds `grid.json` (what it compares), a folder for each run, and, once
runs are finished, `report.md`, `tables.csv`, `runs.csv`, `summary.csv` and the figures.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mrcnn.ablation import curves, statistics
from mrcnn.ablation.run import LOSSES_FILE, METRICS_FILE, PROGRESS_FILE, WITH_PARENT, RunSpec
from mrcnn.evaluation.coco import METRIC_NAMES
from mrcnn.files.atomic import write_json
from mrcnn.files.lock import lock_folder
from mrcnn.training.stages import Stage, epoch_ends

GRID_FILE, LOG_FILE = "grid.json", "run.log"
# The columns of the paper's tables.
COLUMNS = METRIC_NAMES[:6]
KINDS = {"Mask AP": "segm", "Boundary AP": "boundary", "Box AP": "bbox"}
POLL_SECONDS = 0.5
LOG_SECONDS = 30.0
LOG_LINES_SHOWN = 5

_Metrics = dict[str, dict[int, dict[str, float]]]  # by arm, seed and name
_Losses = dict[str, dict[int, dict[str, np.ndarray]]]  # likewise, by epoch


@dataclass(frozen=True)
class Grid:
    """What is compared, on what, and how long.

    Attributes:
        arms: settings by name; the first arm is what the others are compared with.
        seeds: each arm is run once with each. Runs of one seed share initial weights and
            batches.
        settings: of all arms, STEPS_PER_EPOCH among them; an arm's own come on top.

    The others are as in `mrcnn.ablation.run.RunSpec`.
    """

    dataset: str
    arms: dict[str, dict[str, Any]]
    seeds: list[int]
    settings: dict[str, Any]
    stages: list[Stage]
    model: str = "none"
    exclude: list[str] = field(default_factory=list)
    year: str = ""
    train_subset: str = "train"
    val_subset: str = "val"
    limit: int = 0
    dilation_ratio: float = 0.02
    box_only: bool = False
    skip_invalid: bool = False
    augment: Sequence[str] = ("flip",)

    @property
    def baseline(self) -> str:
        return next(iter(self.arms))

    @property
    def runs(self) -> list[tuple[str, int]]:
        """(arm, seed), seed by seed, so that an early stop leaves whole comparisons."""
        return [(arm, seed) for seed in self.seeds for arm in self.arms]

    @property
    def epoch_ends(self) -> list[int]:
        """The steps done at the end of each epoch."""
        return epoch_ends(self.stages, int(self.settings["STEPS_PER_EPOCH"]))

    @property
    def steps(self) -> int:
        """Of each run."""
        return sum(stage.steps for stage in self.stages)

    def as_json(self) -> dict[str, Any]:
        content = {**vars(self), "stages": [stage.as_tuple() for stage in self.stages]}
        return json.loads(json.dumps(content))  # tuples become lists, as when read back

    def run_spec(self, arm: str, seed: int, initial_weights: Path) -> RunSpec:
        """What the run of an arm and a seed does, from weights that the seed's arms share."""
        shared = {name: value for name, value in vars(self).items() if name in _RUN_FIELDS}
        own = {
            "settings": {**self.settings, **self.arms[arm]},
            "seed": seed,
            "initial_weights": str(initial_weights.resolve()),
        }
        return RunSpec(**{**shared, **own})


_RUN_FIELDS = frozenset(field.name for field in fields(RunSpec))


def load_grid(output: str | Path) -> Grid:
    """The grid of a folder."""
    path = Path(output, GRID_FILE)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected the folder of a grid; there is no such file.")
    content = json.loads(path.read_text(encoding="utf-8"))
    return Grid(**{**content, "stages": [Stage(*stage) for stage in content["stages"]]})


def run_grid(grid: Grid, output: str | Path, jobs: int = 1) -> list[str]:
    """Carry out the runs that are not finished, each in a process of its own.

    Args:
        grid: what to compare.
        output: folder of the grid. If it has one already, that must be the same but for arms
            and seeds, which may be added.
        jobs: runs at a time.

    Returns:
        A sentence for each run that failed.

    Raises:
        ValueError: the folder holds another grid, or `jobs` is below 1.
        FolderTakenError: another process carries out the grid of the folder.
    """
    if jobs < 1:
        raise ValueError(f"jobs: expected at least 1; received {jobs}.")
    output = Path(output)
    with lock_folder(output):
        _check_same(grid, output)
        write_json(output / GRID_FILE, grid.as_json())
        return _carry_out(grid, output, jobs)


def _carry_out(grid: Grid, output: Path, jobs: int) -> list[str]:
    waiting = [run for run in grid.runs if not is_finished(output, *run)]
    running: dict[tuple[str, int], subprocess.Popen[bytes]] = {}
    failures = []
    # Where there is no terminal the bar goes to a log file, a line each time.
    seconds = 0.1 if sys.stderr.isatty() else LOG_SECONDS
    with tqdm(
        total=grid.steps * len(grid.runs),
        unit="step",
        desc="Grid",
        smoothing=0,
        mininterval=seconds,
    ) as bar:
        try:
            while waiting or running:
                while len(running) < jobs and (key := _next(output, waiting, running)):
                    waiting.remove(key)
                    running[key] = _start(grid, output, *key)
                for key, process in list(running.items()):
                    if process.poll() is None:
                        continue
                    del running[key]
                    if not is_finished(output, *key):
                        failures.append(_failure(output, *key, process.returncode))
                        tqdm.write(failures[-1])
                _show_progress(bar, grid, output, running)
                if running:
                    time.sleep(POLL_SECONDS)
        finally:
            for process in running.values():
                process.send_signal(signal.SIGTERM)
            for process in running.values():
                process.wait()
    return failures


def _show_progress(bar: tqdm, grid: Grid, output: Path, running: Iterable[tuple[str, int]]) -> None:
    finished = [key for key in grid.runs if is_finished(output, *key)]
    going = set(running).difference(finished)  # a finished one may take a while to exit
    steps = grid.steps * len(finished)
    steps += sum(min(_steps_done(output, *key), grid.steps) for key in going)
    bar.set_postfix_str(f"{len(finished)} of {len(grid.runs)} runs", refresh=False)
    bar.update(steps - bar.n)


def write_report(
    grid: Grid, output: str | Path, command: str = "", folder: str | Path | None = None
) -> Path | None:
    """Write the tables and figures of the finished runs.

    Args:
        grid: whose arms and seeds are reported; the folder may hold more.
        output: folder of the runs.
        command: that started them, for the report.
        folder: of the report; None: `output`.

    Returns:
        `report.md`, or None when no run is finished.
    """
    output = Path(output)
    folder = output if folder is None else Path(folder)
    results, losses = _read_runs(grid, output)
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
        title: [f"{kind}/{name}" for name in COLUMNS if f"{kind}/{name}" in present]
        for title, kind in KINDS.items()
    }
    tables = statistics.make_tables(results, grid.baseline, kinds)
    statistics.write_tables(folder / "tables.csv", tables, results)
    path = folder / "report.md"
    path.write_text(_report_text(grid, command, results, tables, list(figures)), encoding="utf-8")
    return path


def _read_runs(grid: Grid, output: Path) -> tuple[_Metrics, _Losses]:
    """The metrics and losses of the finished runs, arm by arm."""
    results: _Metrics = {}
    losses: _Losses = {}
    for arm, seed in sorted(grid.runs, key=lambda key: list(grid.arms).index(key[0])):
        if is_finished(output, arm, seed):
            folder = run_folder(output, arm, seed)
            metrics = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))
            results.setdefault(arm, {})[seed] = metrics
            losses.setdefault(arm, {})[seed] = curves.read_losses(folder / LOSSES_FILE)
    return results, losses


def _report_text(
    grid: Grid,
    command: str,
    results: _Metrics,
    tables: Sequence[statistics.Table],
    figures: Sequence[str],
) -> str:
    """The report as Markdown."""
    conclusions = [
        statistics.conclude(results, grid.baseline, f"{kind}/AP", title)
        for title, kind in KINDS.items()
    ]
    finished = sum(map(len, results.values()))
    hours, cpu_hours = (
        sum(run.get(name, np.nan) for runs in results.values() for run in runs.values()) / 3600
        for name in ("seconds/all", "seconds/cpu")
    )
    lines = [
        f"# {', '.join(grid.arms)} on {Path(grid.dataset).name}",
        "",
        f"{finished} of {len(grid.runs)} runs, {grid.steps} steps each; {hours:.2f} hours in all, "
        f"{cpu_hours:.2f} CPU hours; seeds {', '.join(map(str, grid.seeds))}. AP from 0 to 1, mean "
        f"± standard deviation of the seeds.",
        "",
        *([f"    {command}", ""] if command else []),
        *(f"{sentence}\n" for sentence in conclusions if sentence),
        statistics.format_tables(tables, results, grid.baseline),
        *(f"![{name}]({name})" for name in figures),
    ]
    return "\n".join(lines) + "\n"


def run_folder(output: Path, arm: str, seed: int) -> Path:
    return output / arm / f"seed-{seed}"


def is_finished(output: Path, arm: str, seed: int) -> bool:
    return (run_folder(output, arm, seed) / METRICS_FILE).is_file()


def _initial_weights(output: Path, seed: int) -> Path:
    return output / "initial" / f"seed-{seed}.h5"


def _next(
    output: Path, waiting: Sequence[tuple[str, int]], running: Iterable[tuple[str, int]]
) -> tuple[str, int] | None:
    """The next run that can start: a seed's first run makes the weights of its other arms."""
    making = {seed for _, seed in running if not _initial_weights(output, seed).is_file()}
    return next((key for key in waiting if key[1] not in making), None)


def _start(grid: Grid, output: Path, arm: str, seed: int) -> subprocess.Popen[bytes]:
    folder = run_folder(output, arm, seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PROGRESS_FILE).unlink(missing_ok=True)
    grid.run_spec(arm, seed, _initial_weights(output, seed)).write(folder)
    with (folder / LOG_FILE).open("w", encoding="utf-8") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "mrcnn.ablation.run", str(folder), WITH_PARENT],
            stdin=subprocess.PIPE,  # nothing is written: it closes when this process ends
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )


def _steps_done(output: Path, arm: str, seed: int) -> int:
    path = run_folder(output, arm, seed) / PROGRESS_FILE
    return json.loads(path.read_text(encoding="utf-8"))["steps"] if path.is_file() else 0


def _failure(output: Path, arm: str, seed: int, status: int) -> str:
    log = run_folder(output, arm, seed) / LOG_FILE
    tail = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    shown = "\n".join(f"    {line}" for line in tail[-LOG_LINES_SHOWN:])
    return f"{arm}, seed {seed}: ended with status {status}; see {log}\n{shown}"


def _check_same(grid: Grid, output: Path) -> None:
    if not (output / GRID_FILE).is_file():
        return
    old, new = load_grid(output).as_json(), grid.as_json()
    changed = [name for name in new if name not in ("arms", "seeds") and new[name] != old[name]]
    changed += [
        f"arms.{arm}"
        for arm, settings in new["arms"].items()
        if arm in old["arms"] and old["arms"][arm] != settings
    ]
    if changed:
        raise ValueError(
            f"{output}: holds a grid with other values of {', '.join(changed)}; expected the "
            f"same, with more arms or seeds at most. Choose another output folder."
        )


def expect_arms(arms: Mapping[str, Any], seeds: Sequence[int]) -> None:
    """Check that there is something to compare.

    Raises:
        ValueError: fewer than one arm or seed, or a seed that is given twice.
    """
    if not arms or not seeds:
        raise ValueError("a grid needs at least one arm and one seed.")
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds: expected each once; received {list(seeds)}.")
