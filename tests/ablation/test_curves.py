"""Loss curves of a comparison."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mrcnn.ablation import curves

HEAD = "epoch,loss,mrcnn_mask_edge_loss,mrcnn_mask_loss,rpn_class_loss,val_mrcnn_mask_loss"


def test_the_total_leaves_out_the_edge_loss_and_weight_decay(tmp_path):
    path = tmp_path / "losses.csv"
    path.write_text(f"{HEAD}\n0,9,5,1,2,3\n1,8,5,0.5,1,NA\n")
    table = curves.read_losses(path)
    np.testing.assert_array_equal(table["total"], [3, 1.5])
    np.testing.assert_array_equal(table["val_total"], [3, np.nan])


def test_the_weights_of_losses_are_taken_out(tmp_path):
    path = tmp_path / "losses.csv"
    path.write_text(f"{HEAD}\n1,9,5,4,2,6\n")
    table = curves.read_losses(path, {"mrcnn_mask_loss": 2.0, "rpn_class_loss": 0.0})
    np.testing.assert_array_equal(table["mrcnn_mask_loss"], [2])
    np.testing.assert_array_equal(table["val_mrcnn_mask_loss"], [3])
    assert np.isnan(table["rpn_class_loss"]).all()  # nothing is known of it


@pytest.mark.parametrize("validation", [False, True])
def test_the_figure_shows_every_arm(tmp_path, validation):
    prefix = "val_" if validation else ""
    runs = {
        arm: {
            seed: {prefix + "total": np.full(4, height), prefix + "mrcnn_mask_loss": np.arange(4.0)}
            for seed in (0, 1)
        }
        for arm, height in (("baseline", 2.0), ("sobel", 1.0))
    }
    both = curves.plot_curves(
        runs, "baseline", tmp_path / "a" / "both.png", range(10, 1000, 10), validation=validation
    )
    alone = curves.plot_curves(
        {"baseline": runs["baseline"]},
        "baseline",
        tmp_path / "one.png",
        range(10, 1000, 10),
        validation=validation,
    )
    pictures = [np.asarray(Image.open(path).convert("RGB")).astype(int) for path in (both, alone)]
    colored = [(np.ptp(picture, axis=-1) > 60).sum() for picture in pictures]
    assert colored[0] > 500 and colored[1] == 0  # the baseline is grey


def test_only_curves_that_spread_widely_get_logarithmic_axes():
    steady, spike = np.linspace(4, 2, 5), np.array([4, 90, 3, 2, np.nan])
    assert curves._wide_spread([steady, spike]) == (2, 90)
    assert curves._wide_spread([steady, np.full(5, 3.0)]) is None
    assert curves._wide_spread([]) is curves._wide_spread([np.zeros(3)]) is None


@pytest.fixture
def draw(monkeypatch):
    """Draws losses of arms, by arm and seed, and returns the figure."""
    figures = []

    class Canvas(curves.FigureCanvasAgg):
        def print_png(self, path):
            figures.append(self.figure)
            self.draw()

    monkeypatch.setattr(curves, "FigureCanvasAgg", Canvas)

    def plot(tmp_path, losses):
        runs = {
            arm: {seed: {"total": np.array(values)} for seed, values in seeds.items()}
            for arm, seeds in losses.items()
        }
        curves.plot_curves(
            runs, "baseline", tmp_path / "x.png", range(10, 1000, 10), losses=["total"]
        )
        return figures[-1]

    return plot


def test_the_axes_say_what_they_show(draw, tmp_path):
    figure = draw(tmp_path, {"baseline": {0: [3.0, 2.0], 1: [3.0, 2.0]}, "sobel": {0: [2.0, 1.0]}})
    above, below = figure.axes
    assert above.get_ylabel() == "loss, mean ± deviation of the seeds"
    assert below.get_ylabel() == "lower than baseline by"
    assert below.get_xlabel() == "training step"
    figure = draw(tmp_path, {"baseline": {0: [300.0, 2.0]}, "sobel": {0: [90.0, 2.0]}})
    labels = [ax.get_ylabel() for ax in figure.axes]
    assert labels == ["loss, log scale", "lower than baseline by"]
    figure = draw(tmp_path, {"baseline": {0: [3.0, 2.0]}, "sobel": {0: [30.0, 2.0]}})
    labels = [ax.get_ylabel() for ax in figure.axes]
    assert labels == ["loss, log scale", "lower than baseline by\n(log scale beyond 10%)"]
    assert [ax.get_yscale() for ax in figure.axes] == ["log", "symlog"]


def test_the_legend_lies_outside_the_panels(draw, tmp_path):
    figure = draw(tmp_path, {arm: {0: [3.0, 2.0]} for arm in ("baseline", "sobel", "laplace")})
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["baseline", "sobel", "laplace"]
    extent = legend.get_window_extent()
    assert not any(extent.overlaps(ax.get_tightbbox()) for ax in figure.axes)


def test_a_single_epoch_is_a_dot(draw, tmp_path):
    figure = draw(tmp_path, {"baseline": {0: [3.0]}, "sobel": {0: [2.0]}})
    assert all(ax.lines[0].get_marker() == "o" for ax in figure.axes[:1])
