"""Whose files lie in the folder of `mrcnn edges`."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from mrcnn.commands.edge_files import COLUMNS, MAKER, former_files, pair_file, remove_former_files
from mrcnn.drawing.pages import save_figure


def draw(path: Path, software: str = MAKER) -> None:
    save_figure(Figure(figsize=(1, 1), dpi=50), path, software)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a former run, with files of others in it."""
    for name in ("kernels.png", "instances_none.png", pair_file(0), pair_file(12345)):
        draw(tmp_path / name)
    (tmp_path / "losses.csv").write_text(",".join([*COLUMNS, "sobel"]) + "\n1,2,3\n")
    (tmp_path / "notes.txt").write_text("mine")
    draw(tmp_path / "my_pair_0001.png")
    draw(tmp_path / "pair_1.png")
    (tmp_path / "pair_0002.png.d").mkdir()
    return tmp_path


def test_only_files_of_the_command_are_removed_and_it_is_said(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    remove_former_files(folder)
    assert {path.name for path in folder.iterdir()} == {
        *("notes.txt", "my_pair_0001.png", "pair_1.png", "pair_0002.png.d")
    }
    said = capsys.readouterr().out
    assert (
        "removed the files of a former run: instances_none.png, kernels.png, losses.csv and 2 more"
        in said
    )
    remove_former_files(folder)
    assert capsys.readouterr().out == ""


def test_a_folder_that_is_not_there_holds_no_files(tmp_path: Path) -> None:
    assert former_files(tmp_path / "new") == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("losses.csv", b"epoch,loss\n0,1\n"),  # of a training
        ("losses.csv", b""),
        ("kernels.png", b"no picture"),
        ("pair_0003.png", None),  # a picture of another program
        ("pair_0003.png", "folder"),
    ],
)
def test_a_file_of_somebody_else_is_named_and_nothing_is_removed(
    folder: Path, name: str, content: bytes | str | None
) -> None:
    path = folder / name
    if content is None:
        Image.new("L", (4, 4)).save(path)
    elif content == "folder":
        path.mkdir()
    else:
        path.write_bytes(content)
    before = sorted(folder.iterdir())
    with pytest.raises(ValueError, match=f"received {name}, which .* --output"):
        remove_former_files(folder)
    assert sorted(folder.iterdir()) == before
