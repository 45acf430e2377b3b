"""The package's metadata agree with each other and with what the documents promise."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import mrcnn

REPOSITORY = Path(__file__).resolve().parent.parent


def project() -> dict:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def lines(name: str) -> list[str]:
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_requirements_are_the_base_dependencies():
    assert lines("requirements.txt") == project()["dependencies"]


def test_every_dependency_of_the_two_commands_has_a_pinned_version():
    pinned = {
        re.split("==", line)[0].lower().replace("_", "-") for line in lines("constraints.txt")
    }
    extras = project()["optional-dependencies"]
    wanted = [*project()["dependencies"], *extras["dev"], *extras["jax"]]
    names = {re.split(r"[\[<>=]", name)[0].lower().replace("_", "-") for name in wanted}
    assert names <= pinned


def test_the_command_line_helps_and_refuses_without_loading_keras():
    code = (
        "import sys\n"
        "from mrcnn.commands import cli\n"
        "try:\n"
        "    cli.main(['--help'])\n"
        "except SystemExit as stop:\n"
        "    assert stop.code == 0\n"
        "assert 'keras' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for command in ("train", "evaluate", "demo"):
        assert command in done.stdout


def test_every_folder_of_modules_is_a_package():
    """Packaging finds only packages: a folder without __init__.py would be missing in the wheel."""
    folders = {path.parent for path in (REPOSITORY / "mrcnn").rglob("*.py")}
    assert len(folders) > 10
    assert [folder.name for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_the_wheel_says_that_the_package_has_types():
    setuptools = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
        "setuptools"
    ]
    assert "py.typed" in setuptools["package-data"]["mrcnn"]
    assert (REPOSITORY / "mrcnn" / "py.typed").is_file()


def test_the_citation_is_of_this_version():
    citation = (REPOSITORY / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {mrcnn.__version__}\n" in citation
