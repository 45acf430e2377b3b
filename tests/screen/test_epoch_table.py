"""The table of the epochs: what is in its rows, and that the best one is marked."""

from __future__ import annotations

import math

from mrcnn.screen.epoch_table import EpochTable, Row

LOSSES = {
    "loss": 2.5,
    "rpn_class_loss": 0.5,
    "rpn_bbox_loss": 0.5,
    "mrcnn_class_loss": 0.5,
    "mrcnn_bbox_loss": 0.5,
    "mrcnn_mask_loss": 0.5,
}


def best(metric: str, value: float, epoch: int) -> dict:
    return {"metric": metric, "value": value, "epoch": epoch, "step": 100 * epoch}


def cells(row: Row) -> list[str]:
    return row.text.split()


def test_a_row_has_the_losses_and_marks_the_best_epoch():
    table = EpochTable(12, "val_loss", 200)
    header, first = table.rows(1, {**LOSSES, "val_loss": 3.0}, best("val_loss", 3.0, 1), "9 s")
    assert header.header and header.text.split()[:2] == ["epoch", "loss"]
    assert len(header.text.removesuffix("  time")) == len(first.text.removesuffix("  9 s"))
    assert (
        cells(first)
        == "1/12 2.5000 0.5000 0.5000 0.5000 0.5000 0.5000 3.0000* 3.0000 in 1 9 s".split()
    )
    assert first.best
    [worse] = table.rows(2, {**LOSSES, "val_loss": 4.0}, best("val_loss", 3.0, 1), "9 s")
    assert not worse.best and "*" not in worse.text and "3.0000 in 1" in worse.text


def test_metrics_of_other_epochs_are_a_dash_and_columns_that_change_are_named_again():
    table = EpochTable(3, "val_segm_AP", 200)
    rows = table.rows(1, {"loss": 1.0, "val_segm_AP": math.nan}, None, "1 s")
    assert "mask AP" in rows[0].text and cells(rows[1]) == ["1/3", "1.0000", "-", "-", "1", "s"]
    rows = table.rows(
        2,
        {"loss": 1.0, "val_segm_AP": 0.41, "learning_rate": 2e-5},
        best("val_segm_AP", 0.41, 2),
        "",
    )
    assert "learning_rate" in rows[0].text and rows[1].best
    assert "2.00e-05" in rows[1].text and "0.4100*" in rows[1].text


def test_a_metric_without_a_column_gets_one():
    table = EpochTable(1, "val_boundary_AP", 200)
    header, row = table.rows(
        1, {"loss": 1.0, "val_boundary_AP": 0.3}, best("val_boundary_AP", 0.3, 1), ""
    )
    assert "val_boundary_AP" in header.text and "0.3000*" in row.text


def test_the_best_by_another_metric_than_now_is_not_shown():
    [_, row] = EpochTable(1, "val_loss", 200).rows(
        1, {"loss": 1.0, "val_loss": 2.0}, best("loss", 0.1, 1), ""
    )
    assert not row.best and "0.1" not in row.text


def test_a_narrow_terminal_gets_the_sum_of_the_losses_alone():
    logs = {**LOSSES, "val_loss": 3.0, "val_segm_AP": 0.2, "val_bbox_AP": 0.2}
    for width in (80, 120):
        rows = EpochTable(120, "val_loss", width).rows(100, logs, None, "12 min")
        assert all(len(row.text) < width for row in rows)
        assert ("rpn box" in rows[0].text) == (width == 120)


def test_numbers_that_are_large_or_not_finite_fit():
    table = EpochTable(1, "loss", 200)
    assert "1.23e+09" in table.rows(1, {"loss": 1.23e9}, None, "")[1].text
    assert "inf" in table.rows(1, {"loss": math.inf}, None, "")[0].text
