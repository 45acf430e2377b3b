"""The release: `python -m build` makes a wheel and an sdist without a warning, and both install.

Nothing is downloaded: the fresh environments find the dependencies where the tests run.
"""

from __future__ import annotations

import email
import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from email.message import Message
from pathlib import Path

import pytest

import mrcnn
from mrcnn.runs import nuclei
from tests.test_packaging import REPOSITORY, project

pytest.importorskip("build", reason="needs the package build")
setuptools = pytest.importorskip("setuptools")
if int(setuptools.__version__.split(".")[0]) < 77:
    pytest.skip("needs setuptools 77 to build without downloads", allow_module_level=True)
VERSION = mrcnn.__version__


def run(command: list[str | Path], folder: Path) -> str:
    """What a command prints; its error is the test's."""
    kept_out = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
    environment = {name: text for name, text in os.environ.items() if name not in kept_out}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what `python -m build` made: the sdist, and the wheel made of the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    # What setuptools leaves in the source folder goes elsewhere, so the repository stays clean.
    code = "import build.__main__ as b; b.main(['--no-isolation', '--outdir', {!r}, {!r}])"
    source = copy_of_the_repository(tmp_path_factory.mktemp("source"))
    said = run([sys.executable, "-c", code.format(str(folder), str(source))], folder)
    warned = [line for line in said.splitlines() if "warning" in line.lower()]
    # Of these, setuptools says that the standard excludes were not needed.
    assert [line for line in warned if "no previously-included files" not in line] == []
    return folder


def copy_of_the_repository(folder: Path) -> Path:
    """The files that belong to the repository, as a checkout has them."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("needs the repository's git, to know its files")
    for name in listed.stdout.splitlines():
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.link(REPOSITORY / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def metadata(dist: Path) -> Message:
    with zipfile.ZipFile(dist / f"mrcnn-{VERSION}-py3-none-any.whl") as wheel:
        text = wheel.read(f"mrcnn-{VERSION}.dist-info/METADATA").decode()
    return email.message_from_string(text)


def fresh_environment(folder: Path) -> Path:
    """A new environment, in which of this one's packages only mrcnn is missing. Its Python."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    [site] = folder.glob("lib/python*/site-packages")
    # Not as a .pth file of the environment here is, which might hold an editable mrcnn.
    places = [sysconfig.get_path("purelib"), *(path for path in sys.path if "-packages" in path)]
    (site / "dependencies.pth").write_text("\n".join(dict.fromkeys(places)) + "\n")
    return python


def test_the_version_is_the_same_everywhere(dist: Path, metadata: Message):
    assert VERSION == "3.0.0" == metadata["Version"]
    assert sorted(path.name for path in dist.iterdir()) == [
        f"mrcnn-{VERSION}-py3-none-any.whl",
        f"mrcnn-{VERSION}.tar.gz",
    ]
    newest = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8").split("\n## ")[1]
    assert newest.startswith(f"{VERSION} (")


def test_the_metadata_are_complete(metadata: Message):
    for name in ("Name", "Version", "Summary", "Author", "Keywords", "Requires-Python"):
        assert metadata[name], name
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload().startswith("# mrcnn")
    assert set(metadata.get_all("Provides-Extra")) == set(project()["optional-dependencies"])
    assert len(metadata.get_all("Project-URL")) == len(project()["urls"]) >= 2
    classifiers = metadata.get_all("Classifier")
    assert "Typing :: Typed" in classifiers
    assert any(text.startswith("Development Status") for text in classifiers)
    tested = (REPOSITORY / ".github" / "workflows" / "ci.yml").read_text()
    for version in ("3.11", "3.12", "3.13"):
        assert f"Programming Language :: Python :: {version}" in classifiers
        assert f'"{version}"' in tested


def test_the_sdist_is_the_repository_with_its_tests(dist: Path):
    with tarfile.open(dist / f"mrcnn-{VERSION}.tar.gz") as file:
        held = {name.partition("/")[2] for name in file.getnames()}
    listed = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    wanted = {name for name in listed if name and (REPOSITORY / name).is_file()}
    assert sorted(wanted - held) == []
    assert "tests/ops/test_nms.py" in held and "docs/pictures/detections.jpg" in held
    assert not [name for name in held if "__pycache__" in name]


def test_the_wheel_holds_the_package_alone(dist: Path):
    with zipfile.ZipFile(dist / f"mrcnn-{VERSION}-py3-none-any.whl") as wheel:
        names = wheel.namelist()
    top = {name.split("/")[0] for name in names}
    assert top == {"mrcnn", "_mrcnn_imgaug.py", "_mrcnn_imgaug.pth", f"mrcnn-{VERSION}.dist-info"}
    packaged = {
        path.relative_to(REPOSITORY).as_posix() for path in REPOSITORY.glob("mrcnn/**/*.py")
    }
    assert packaged <= set(names) and "mrcnn/py.typed" in names
    model = {f"mrcnn/nuclei-model/{path.name}" for path in nuclei.FOLDER.iterdir()}
    assert len(model) == 6 and model <= set(names)
    assert (dist / f"mrcnn-{VERSION}-py3-none-any.whl").stat().st_size < 25e6


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_it_installs_in_a_fresh_environment(dist: Path, tmp_path: Path, kind: str):
    python = fresh_environment(tmp_path / "environment")
    [file] = dist.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    install = ["-m", "pip", "install", "--no-deps", "--no-index", "--no-build-isolation"]
    run([python, *install, "--ignore-installed", file], tmp_path)
    place = run([python, "-c", "import mrcnn; print(mrcnn.__file__)"], tmp_path).strip()
    assert Path(place).is_relative_to(tmp_path / "environment")
    command = tmp_path / "environment" / "bin" / "mrcnn"
    assert run([command, "--version"], tmp_path).strip() == f"mrcnn {VERSION}"
    code = (
        "from mrcnn.datasets.shapes import write_shapes; write_shapes('shapes', 6, 2);"
        "from mrcnn.commands import cli; raise SystemExit(cli.main(['check', 'shapes']))"
    )
    assert "0 errors" in run([python, "-c", code], tmp_path)


def test_the_tests_of_the_sdist_run(dist: Path, tmp_path: Path):
    with tarfile.open(dist / f"mrcnn-{VERSION}.tar.gz") as file:
        file.extractall(tmp_path, filter="data")
    folder = tmp_path / f"mrcnn-{VERSION}"
    said = run([sys.executable, "-m", "pytest", "-q", "tests/data/test_rle.py"], folder)
    assert " passed" in said and "failed" not in said
    configuration = tomllib.loads((folder / "pyproject.toml").read_text())
    assert configuration["project"]["name"] == "mrcnn"
