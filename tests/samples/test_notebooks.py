"""The notebooks run from start to end, and lie in the repository with their pictures."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
# Those that inspect look at the network of nuclei that comes with the package, and its images.
NOTEBOOKS = (
    "demo.ipynb",
    "inspect_weights.ipynb",
    "inspect_model.ipynb",
    "inspect_data.ipynb",
    "shapes/train_shapes.ipynb",
    "digits/digits.ipynb",
    "your_own_data.ipynb",
)
# The digits' script has tests of its own (tests/samples/test_digits.py); the other one does what
# docs/your_data.md does.
# The shapes' notebook trains as demo.ipynb does, which shows what `make demo` runs; one of those
# that inspect stands for the others.
SLOW = (
    *("digits/digits.ipynb", "your_own_data.ipynb", "shapes/train_shapes.ipynb", "demo.ipynb"),
    *("inspect_data.ipynb", "inspect_weights.ipynb"),
)
STEPS = 2
CELL_SECONDS = 240
MAX_BYTES = 1_500_000
# Folders of somebody's machine: /home/…, /Users/…, C:\Users\….
ABSOLUTE_PATH = re.compile(
    r"(?<![\w.:/<])/(?:home|root|Users|tmp|var|work|opt|mnt|usr|private)/|[A-Z]:\\\\"
)


def outputs_of(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def pictures_of(notebook: nbformat.NotebookNode) -> int:
    return sum("image/png" in output.get("data", {}) for output in outputs_of(notebook))


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the samples, so that what the notebooks write stays out of the repository."""
    folder = tmp_path_factory.mktemp("checkout")
    leave = shutil.ignore_patterns("__pycache__", "logs", ".ipynb_checkpoints")
    shutil.copytree(SAMPLES, folder / "samples", ignore=leave)
    return folder


@pytest.fixture
def tiny_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MRCNN_NOTEBOOK_STEPS", str(STEPS))
    paths = [str(SAMPLES.parent), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in NOTEBOOKS],
)
def test_a_notebook_runs_and_draws(
    name: str,
    checkout: Path,
    tiny_settings: None,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
):
    if name.startswith("digits/"):
        pytest.importorskip("sklearn")
    if name == "your_own_data.ipynb":
        data = request.getfixturevalue("shared") / "data" / "fruits_nuts"
        monkeypatch.setenv("MRCNN_NOTEBOOK_DATASET", str(data))
    path = checkout / "samples" / name
    notebook = nbformat.read(path, as_version=4)
    for cell in code_cells(notebook):
        cell.outputs = []

    # Raises an error with the cell and its traceback when a cell fails.
    NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
    ).execute()

    assert pictures_of(notebook) >= 1
    if name == "demo.ipynb":
        assert list(checkout.glob("demo_output/logs/*/mask_rcnn_shapes_*.h5"))


def test_every_notebook_is_tested():
    found = {path.relative_to(SAMPLES).as_posix() for path in SAMPLES.rglob("*.ipynb")}
    found = {name for name in found if ".ipynb_checkpoints" not in name}
    assert found == set(NOTEBOOKS)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_lies_here_with_its_pictures(name: str):
    notebook = nbformat.read(SAMPLES / name, as_version=4)
    nbformat.validate(notebook)
    assert pictures_of(notebook) >= 3
    assert not [output for output in outputs_of(notebook) if output.output_type == "error"]
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1)), "the cells were not run in their order"
    assert (SAMPLES / name).stat().st_size < MAX_BYTES


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_tells_nothing_of_the_machine_it_ran_on(name: str):
    notebook = nbformat.read(SAMPLES / name, as_version=4)
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        assert not cell.metadata  # execution times, widgets, editors' notes
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("image/png", None)
    text = json.dumps(notebook).replace("\\n", " ")
    assert not ABSOLUTE_PATH.search(text), ABSOLUTE_PATH.search(text)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_first_code_cell_installs_and_the_second_holds_the_settings(name: str):
    install, settings = (
        cell.source for cell in code_cells(nbformat.read(SAMPLES / name, as_version=4))[:2]
    )
    assert "MRCNN_NOTEBOOK_STEPS" in settings or name == "inspect_weights.ipynb"  # it takes none
    for source in (install, settings):
        assert "mrcnn" not in re.findall(r"^(?:import|from) (\w+)", source, flags=re.MULTILINE)
    # Where it is installed, nothing is done; otherwise pip is asked for version 3: other
    # packages have had the name.
    calls: list[list[str]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "run", lambda command, **options: calls.append(command))
        exec(install, {})
        assert not calls
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        exec(install, {})
    [command] = calls
    assert command[1:4] == ["-m", "pip", "install"]
    assert re.fullmatch(r"mrcnn(\[digits\])?>=3", command[-1])
    assert command[-1].startswith("mrcnn[digits]") == name.startswith("digits/")
