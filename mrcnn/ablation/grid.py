"""A grid of runs, arms × seeds: started, followed and resumed.

The folder of a grid holds `grid.json` (what it compares), a folder for each run, and, once
runs are finished, what `mrcnn.ablation.report` writes.
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

from tqdm import tqdm

from mrcnn.ablation import matching
from mrcnn.ablation.matching import Matched
from mrcnn.ablation.run import METRICS_FILE, PROGRESS_FILE, WITH_PARENT, RunSpec
from mrcnn.files.atomic import write_json
from mrcnn.files.lock import lock_folder
from mrcnn.logger import logger
from mrcnn.training.stages import Stage, epoch_ends

GRID_FILE, LOG_FILE = "grid.json", "run.log"
POLL_SECONDS = 0.5
LOG_SECONDS = 30.0
LOG_LINES_SHOWN = 5


@dataclass(frozen=True)
class Grid:
    """What is compared, on what, and how long.

    Attributes:
        arms: settings by name; the first arm is what the others are compared with.
        seeds: each arm is run once with each. Runs of one seed share initial weights and
            batches.
        settings: of all arms, STEPS_PER_EPOCH among them; an arm's own come on top.
        models: start weights in the place of `model`: the runs of a seed start from the file
            whose place, counted from 0, is the seed modulo their number.
        split: folder of the `split.json` that all runs read; "": the data set is not divided.
        matched: arms whose mask loss gets a factor (`mrcnn.ablation.matching`), with the arm whose
            gradients they match by it.

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
    models: list[str] = field(default_factory=list)
    matched: dict[str, str] = field(default_factory=dict)
    split: str = ""
    image_dir: str | None = None

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

    def model_of(self, seed: int) -> str:
        """The start weights of the runs of a seed."""
        return self.models[seed % len(self.models)] if self.models else self.model

    def run_spec(
        self, arm: str, seed: int, initial_weights: Path, matched: Matched | None = None
    ) -> RunSpec:
        """What the run of an arm and a seed does, from weights that the seed's arms share.

        Args:
            arm, seed: of the run.
            initial_weights: the file that the arms of the seed share.
            matched: what was measured for an arm of `matched`.
        """
        shared = {name: value for name, value in vars(self).items() if name in _RUN_FIELDS}
        settings = {**self.settings, **self.arms[arm]}
        own = {
            "settings": settings if matched is None else matched.apply(settings),
            "seed": seed,
            "model": self.model_of(seed),
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
    failures = _measure_matched(grid, output, waiting)
    running: dict[tuple[str, int], subprocess.Popen[bytes]] = {}
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


def _measure_matched(grid: Grid, output: Path, waiting: list[tuple[str, int]]) -> list[str]:
    """Measure the factors of the matched arms that wait and have none yet.

    Args:
        grid: what is compared.
        output: its folder.
        waiting: runs that are not finished; those whose factor could not be measured leave it.

    Returns:
        A sentence for each run that left.
    """
    failures = []
    for arm, reference in grid.matched.items():
        runs = [run for run in waiting if run[0] == arm]
        if not runs or Matched.read(output / arm) is not None:
            continue
        seed = grid.seeds[0]
        logger.info(f"Measuring the factor of the mask loss of {arm}, in a training of {reference}")
        spec = grid.run_spec(reference, seed, _initial_weights(output, seed))
        settings = {**grid.settings, **grid.arms[arm]}
        matching.write_match(output / arm, spec, reference, settings)
        process = _start_process("mrcnn.ablation.matching", output / arm)
        try:
            process.wait()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()
        found = Matched.read(output / arm)
        if found is not None:
            logger.info(found.describe(arm))
            continue
        tail = _end_of_log(output / arm)
        for run in runs:
            waiting.remove(run)
            failures.append(
                f"{arm}, seed {run[1]}: not started, because the factor of its mask loss could not "
                f"be measured (status {process.returncode}); {tail}"
            )
        tqdm.write(failures[-1])
    return failures


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
    matched = Matched.read(output / arm) if arm in grid.matched else None
    grid.run_spec(arm, seed, _initial_weights(output, seed), matched).write(folder)
    return _start_process("mrcnn.ablation.run", folder)


def _start_process(module: str, folder: Path) -> subprocess.Popen[bytes]:
    """Run a module on a folder, with its output in the folder's log."""
    with (folder / LOG_FILE).open("w", encoding="utf-8") as log:
        return subprocess.Popen(
            [sys.executable, "-m", module, str(folder), WITH_PARENT],
            stdin=subprocess.PIPE,  # nothing is written: it closes when this process ends
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )


def _steps_done(output: Path, arm: str, seed: int) -> int:
    path = run_folder(output, arm, seed) / PROGRESS_FILE
    return json.loads(path.read_text(encoding="utf-8"))["steps"] if path.is_file() else 0


def _failure(output: Path, arm: str, seed: int, status: int) -> str:
    tail = _end_of_log(run_folder(output, arm, seed))
    return f"{arm}, seed {seed}: ended with status {status}; {tail}"


def _end_of_log(folder: Path) -> str:
    """Where the log of a process is, and its last lines."""
    log = folder / LOG_FILE
    tail = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    shown = "\n".join(f"    {line}" for line in tail[-LOG_LINES_SHOWN:])
    return f"see {log}\n{shown}"


def _check_same(grid: Grid, output: Path) -> None:
    if not (output / GRID_FILE).is_file():
        return
    old, new = load_grid(output).as_json(), grid.as_json()
    free = ("arms", "seeds", "matched")
    changed = [name for name in new if name not in free and new[name] != old[name]]
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
