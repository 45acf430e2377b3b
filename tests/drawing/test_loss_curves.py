"""Loss curves from a log or a history."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from mrcnn.drawing import loss_curves, pages


class TestPlotLosses:
    HISTORY = {
        "loss": [3.0, 2.0, 1.0],
        "val_loss": [3.5, 2.5, 1.5],
        "rpn_class_loss": [0.5, 0.01, 0.001],
        "learning_rate": [1.0, 1.0, 1.0],
    }

    @staticmethod
    def panels(monkeypatch: pytest.MonkeyPatch, *arguments, **options) -> list:
        """The axes that plot_losses saves."""
        saved = []
        monkeypatch.setattr(
            loss_curves, "save_figure", lambda figure, path: saved.append(figure) or path
        )
        loss_curves.plot_losses(*arguments, **options)
        return saved[0].axes

    def test_writes_a_png_of_two_panels(self, tmp_path: Path) -> None:
        path = loss_curves.plot_losses(self.HISTORY, tmp_path / "a" / "losses.png", stages=[2])
        with Image.open(path) as picture:
            width, height = np.array(loss_curves.PANEL_INCHES) * pages.DPI
            assert picture.size == (round(2 * width), round(height))

    def test_ignores_the_users_savefig_settings(self, tmp_path: Path) -> None:
        with matplotlib.rc_context({"savefig.bbox": "tight", "savefig.dpi": 30}):
            path = loss_curves.plot_losses({"loss": [1.0]}, tmp_path / "losses.png")
        with Image.open(path) as picture:
            assert picture.size == tuple(round(x * pages.DPI) for x in loss_curves.PANEL_INCHES)

    def test_total_first_then_components(self, monkeypatch: pytest.MonkeyPatch) -> None:
        history = {"b_loss": [1.0], "a_loss": [1.0], "loss": [2.0], "val_a_loss": [1.0]}
        axes = self.panels(monkeypatch, history, "x")
        assert [ax.get_title() for ax in axes] == ["loss (total)", "b_loss", "a_loss"]
        assert [len(ax.lines) for ax in axes] == [1, 1, 2]

    def test_log_scale_where_the_loss_spans_decades(self, monkeypatch: pytest.MonkeyPatch) -> None:
        axes = self.panels(monkeypatch, self.HISTORY, "x")
        assert [ax.get_yscale() for ax in axes] == ["linear", "log"]
        (ax,) = self.panels(monkeypatch, {"loss": [100.0, 0.0]}, "x")
        assert ax.get_yscale() == "linear"  # zero has no logarithm

    def test_csv_equals_dict(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        log = tmp_path / "log.csv"
        log.write_text("epoch,loss,val_loss\n1,3.0,NA\n2,2.0,2.5\n3,1.0,\n")
        history = {"loss": [3.0, 2.0, 1.0], "val_loss": [np.nan, 2.5, None]}
        for source in (log, str(log), history):
            (ax,) = self.panels(monkeypatch, source, "x")
            train, val = ax.lines
            assert train.get_xydata().tolist() == [[1, 3], [2, 2], [3, 1]]
            assert val.get_xydata().tolist() == [[2, 2.5]]

    def test_resumed_run_the_last_row_of_an_epoch_counts(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log = tmp_path / "log.csv"
        log.write_text("epoch,loss\n0,3\n1,2\n2,9\n1,2.5\n2,1\n")
        (ax,) = self.panels(monkeypatch, log, "x")
        assert ax.lines[0].get_xydata().tolist() == [[0, 3], [1, 2.5], [2, 1]]

    def test_epochs_of_keras_are_counted_as_weights_files_are(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log = tmp_path / "log.csv"
        log.write_text("epoch,loss\n0,3\n1,2\n")
        (ax,) = self.panels(monkeypatch, log, "x", stages=[1, 2], epoch_offset=1)
        assert [line.get_xdata()[0] for line in ax.lines[1:]] == [1, 2]
        assert ax.lines[0].get_xdata().tolist() == [1, 2]

    def test_loss_without_a_finite_value(self, tmp_path: Path) -> None:
        assert loss_curves.plot_losses({"loss": [np.nan, np.inf]}, tmp_path / "x.png").exists()

    @pytest.mark.parametrize("history", [{}, {"loss": []}, {"acc": [1.0]}, {"epoch": [1]}])
    def test_nothing_to_draw(self, history: dict, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="at least one epoch"):
            loss_curves.plot_losses(history, tmp_path / "x.png")

    def test_columns_of_different_lengths(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="'val_loss' has 1 values"):
            loss_curves.plot_losses({"loss": [1.0, 2.0], "val_loss": [1.0]}, tmp_path / "x.png")

    def test_missing_log(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            loss_curves.plot_losses(tmp_path / "none.csv", tmp_path / "x.png")
