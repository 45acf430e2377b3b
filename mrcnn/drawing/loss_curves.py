"""Loss curves of a run, from its CSV file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import AutoLocator, LogLocator, NullFormatter

from mrcnn.checkpoints.losses_file import read_losses_file
from mrcnn.drawing.pages import DPI, save_figure

PANEL_INCHES = (4.2, 3.0)  # one panel of the loss curves
# Below this ratio of largest to smallest loss, a linear axis shows the curve better.
LOG_SCALE_RATIO = 10.0
# Below this ratio, a logarithmic axis has room for labels at 2 and 5 too.
MANY_DECADES = 1000.0


def plot_losses(
    history: str | PathLike[str] | Mapping[str, Sequence[float]],
    path: str | PathLike[str],
    stages: Sequence[float] = (),
    epoch_offset: int = 0,
) -> Path:
    """Save a PNG of the loss curves: one panel for the total and one for each component.

    Args:
        history: the path of a CSV log with a header (`epoch,loss,val_loss,…`), or a dict of
            lists with such names. Every column whose name ends with `loss` is drawn, with
            `val_…` in its panel. Without the column `epoch`, epochs count from 1. When an epoch
            stands there twice (a resumed run), its last row counts. Gaps (empty, NaN) are allowed.
        path: the PNG; missing folders are made.
        stages: the last epoch of each training stage, drawn as vertical lines.
        epoch_offset: added to the column `epoch`; 1 for a log of Keras's `CSVLogger`, which
            counts from 0 where weights files and `stages` count from 1.

    Returns:
        `path`.

    Raises:
        ValueError: when there is no loss or no epoch to draw, or a cell of the log is no number.
    """
    source = "The history" if isinstance(history, Mapping) else f"The log {history}"
    table = _clean_table(history if isinstance(history, Mapping) else read_losses_file(history))
    table["epoch"] = table["epoch"] + epoch_offset
    names = {name.removeprefix("val_") for name in table if name.endswith("loss")}
    if not names or not len(table["epoch"]):
        raise ValueError(
            f"{source} must hold at least one epoch and a column that ends with 'loss'; "
            f"received {len(table['epoch'])} epochs of the columns {sorted(table)}."
        )
    # The total comes first, the components in the order of the table.
    order = [name.removeprefix("val_") for name in table]
    panels = sorted(names, key=lambda name: (name != "loss", order.index(name)))
    columns = min(len(panels), 3 if len(panels) != 4 else 2)
    rows = math.ceil(len(panels) / columns)
    figure = Figure(
        figsize=(columns * PANEL_INCHES[0], rows * PANEL_INCHES[1]),
        dpi=DPI,
        facecolor="white",
        layout="constrained",
    )
    for position, name in enumerate(panels):
        ax = figure.add_subplot(rows, columns, position + 1)
        _plot_loss(ax, name, table)
        for end in stages:
            ax.axvline(end, color="0.4", linestyle=":", linewidth=1)
    return save_figure(figure, path)


def _plot_loss(ax: Axes, name: str, table: Mapping[str, np.ndarray]) -> None:
    """Draw the training and validation curves of one loss."""
    drawn = []
    for column, label, color in ((name, "train", "tab:blue"), (f"val_{name}", "val", "tab:orange")):
        values = table.get(column, np.empty(0))
        known = np.isfinite(values)
        if known.any():
            drawn.append(values[known])
            marker = "o" if known.sum() <= 30 else None  # a single epoch is a dot, not a line
            label = f"{label} {values[known][-1]:.4g}"
            x = table["epoch"][known]
            ax.plot(x, values[known], color=color, label=label, marker=marker, ms=3, lw=1.4)
    _label_panel(ax, name)
    if not drawn:
        ax.text(0.5, 0.5, "no finite value", transform=ax.transAxes, ha="center", color="0.4")
        return
    _scale_losses(ax, np.concatenate(drawn))
    ax.legend(fontsize=8, framealpha=0.8)


def _label_panel(ax: Axes, name: str) -> None:
    """Title, ticks at whole epochs, and a grid."""
    ax.set_title("loss (total)" if name == "loss" else name, fontsize=10)
    ax.set_xlabel("epoch", fontsize=8)
    ax.tick_params(which="both", labelsize=8)
    whole_epochs = AutoLocator()
    whole_epochs.set_params(integer=True, min_n_ticks=1)
    ax.xaxis.set_major_locator(whole_epochs)
    ax.grid(True, which="both", color="0.9", linewidth=0.6)
    ax.set_axisbelow(True)


def _scale_losses(ax: Axes, values: np.ndarray) -> None:
    """A logarithmic axis where the losses span decades."""
    lowest, highest = values.min(), values.max()
    if lowest <= 0 or highest / lowest <= LOG_SCALE_RATIO:
        return
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter("{x:g}")
    if highest / lowest < MANY_DECADES:
        ax.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        ax.yaxis.set_minor_formatter("{x:g}")
    else:
        ax.yaxis.set_minor_formatter(NullFormatter())


def _clean_table(table: Mapping[str, Sequence[Any]]) -> dict[str, np.ndarray]:
    """The columns `epoch` and `…loss` as floats, epochs ascending and once each."""
    columns = {
        name: np.array([_to_float(value) for value in values], dtype=np.float64)
        for name, values in table.items()
        if name == "epoch" or name.endswith("loss")
    }
    length = max(map(len, columns.values()), default=0)
    columns = {"epoch": np.arange(1.0, length + 1)} | columns
    for name, values in columns.items():
        if len(values) != length:
            raise ValueError(
                f"Every loss needs one value an epoch; '{name}' has {len(values)} values, another "
                f"column {length}. Put NaN where there is none."
            )
    # np.unique finds the first of equals; reversed, that is the last row of an epoch.
    rows = length - 1 - np.unique(columns["epoch"][::-1], return_index=True)[1]
    return {name: values[rows] for name, values in columns.items()}


def _to_float(value: Any) -> float:
    """A number of a log; NaN for an empty cell or Keras's "NA"."""
    return math.nan if value in ("", "NA", None) else float(value)
