"""A data set whose images are in tar files: checked, trained on, continued and evaluated."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from mrcnn.commands import cli
from mrcnn.datasets.shapes import write_shapes
from tests.commands.test_cli import TINY


@pytest.fixture(scope="module")
def in_tars(tmp_path_factory) -> Path:
    """A data set in COCO's layout without its images, and those in tar files."""
    folder = tmp_path_factory.mktemp("elsewhere")
    data = folder / "shapes"
    write_shapes(data, train=4, val=2, image_size=(64, 64))
    for subset in ("train", "val"):
        files = sorted((data / subset).iterdir())
        for number in range(2):
            with tarfile.open(folder / f"{subset}-{number}.tar", "w") as tar:
                for file in files[number::2]:
                    tar.add(file, file.name)
        shutil.rmtree(data / subset)
    return data


def test_every_command_takes_the_images_from_there(in_tars: Path, tmp_path: Path, capsys):
    place = ["--image-dir", f"{in_tars.parent}/{{subset}}-*.tar"]
    logs = ["--name", "tiny", "--logs", str(tmp_path / "logs")]
    assert cli.main(["check", str(in_tars)]) == 1
    assert "expected the images in the folder" in capsys.readouterr().out
    assert cli.main(["check", str(in_tars), *place, "--fix", str(tmp_path / "fixed")]) == 0
    said = capsys.readouterr().out
    assert f"The images stay where they are: --image-dir {place[1]}" in said
    assert not list((tmp_path / "fixed").rglob("*.png"))

    command = ["train", str(in_tars), *logs]
    assert cli.main([*command, *place, "--model", "none", "--steps", "2", *TINY]) == 0
    (run,) = (tmp_path / "logs").iterdir()
    training = json.loads((run / "config.json").read_text())["training"]
    assert training["image_dir"] == place[1]
    assert cli.main([*command, "--model", "last", "--steps", "4"]) == 0  # it remembers the place
    assert cli.main(["evaluate", str(in_tars), *place, *logs]) == 0
    assert len((run / "images_val.csv").read_text().splitlines()) == 3
    copy = tmp_path / "copy"
    assert cli.main(["convert-data", str(in_tars), str(copy), "--to", "yolo", *place]) == 0
    assert len(list(copy.rglob("*.png"))) == 6
