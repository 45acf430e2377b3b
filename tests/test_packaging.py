"""The package's metadata agree with each other and with what the documents promise."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

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


# --- What runs when Python starts -----------------------------------------------------------------


@pytest.fixture(scope="module")
def setup_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("setup_script", REPOSITORY / "setup.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


@pytest.fixture
def site(tmp_path: Path, setup_script: ModuleType) -> Path:
    """A folder as site-packages are after installation: the .pth file, and an imgaug."""
    folder = tmp_path / "site"
    (folder / "imgaug").mkdir(parents=True)
    (folder / "imgaug" / "__init__.py").write_text("import numpy\nkinds = numpy.sctypes['int']\n")
    (folder / setup_script.STARTUP_FILE).write_text(setup_script.STARTUP_LINE)
    return folder


def start(site: Path, code: str, path: Path | None = REPOSITORY) -> subprocess.CompletedProcess:
    """Run Python in an empty folder after its start, at which it reads the .pth files of `site`."""
    lines = f"import site; site.addsitedir({str(site)!r})\n{code}"
    environment = {**os.environ, "PYTHONPATH": str(path or site)}
    return subprocess.run(
        [sys.executable, "-c", lines], cwd=site, env=environment, capture_output=True, text=True
    )


def test_imgaug_can_be_imported_first(site: Path):
    done = start(site, "import imgaug, mrcnn, sys; print(len(imgaug.kinds), imgaug.__file__)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["4", str(site / "imgaug" / "__init__.py")]
    assert start(site, "from imgaug import kinds").returncode == 0
    assert start(site, "import mrcnn, imgaug").returncode == 0


def test_the_start_of_python_loads_nothing(site: Path):
    code = "import sys; print(*sys.modules.keys() & {'mrcnn', 'numpy', 'imgaug'})"
    done = start(site, code)
    assert done.returncode == 0 and done.stdout.split() == [] and done.stderr == ""
    # Only imgaug itself is waited for.
    assert start(site, "import json, imghdr_of_nobody").stderr.count("No module named") == 1


def test_a_checkout_that_is_gone_harms_no_start(site: Path):
    """What an editable installation leaves behind; here the interpreter's own mrcnn is hidden."""
    code = (
        "import sys\n"
        "hide = type('Hide', (), {'find_spec': staticmethod(lambda name, *_: hidden(name))})\n"
        "def hidden(name):\n"
        "    if name.split('.')[0] in ('mrcnn', '_mrcnn_imgaug'): raise ImportError(name)\n"
        "for name in [*sys.modules]:\n"
        "    if 'mrcnn' in name: del sys.modules[name]\n"
        "sys.meta_path.insert(0, hide)\n"
        f"import site; site.addsitedir({str(site)!r})\n"
        "print('started')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=site, capture_output=True, text=True)
    assert done.stdout == "started\n" and done.stderr == ""


def test_a_wheel_gets_the_file_and_its_record(tmp_path: Path, setup_script: ModuleType):
    wheel = tmp_path / "mrcnn-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("mrcnn/__init__.py", "x = 1\n")
        file.writestr("mrcnn-1.dist-info/RECORD", "mrcnn/__init__.py,,\n")
    content = setup_script.STARTUP_LINE.encode()
    setup_script.add_to_wheel(wheel, "a.pth", content)
    with zipfile.ZipFile(wheel) as file:
        assert sorted(file.namelist()) == ["a.pth", "mrcnn-1.dist-info/RECORD", "mrcnn/__init__.py"]
        assert file.read("a.pth") == content
        record = file.read("mrcnn-1.dist-info/RECORD").decode().splitlines()
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
    assert record == [f"a.pth,sha256={digest},{len(content)}", "mrcnn/__init__.py,,"]


@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_both_kinds_of_wheels_hold_it(tmp_path: Path, setup_script: ModuleType, kind: str):
    setuptools = importlib.import_module("setuptools")
    wanted = int(re.search(r"setuptools>=(\d+)", (REPOSITORY / "pyproject.toml").read_text())[1])
    if int(setuptools.__version__.split(".")[0]) < wanted:
        pytest.skip(f"needs setuptools {wanted} in the environment to build without downloads")
    source = tmp_path / "source"
    source.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "_mrcnn_imgaug.py"):
        (source / name).write_bytes((REPOSITORY / name).read_bytes())
    (source / "mrcnn").mkdir()
    (source / "mrcnn" / "__init__.py").write_text("__version__ = '1.0'\n")
    code = f"import setuptools.build_meta as b; b.build_{kind}({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        assert file.read(setup_script.STARTUP_FILE).decode() == setup_script.STARTUP_LINE
        assert file.testzip() is None
        record = file.read("mrcnn-1.0.dist-info/RECORD").decode()
        assert record.count(f"{setup_script.STARTUP_FILE},sha256=") == 1
