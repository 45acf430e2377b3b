"""The losses of each epoch, also after a crash of the disk."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from mrcnn.checkpoints.losses_file import append_losses, drop_losses, read_losses_file


def test_rows_of_epochs_to_come_are_dropped(tmp_path: Path):
    path = tmp_path / "losses.csv"
    drop_losses(path, 0)
    assert not path.exists()
    path.write_text("epoch,loss\r\n1,1.0\r\n2,2.0\r\n3,3.", newline="")
    drop_losses(path, 1)
    assert path.read_bytes() == b"epoch,loss\r\n1,1.0\r\n"
    path.write_text("", newline="")
    drop_losses(path, 1)
    assert path.read_bytes() == b""


@pytest.mark.parametrize(
    "line", [b"\n", b"\0\0\0\0\n", b"1,0.\0\0\n", b"one,2.0\n", b"\xff\xfe\n", b",\n"]
)
def test_lines_without_an_epoch_are_named_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture, line: bytes
):
    path = tmp_path / "losses.csv"
    path.write_bytes(b"epoch,loss\n1,1.0\n" + line + b"2,2.0\n3,3.0\n")
    drop_losses(path, 2)
    assert path.read_bytes() == b"epoch,loss\n1,1.0\n2,2.0\n"
    warning = capsys.readouterr().err
    assert f"{path}: expected rows that begin with the number of an epoch; lines 3 " in warning


def test_a_file_without_a_header_gets_another_name(tmp_path, capsys: pytest.CaptureFixture):
    path = tmp_path / "losses.csv"
    content = b"\0" * 20 + b"\n0,1.0\n"
    path.write_bytes(content)
    drop_losses(path, 1)
    assert not path.exists()
    assert path.with_name("losses.csv.damaged").read_bytes() == content
    assert f"{path}: expected a header" in capsys.readouterr().err


def test_the_columns_are_read(tmp_path: Path):
    path = tmp_path / "losses.csv"
    path.write_text("epoch,loss,note,val_loss\n1,1.5,x,NA\n\n2,,y\n")
    columns = read_losses_file(path)
    assert list(columns) == ["epoch", "loss", "val_loss"]
    assert columns["epoch"] == [1, 2] and columns["loss"][0] == 1.5
    assert math.isnan(columns["loss"][1]) and all(map(math.isnan, columns["val_loss"]))


def test_the_epochs_of_a_log_of_keras_are_counted_from_1(tmp_path: Path):
    path = tmp_path / "losses.csv"
    path.write_text("epoch,loss\n0,1.5\n1,1.0\n2,0.5\n")
    assert read_losses_file(path)["epoch"] == [1, 2, 3]
    drop_losses(path, 2)
    assert path.read_text() == "epoch,loss\n1,1.5\n2,1.0\n"


def test_a_cell_that_is_no_number_is_named(tmp_path: Path):
    path = tmp_path / "losses.csv"
    path.write_text("epoch,loss\n0,1.5\n\0\0\n")
    with pytest.raises(ValueError, match=r"losses.csv: line 3, column 'epoch': expected a number"):
        read_losses_file(path)


def test_columns_that_come_later_widen_the_file(tmp_path):
    path = tmp_path / "losses.csv"
    append_losses(path, 1, {"loss": 2.0, "val_segm_AP": math.nan})
    append_losses(path, 2, {"loss": 1.5, "val_segm_AP": 0.25, "other_loss": 1.0})
    append_losses(path, 3, {"loss": math.nan})
    assert path.read_text().splitlines() == [
        "epoch,loss,val_segm_AP,other_loss",
        "1,2.0,,",
        "2,1.5,0.25,1.0",
        "3,nan,,",
    ]
    found = read_losses_file(path)
    assert found["loss"][:2] == [2.0, 1.5] and found["val_segm_AP"][1] == 0.25
    assert math.isnan(found["val_segm_AP"][0]) and math.isnan(found["loss"][2])
