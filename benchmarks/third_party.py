"""Run public scripts and notebooks that were written for Matterport's package, unedited, on ours.

    python -m benchmarks.third_party --checkouts FOLDER [--only NAME …] [--output FOLDER]
    python -m benchmarks.third_party --list

`benchmarks/corpus/projects.toml` lists the projects: repository, commit, what of it is run, and
how. FOLDER holds their clones, as OWNER+NAME or OWNER/NAME; nothing is downloaded. A clone at the
commit that the list names:

    git clone https://github.com/OWNER/NAME FOLDER/OWNER+NAME
    git -C FOLDER/OWNER+NAME checkout COMMIT

Each script runs in a copy of its clone, in a process of its own, with `import mrcnn` leading to
this repository even where the project brings its own copy. Around the script, and not in it,
settings are made small (128 pixels, two steps, ResNet-10), each call of `train` is cut to one
epoch, windows are left out, and the data sets and weights that it reads are made, small and
synthetic (`benchmarks/corpus`). What runs here runs; how well it learns is another question.
Scripts that are not on the list should be looked at before they are run: this is no sandbox.

The exit status is 0 when everything that had a clone ended as the list says.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from benchmarks.corpus import data, outside
from benchmarks.corpus.projects import LIST, RAN, STOPS, Project, Run, load

ROOT = Path(__file__).resolve().parents[1]
NO_CLONE, OTHER_COMMIT, EDITED = "no clone", "other commit", "edited"
NOT_RUN = (NO_CLONE, OTHER_COMMIT, EDITED)
making_weights = threading.Lock()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkouts", type=Path, help="folder with the clones")
    parser.add_argument("--only", nargs="+", help="parts of the names of repositories or scripts")
    parser.add_argument("--output", type=Path, default=Path("third_party"), help="for the results")
    parser.add_argument("--python", default=sys.executable, help="with the packages of the scripts")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for one script")
    parser.add_argument("--jobs", type=int, default=1, help="scripts at the same time")
    parser.add_argument("--keep", action="store_true", help="keep the folders of the runs")
    parser.add_argument(
        "--again", action="store_true", help="only what has not run as expected yet"
    )
    parser.add_argument("--list", action="store_true", help="say what is on the list, and end")
    parser.add_argument("--projects", type=Path, default=LIST, help="another list")
    options = parser.parse_args(arguments)
    chosen = [
        (project, run)
        for project in load(options.projects)
        for run in project.runs
        if not options.only
        or any(part in f"{project.repository} {run.what}" for part in options.only)
    ]
    if options.list or options.checkouts is None:
        tell(chosen)
        return 0
    options.output.mkdir(parents=True, exist_ok=True)
    before = done_before(options.output / "third_party.json") if options.again else {}
    found: dict[int, dict[str, Any]] = {}
    with ThreadPoolExecutor(options.jobs) as pool:
        waiting = {
            pool.submit(lambda pair: before.get(key(*pair)) or one_row(*pair, options), pair): place
            for place, pair in enumerate(chosen)
        }
        for future in as_completed(waiting):
            found[waiting[future]] = future.result()
            print(json.dumps(future.result(), ensure_ascii=False), flush=True)
            rows = [found[place] for place in sorted(found)]
            (options.output / "third_party.json").write_text(json.dumps(rows, indent=1) + "\n")
            (options.output / "third_party.md").write_text(table(rows))
    unexpected = [row for row in found.values() if row["result"] not in (row["expected"], *NOT_RUN)]
    return 1 if unexpected else 0


def key(project: Project, run: Run) -> tuple[str, str]:
    """What tells a run from the others."""
    return project.repository, run.what


def done_before(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """The rows of an earlier table that ended as expected."""
    rows = json.loads(path.read_text()) if path.exists() else []
    return {
        (row["repository"], row["what"]): row for row in rows if row["result"] == row["expected"]
    }


def tell(chosen: list[tuple[Project, Run]]) -> None:
    """Print how to get the clones and the packages."""
    seen = {project.repository: project for project, _ in chosen}
    for project in seen.values():
        place = project.names[0]
        print(f"# {project.repository}: {project.about}")
        for run in project.runs:
            print(f"#   {run.what}")
        print(f"git clone https://github.com/{project.repository} {place}")
        print(f"git -C {place} checkout {project.commit}")
    packages = sorted({name for _, run in chosen for name in run.packages})
    if packages:
        print(f"pip install {' '.join(packages)}")


def one_row(project: Project, run: Run, options: argparse.Namespace) -> dict[str, Any]:
    """Run one script, and describe how it ended."""
    row: dict[str, Any] = {
        "repository": project.repository,
        "commit": project.commit,
        "what": run.what,
        "expected": run.ends,
        "reason": run.reason,
    }
    clone = find_clone(options.checkouts, project)
    refused = NO_CLONE if clone is None else state_of(clone, project.commit)
    if clone is None or refused:
        return {**row, "result": refused}
    folder = Path(tempfile.mkdtemp(prefix="third-party-"))
    try:
        found = run_in_copy(clone, run, folder, options)
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        found = {"result": STOPS, "error": f"not prepared: {error}"}
    finally:
        if options.keep:
            print(f"{project.repository}, {run.what}: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    row = {**row, **found}
    if run.ends == STOPS == row["result"] and run.error not in row["error"]:
        row["expected"] = f"stopped, with {run.error!r}"
    return row


def find_clone(folder: Path, project: Project) -> Path | None:
    """The project's clone, or None."""
    return next((folder / name for name in project.names if (folder / name).is_dir()), None)


def state_of(clone: Path, commit: str) -> str | None:
    """What is wrong with a clone, or None. Files that are missing are no edit."""
    found = git(clone, "rev-parse", "HEAD")
    if found != commit:
        return OTHER_COMMIT
    changes = [line for line in git(clone, "status", "--porcelain", "-uno").splitlines() if line]
    return EDITED if any(line.strip()[0] != "D" for line in changes) else None


def git(clone: Path, *command: str) -> str:
    """What git prints."""
    done = subprocess.run(["git", "-C", str(clone), *command], capture_output=True, text=True)
    return done.stdout.strip("\n")


def run_in_copy(clone: Path, run: Run, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Make the copy, data and weights in `folder`, run the script there, and look at the result."""
    checkout = folder / clone.name.replace("+", "_")
    shutil.copytree(clone, checkout, ignore=shutil.ignore_patterns(".git"))
    for made in run.data:
        make_data(checkout, made)
    for borrowed in run.borrows:
        lend(options.checkouts, borrowed, checkout)
    settings = {**outside.SMALL, **run.settings}
    for wanted in run.weights:
        made_weights = weights(options, settings, wanted["classes"], steps=wanted.get("steps", 0))
        place = checkout / wanted["at"]
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(made_weights, place)
    imagenet = str(weights(options, settings, 2, backbone=True)) if run.imagenet else None
    outcome = folder / "outcome.json"
    file = checkout / run.file
    specification = {
        "checkout": str(checkout),
        "file": str(file),
        "outcome": str(outcome),
        "settings": settings,
        "imagenet": imagenet,
        "arguments": run.arguments,
        "name": run.name,
        "then": run.then,
        # Joined as text, to keep a separator at the end.
        "paths": {key: f"{checkout}/{value}" for key, value in run.paths.items()},
        "search": run.search,
        "copies": run.copies,
        "aliases": run.aliases,
        "silent": run.silent,
        "camera": str(checkout / run.camera) if run.camera else None,
        "keys": run.keys,
    }
    described = folder / "specification.json"
    described.write_text(json.dumps(specification))
    place = checkout / run.folder if run.folder is not None else file.parent
    place.mkdir(parents=True, exist_ok=True)
    log = options.output / f"{clone.name}-{re.sub(r'[^A-Za-z0-9.]+', '-', run.what)}.log"
    began = time.monotonic()
    printed, late = child(options, described, place, log)
    seconds = round(time.monotonic() - began, 1)
    if late:
        return {"result": STOPS, "seconds": seconds, "error": f"not done after {seconds:.0f} s"}
    if not outcome.exists():
        lines = [line for line in printed.splitlines() if line.strip()]
        return {"result": STOPS, "seconds": seconds, "error": f"died: {lines[-1] if lines else ''}"}
    found = json.loads(outcome.read_text())
    if found["error"] is None:
        found["error"] = missing(run, checkout, printed)
    return {"result": RAN if found["error"] is None else STOPS, **found}


def child(
    options: argparse.Namespace, specification: Path, folder: Path, log: Path
) -> tuple[str, bool]:
    """Run the process.

    Returns:
        What it printed, which is in the log too, and whether it was stopped because of its time.
    """
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        "MPLBACKEND": "Agg",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONIOENCODING": "utf-8",
    }
    command = [options.python, str(ROOT / "benchmarks/corpus/run.py"), str(specification)]
    late = False
    with log.open("w") as file:
        try:
            subprocess.run(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=options.timeout,
            )
        except subprocess.TimeoutExpired:
            late = True
    return log.read_text(errors="replace"), late


def lend(checkouts: Path, borrowed: dict[str, str], checkout: Path) -> None:
    """Copy a file of another project's clone, as a user of both does."""
    owner = Project(borrowed["repository"], "", "", [])
    clone = find_clone(checkouts, owner)
    if clone is None:
        raise FileNotFoundError(f"{checkouts}: no clone of {borrowed['repository']}")
    place = checkout / borrowed["at"]
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(clone / borrowed["file"], place)


def make_data(checkout: Path, made: dict[str, Any]) -> None:
    """One data set, in the form that the list asks for."""
    arguments = {key: value for key, value in made.items() if key not in ("form", "at")}
    if "ids_of" in arguments:
        arguments["ids_of"] = {
            **arguments["ids_of"],
            "file": str(checkout / arguments["ids_of"]["file"]),
        }
    data.FORMS[made["form"]](checkout / made.get("at", "."), **arguments)


def weights(
    options: argparse.Namespace,
    settings: dict[str, Any],
    classes: int,
    backbone: bool = False,
    steps: int = 0,
) -> Path:
    """A file of weights for these settings; it is made once."""
    text = json.dumps({**settings, "NUM_CLASSES": classes}, sort_keys=True)
    part = (["--backbone"] if backbone else []) + (["--steps", str(steps)] if steps else [])
    digest = hashlib.sha256((text + "".join(part)).encode()).hexdigest()[:16]
    path = options.output.resolve() / "weights" / f"{digest}.h5"
    command = [options.python, "-m", "benchmarks.corpus.weights", str(path), text, *part]
    with making_weights:
        if not path.exists():
            subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return path


def missing(run: Run, checkout: Path, printed: str) -> str | None:
    """What a run that reached its end should have left or printed, and did not."""
    for pattern in run.leaves:
        if not any(checkout.glob(pattern)):
            return f"ran to its end, but left no {pattern}"
    if run.prints and not re.search(run.prints, printed):
        return f"ran to its end, but printed no {run.prints!r}"
    return None


def table(rows: list[dict[str, Any]]) -> str:
    """The results as Markdown."""
    lines = ["| project | what was run | result | error, and where | seconds |"]
    lines.append("|---|---|---|---|---|")
    for row in rows:
        cells = f" ({row['cells_run']} of {row['cells']} cells)" if row.get("cells") else ""
        error = ""
        if row.get("error"):
            where = " → ".join(dict.fromkeys(filter(None, (row.get("theirs"), row.get("place")))))
            error = row["error"] + (f" ({where})" if where else "")
        link = f"https://github.com/{row['repository']}/tree/{row['commit']}"
        values = [
            f"[{row['repository']}]({link})",
            row["what"],
            row["result"] + cells,
            error.replace("|", "\\|"),
            str(row.get("seconds", "")),
        ]
        lines.append(f"| {' | '.join(values)} |")
    counted = {name: sum(row["result"] == name for row in rows) for name in (RAN, STOPS, *NOT_RUN)}
    said = ", ".join(f"{count} {name}" for name, count in counted.items() if count)
    projects = len({row["repository"] for row in rows})
    return "\n".join(lines) + f"\n\n{len(rows)} runs of {projects} projects: {said}.\n"


if __name__ == "__main__":
    sys.exit(main())
