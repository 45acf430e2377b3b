"""Loss curves from a log or a history."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from mrcnn.checkpoints.stages_file import TrainedStage
from mrcnn.drawing import loss_curves, pages


class TestPlotLosses:
    HISTORY = {
        "loss": [3.0, 2.0, 1.0],
        "val_loss": [3.5, 2.5, 1.5],
        "rpn_class_loss": [0.5, 0.01, 0.001],
        "learning_rate": [1.0, 1.0, 1.0],
    }

    HEADS, ALL = TrainedStage(1, 2, "heads", 1e-3), TrainedStage(3, 4, "all", 1e-4)

    @staticmethod
    def figure(monkeypatch: pytest.MonkeyPatch, *arguments, **options) -> Figure:
        """The figure that plot_losses saves."""
        saved = []
        monkeypatch.setattr(
            loss_curves, "save_figure", lambda figure, path: saved.append(figure) or path
        )
        loss_curves.plot_losses(*arguments, **options)
        FigureCanvasAgg(saved[0]).draw()
        return saved[0]

    def panels(self, *arguments, **options) -> list[Axes]:
        return self.figure(*arguments, **options).axes

    def explained(self, monkeypatch: pytest.MonkeyPatch, stages: list, epochs: int) -> list[str]:
        """What stands below the panels of a run of some epochs."""
        history = {"loss": np.linspace(3, 1, epochs)}
        figure = self.figure(monkeypatch, history, "x", stages=stages)
        return [text.get_text() for legend in figure.legends for text in legend.get_texts()]

    def test_writes_a_png_of_two_panels(self, tmp_path: Path) -> None:
        path = loss_curves.plot_losses(self.HISTORY, tmp_path / "a" / "losses.png")
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
        assert [ax.get_title("left") for ax in axes] == ["loss (total)", "b_loss", "a_loss"]
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
        assert ax.lines[0].get_xydata().tolist() == [[1, 3], [2, 2.5], [3, 1]]

    def test_epochs_of_keras_are_counted_as_weights_files_are(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log = tmp_path / "log.csv"
        log.write_text("epoch,loss\n0,3\n1,2\n")
        (ax,) = self.panels(monkeypatch, log, "x")
        assert ax.lines[0].get_xdata().tolist() == [1, 2]
        assert ax.get_xlim() == (0.5, 2.5)

    def test_one_epoch_is_one_dot_over_one_tick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        (ax,) = self.panels(monkeypatch, {"loss": [2.0]}, "x", steps_per_epoch=1)
        assert ax.lines[0].get_marker() == "o" and ax.get_xlabel() == "epoch (of up to 1 step)"
        low, high = ax.get_xlim()
        assert [tick for tick in ax.get_xticks() if low <= tick <= high] == [1]

    def test_the_axes_say_what_they_show(self, monkeypatch: pytest.MonkeyPatch) -> None:
        total, component = self.panels(monkeypatch, self.HISTORY, "x", steps_per_epoch=1500)
        assert total.get_xlabel() == component.get_xlabel() == "epoch (of up to 1,500 steps)"
        assert total.get_ylabel() == "loss (mean of the epoch)"
        assert component.get_ylabel() == "loss (mean of the epoch), log scale"
        (ax,) = self.panels(monkeypatch, {"loss": [1.0]}, "x")
        assert ax.get_xlabel() == "epoch"

    def test_texts_are_clear_of_the_points_and_of_each_other(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        history = {**self.HISTORY, "val_rpn_class_loss": [123456.0, 1.0, 1.0]}
        stages = [self.HEADS, self.ALL]
        figure = self.figure(monkeypatch, history, "x", stages=stages)
        for ax in figure.axes:
            legend = ax.get_legend().get_window_extent()
            title = ax._left_title.get_window_extent()
            numbers = [text.get_window_extent() for text in ax.texts]
            assert len(numbers) == 2
            frame = ax.get_window_extent()
            assert not frame.overlaps(legend)
            for text in (legend, title, *numbers):
                assert text.y0 >= frame.y1 and text.x1 <= figure.bbox.x1
                assert not any(text.overlaps(o) for o in (legend, title, *numbers) if o is not text)
        (below,) = figure.legends
        assert not any(ax.get_tightbbox().overlaps(below.get_window_extent()) for ax in figure.axes)

    def test_the_legend_has_the_last_values(self, monkeypatch: pytest.MonkeyPatch) -> None:
        total, component = self.panels(monkeypatch, self.HISTORY, "x")
        texts = [text.get_text() for text in total.get_legend().get_texts()]
        assert texts == ["training, last 1", "validation, last 1.5"]
        assert len(component.get_legend().get_texts()) == 1

    def test_stages_are_marked_between_epochs_and_explained(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        history = {"loss": [4.0, 3.0, 2.0, 1.0]}
        stages = [self.HEADS, self.ALL]
        (ax,) = self.panels(monkeypatch, history, "x", stages=stages)
        assert [line.get_xdata()[0] for line in ax.lines[1:]] == [2.5]
        assert [(text.get_text(), text.xy[0]) for text in ax.texts] == [("1", 1.5), ("2", 3.5)]
        assert self.explained(monkeypatch, stages, 4) == [
            "Stage 1, epochs 1 to 2: heads, learning rate 0.001",
            "Stage 2, epochs 3 to 4: all layers, learning rate 0.0001",
        ]

    def test_one_stage_has_no_mark(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stage = TrainedStage(1, 9, "(conv1)|(res.*)", 0.5, "cosine")
        (ax,) = self.panels(monkeypatch, {"loss": [4.0]}, "x", stages=[stage])
        assert len(ax.lines) == 1 and not ax.texts
        assert self.explained(monkeypatch, [stage], 1) == [
            "One stage, epoch 1: layers (conv1)|(res.*), learning rate 0.5, cosine schedule"
        ]

    def test_a_resumed_stage_is_one_and_one_that_was_cut_short_ends_there(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pieces = [
            self.HEADS._replace(last_epoch=9),
            self.HEADS._replace(first_epoch=2, last_epoch=9),
        ]
        assert self.explained(monkeypatch, [*pieces, self.ALL], 3) == [
            "Stage 1, epochs 1 to 2: heads, learning rate 0.001",
            "Stage 2, epoch 3: all layers, learning rate 0.0001",
        ]
        # Training was stopped before the second stage had an epoch.
        assert self.explained(monkeypatch, [self.HEADS, self.ALL], 2) == [
            "One stage, epochs 1 to 2: heads, learning rate 0.001"
        ]

    def test_many_stages_are_counted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        many = loss_curves.MAX_STAGES_EXPLAINED + 3
        stages = [TrainedStage(i, i, "x" * 99, 1.0 / i) for i in range(1, many + 1)]
        explained = self.explained(monkeypatch, stages, many)
        assert explained[-1] == "… and 3 more stages" and len(explained) == many - 2
        assert all(len(line) < 120 for line in explained)

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
