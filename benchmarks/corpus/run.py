"""Run one script or notebook of a project, unedited, and say how it went.

    python benchmarks/corpus/run.py specification.json

The specification is written by `benchmarks.third_party`, for a process of its own; the working
folder is the one that the script expects.
"""

from __future__ import annotations

import builtins
import json
import linecache
import re
import runpy
import sys
import time
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CELL = "<cell {}>"
# Cells in another language than Python's, and those that write a file.
OTHER_CELLS = tuple(
    f"%%{name}" for name in ("bash", "sh", "shell", "cmd", "html", "javascript", "js", "writefile")
)
LINE_MAGIC = re.compile(r"^(\s*)[!%].*$")
SHELL_WORDS = {"pwd", "ls"}  # IPython's automagic


def main() -> int:
    """Run what the specification says. Returns 0 when it ran, 1 when it stopped."""
    specification = json.loads(Path(sys.argv[1]).read_text())
    sys.path[0] = str(ROOT)
    from benchmarks.corpus import imports, outside

    # Not to find this repository's samples in the place of the project's.
    sys.path[:] = [place for place in sys.path[1:] if not (Path(place) / "benchmarks").is_dir()]
    checkout = Path(specification["checkout"])
    hooks = {
        "mrcnn.config": outside.shrink(specification["settings"]),
        "mrcnn.model": outside.one_epoch(specification["imagenet"]),
        "keras": outside.short_fit,
        "matplotlib": outside.no_windows,
        "cv2": outside.no_screen(specification["camera"], specification["keys"]),
        "h5py": outside.translate_file,
    }
    finder = imports.Redirect(
        ROOT,
        [checkout / place for place in specification["copies"]],
        specification["aliases"],
        specification["silent"],
        hooks,
    )
    sys.meta_path.insert(0, finder)
    outside.redirect_paths(specification["paths"])
    began = time.monotonic()
    outcome = execute(specification, checkout)
    outcome["seconds"] = round(time.monotonic() - began, 1)
    Path(specification["outcome"]).write_text(json.dumps(outcome))
    return 0 if outcome["error"] is None else 1


def execute(specification: dict[str, Any], checkout: Path) -> dict[str, Any]:
    """Run the script or the notebook's cells, then the lines that follow.

    Returns:
        "error", None when it ran; "theirs" and "place", where it stopped in the project and at
        all; "cells" and "cells_run" of a notebook.
    """
    path = Path(specification["file"])
    sys.argv = [str(path), *specification["arguments"]]
    sys.path[:0] = [str(path.parent), *(str(checkout / place) for place in specification["search"])]
    outcome: dict[str, Any] = {"error": None, "theirs": None, "place": None}
    try:
        if path.suffix == ".ipynb":
            namespace = run_cells(path, checkout, outcome)
        else:
            namespace = runpy.run_path(str(path), run_name=specification["name"])
        if specification["then"]:
            exec(compile(specification["then"], "<afterwards>", "exec"), namespace)
    except SystemExit as stop:
        if stop.code not in (None, 0):
            outcome["error"] = f"exit status {stop.code}"
    except BaseException as error:
        traceback.print_exc()
        outcome.update(described(error, checkout))
    return outcome


def run_cells(path: Path, checkout: Path, outcome: dict[str, Any]) -> dict[str, Any]:
    """Execute the code cells of a notebook in order, as the module `__main__`.

    The cells after one that stopped are run too, so that all that stops is known; the first error
    is raised when all have been run.
    """
    cells = code_cells(json.loads(path.read_text()))
    module = ModuleType("__main__")
    sys.modules["__main__"] = module
    module.__dict__.update(get_ipython=NoShell, display=print)
    builtins.get_ipython = NoShell  # type: ignore[attr-defined]
    outcome.update(cells=len(cells), cells_run=0, others=[])
    first: BaseException | None = None
    for number, source in cells:
        name = CELL.format(number)
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        try:
            exec(compile(source, name, "exec"), module.__dict__)
            outcome["cells_run"] += 1
        except Exception as error:
            if first is None:
                first = error
            else:
                traceback.print_exc()
                outcome["others"].append(f"{name}: {one_line(error, checkout)}")
    if first is not None:
        raise first
    return module.__dict__


def code_cells(notebook: dict[str, Any]) -> list[tuple[int, str]]:
    """Number (from 0, of all cells) and source of the cells with Python code, without magics."""
    cells = notebook.get("cells")
    if cells is None:  # format 3
        cells = [cell for sheet in notebook["worksheets"] for cell in sheet["cells"]]
    found = []
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            source = "".join(cell.get("source", cell.get("input", "")))
            if source.strip():
                found.append((number, without_magics(source)))
    return found


def without_magics(source: str) -> str:
    """The cell's Python code: lines for the shell and for IPython become `pass`."""
    if source.lstrip().startswith(OTHER_CELLS) or source.strip() in SHELL_WORDS:
        return "pass\n"
    lines, goes_on = [], False
    for line in source.splitlines():
        magic = LINE_MAGIC.match(line)
        if magic and not goes_on and not in_expression(lines):
            goes_on = line.endswith("\\")
            lines.append(magic.group(1) + "pass")
        elif goes_on:
            goes_on = line.endswith("\\")
            lines.append("")
        else:
            lines.append(line.removesuffix("?") if re.fullmatch(r"\s*[\w.]+\?", line) else line)
    return "\n".join(lines) + "\n"


def in_expression(lines: list[str]) -> bool:
    """Whether a bracket is open at the end of the lines, as before a `%` that is an operator."""
    code = re.sub(r"#.*", "", "\n".join(lines))
    return sum(code.count(mark) for mark in "([{") > sum(code.count(mark) for mark in ")]}")


class NoShell:
    """In the place of IPython's shell: its methods do nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


def described(error: BaseException, checkout: Path) -> dict[str, str | None]:
    """Type and first line of an error, and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError) and error.filename:
        place = f"{shortened(error.filename, checkout)}:{error.lineno}"
        return {"error": one_line(error, checkout), "theirs": place, "place": place}
    theirs = [
        frame
        for frame in frames
        if frame.filename.startswith(("<cell", "<afterwards", str(checkout)))
    ]
    return {
        "error": one_line(error, checkout),
        "theirs": located(theirs[-1], checkout) if theirs else None,
        "place": located(frames[-1], checkout) if frames else None,
    }


def one_line(error: BaseException, checkout: Path) -> str:
    """Type and message of an error, of which the first 300 characters, with short paths."""
    message = " ".join(str(error).split())
    for folder in (checkout, ROOT):
        message = message.replace(f"{folder}/", "")
    return f"{type(error).__name__}: {message}"[:300]


def located(frame: traceback.FrameSummary, checkout: Path) -> str:
    """File and line of a frame."""
    return f"{shortened(frame.filename, checkout)}:{frame.lineno}"


def shortened(name: str, checkout: Path) -> str:
    """A file's name as the project, this repository or the installed package has it."""
    for folder in (checkout, ROOT):
        if name.startswith(f"{folder}/"):
            return name[len(str(folder)) + 1 :]
    return name.rsplit("site-packages/", 1)[-1]


if __name__ == "__main__":
    sys.exit(main())
