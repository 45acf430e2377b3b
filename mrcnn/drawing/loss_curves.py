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
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import AutoLocator, LogLocator, NullFormatter
from matplotlib.transforms import ScaledTranslation

from mrcnn.checkpoints.losses_file import is_metric, read_losses_file
from mrcnn.checkpoints.stages_file import TrainedStage
from mrcnn.drawing.pages import DPI, save_figure

PANEL_INCHES = (4.2, 3.1)  # one panel of the loss curves
LOSS_AXIS = "loss (mean of the epoch)"
PAD_INCHES = 0.08
LINE_INCHES = 0.18  # a line of text below the panels
NUMBER_POINTS = 10  # room for the numbers of the stages above the axes
# More stages than these are marked in the panels, but neither numbered nor listed.
MAX_STAGES_EXPLAINED = 10
MAX_LAYERS_TEXT = 60  # characters of a regular expression on layer names
LAYERS_TEXT = {
    "heads": "heads",
    "3+": "ResNet stage 3 and up, heads",
    "4+": "ResNet stage 4 and up, heads",
    "5+": "ResNet stage 5, heads",
    "all": "all layers",
    "features+rpn": "ResNet, FPN and RPN",
    "features+branches": "ResNet, FPN and branches",
    "rpn": "RPN",
    "branches": "class, box and mask branches",
}
# Below this ratio of largest to smallest loss, a linear axis shows the curve better.
LOG_SCALE_RATIO = 10.0
# Below this ratio, a logarithmic axis has room for labels at 2 and 5 too.
MANY_DECADES = 1000.0


def plot_losses(
    history: str | PathLike[str] | Mapping[str, Sequence[float]],
    path: str | PathLike[str],
    stages: Sequence[TrainedStage] = (),
    steps_per_epoch: int | None = None,
) -> Path:
    """Save a PNG of the loss curves: one panel for the total and one for each component.

    Args:
        history: the path of a CSV log with a header (`epoch,loss,val_loss,…`), or a dict of
            lists with such names. Every column whose name ends with `loss` is drawn, with
            `val_…` in its panel. Without the column `epoch`, epochs count from 1. When an epoch
            stands there twice (a resumed run), its last row counts. Gaps (empty, NaN) are allowed.
        path: the PNG; missing folders are made.
        stages: of training, in their order. Each is a numbered span of the epochs, whose layers
            and learning rate stand below the panels.
        steps_per_epoch: named at the axis, if it is known.

    Returns:
        `path`.

    Raises:
        ValueError: when there is no loss or no epoch to draw, or a cell of the log is no number.
    """
    source = "The history" if isinstance(history, Mapping) else f"The log {history}"
    table = _clean_table(history if isinstance(history, Mapping) else read_losses_file(history))
    names = {name.removeprefix("val_") for name in table if name.endswith("loss")}
    if not names or not len(table["epoch"]):
        raise ValueError(
            f"{source} must hold at least one epoch and a column that ends with 'loss'; "
            f"received {len(table['epoch'])} epochs of the columns {sorted(table)}."
        )
    # The total comes first, the components in the order of the table.
    order = [name.removeprefix("val_") for name in table]
    panels = sorted(names, key=lambda name: (name != "loss", order.index(name)))
    metrics = [name for name in table if is_metric(name)]
    count = len(panels) + bool(metrics)
    columns = min(count, 3 if count != 4 else 2)
    rows = math.ceil(count / columns)
    spans = _spans(stages, table["epoch"][0], table["epoch"][-1])
    explained = _explanation(spans)
    figure = Figure(
        figsize=(
            columns * PANEL_INCHES[0],
            rows * PANEL_INCHES[1] + LINE_INCHES * len(explained),
        ),
        dpi=DPI,
        facecolor="white",
        layout=ConstrainedLayoutEngine(w_pad=PAD_INCHES, h_pad=PAD_INCHES),
    )
    numbered = 1 < len(spans) <= MAX_STAGES_EXPLAINED
    for position in range(count):
        ax = figure.add_subplot(rows, columns, position + 1)
        if position < len(panels):
            _plot_loss(ax, panels[position], table, numbered)
        else:
            _plot_metrics(ax, metrics, table, numbered)
        _label_epochs(ax, table["epoch"], steps_per_epoch)
        if len(spans) > 1:
            _mark_stages(ax, spans)
    if explained:
        handles = [Line2D([], [], linestyle="none") for _ in explained]
        figure.legend(
            handles,
            explained,
            loc="outside lower left",
            fontsize=8,
            frameon=False,
            handlelength=0,
            handletextpad=0,
        )
    return save_figure(figure, path)


def _plot_loss(ax: Axes, name: str, table: Mapping[str, np.ndarray], numbered: bool) -> None:
    """Draw the training and validation curves of one loss, under its name and its last values."""
    drawn = []
    for column, label, color in (
        (name, "training", "tab:blue"),
        (f"val_{name}", "validation", "tab:orange"),
    ):
        values = table.get(column, np.empty(0))
        known = np.isfinite(values)
        if known.any():
            drawn.append(values[known])
            marker = "o" if known.sum() <= 30 else None  # a single epoch is a dot, not a line
            label = f"{label}, last {values[known][-1]:.4g}"
            x = table["epoch"][known]
            ax.plot(x, values[known], color=color, label=label, marker=marker, ms=3, lw=1.4)
    title = "loss (total)" if name == "loss" else name
    _title(ax, title, bool(drawn), numbered)
    if not drawn:
        ax.set_ylabel(LOSS_AXIS, fontsize=8)
        return
    scale = "" if _scale_losses(ax, np.concatenate(drawn)) == "linear" else ", log scale"
    ax.set_ylabel(f"{LOSS_AXIS}{scale}", fontsize=8)


def _plot_metrics(
    ax: Axes, names: Sequence[str], table: Mapping[str, np.ndarray], numbered: bool
) -> None:
    """Draw COCO's metrics of the validation set, of the epochs that were evaluated."""
    drawn = False
    for name in names:
        known = np.isfinite(table[name])
        if known.any():
            drawn = True
            values = table[name][known]
            label = f"{name.removeprefix('val_').replace('_', ' ')} {values[-1]:.3f}"
            ax.plot(table["epoch"][known], values, label=label, marker="o", ms=3, lw=1.4)
    _title(ax, "COCO metrics (validation)", drawn, numbered)
    ax.set_ylabel("AP, from 0 to 1", fontsize=8)
    ax.set_ylim(bottom=0)


def _title(ax: Axes, title: str, drawn: bool, numbered: bool) -> None:
    """The name of a panel, and above its axes the legend of what is drawn."""
    ax.tick_params(which="both", labelsize=8)
    ax.grid(True, which="both", color="0.9", linewidth=0.6)
    ax.set_axisbelow(True)
    # From the axes upward: numbers of the stages, the legend, which hides no point there, the name.
    numbers = NUMBER_POINTS if numbered else 0
    lines = math.ceil(len(ax.get_lines()) / 2)
    if not drawn:
        ax.set_title(title, loc="left", fontsize=10, pad=4 + numbers)
        ax.text(0.5, 0.5, "no finite value", transform=ax.transAxes, ha="center", color="0.4")
        return
    ax.set_title(title, loc="left", fontsize=10, pad=5 + 12 * lines + numbers)
    above = ScaledTranslation(0, (2 + numbers) / 72, ax.figure.dpi_scale_trans)
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        bbox_transform=ax.transAxes + above,
        ncols=2,
        fontsize=8,
        frameon=False,
        borderpad=0,
        borderaxespad=0,
        handlelength=1.5,
        columnspacing=1.5,
    )


def _label_epochs(ax: Axes, epochs: np.ndarray, steps_per_epoch: int | None) -> None:
    """The axis of epochs: ticks at whole ones, from half an epoch before the first to one after."""
    steps = "" if steps_per_epoch is None else f" (of up to {_count(steps_per_epoch, 'step')})"
    ax.set_xlabel(f"epoch{steps}", fontsize=8)
    whole_epochs = AutoLocator()
    whole_epochs.set_params(integer=True, min_n_ticks=1)
    ax.xaxis.set_major_locator(whole_epochs)
    ax.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


# --- Stages ------------------------------------------------------------------------------


def _spans(stages: Sequence[TrainedStage], first: float, last: float) -> list[TrainedStage]:
    """The stages within the epochs drawn, each up to where the next begins.

    Neighbours of the same layers and rate are one: training was resumed, or asked for in pieces.
    """
    spans: list[TrainedStage] = []
    for stage in sorted(stages, key=lambda stage: stage.first_epoch):
        if spans and spans[-1][2:] == stage[2:]:
            spans[-1] = spans[-1]._replace(last_epoch=stage.last_epoch)
            continue
        if spans:
            spans[-1] = spans[-1]._replace(last_epoch=stage.first_epoch - 1)
        spans.append(stage)
    clipped = (
        span._replace(
            first_epoch=max(span.first_epoch, int(first)),
            last_epoch=min(span.last_epoch, int(last)),
        )
        for span in spans
    )
    return [span for span in clipped if span.first_epoch <= span.last_epoch]


def _explanation(spans: Sequence[TrainedStage]) -> list[str]:
    """A line for each stage: its epochs, layers and learning rate."""
    lines = []
    for number, span in enumerate(spans[:MAX_STAGES_EXPLAINED], start=1):
        epochs = f"epochs {span.first_epoch} to {span.last_epoch}"
        if span.first_epoch == span.last_epoch:
            epochs = f"epoch {span.first_epoch}"
        layers = LAYERS_TEXT.get(span.layers, f"layers {span.layers}")
        if len(layers) > MAX_LAYERS_TEXT:
            layers = f"{layers[: MAX_LAYERS_TEXT - 1]}…"
        rate = f"learning rate {span.learning_rate:g}"
        if span.rate_schedule:
            rate += f", {span.rate_schedule} schedule"
        if span.losses != "all":
            rate += f", losses {span.losses}"
        stage = f"Stage {number}" if len(spans) > 1 else "One stage"
        lines.append(f"{stage}, {epochs}: {layers}, {rate}")
    if len(spans) > MAX_STAGES_EXPLAINED:
        lines.append(f"… and {len(spans) - MAX_STAGES_EXPLAINED} more stages")
    return lines


def _mark_stages(ax: Axes, spans: Sequence[TrainedStage]) -> None:
    """A line between stages, every second one shaded, and their numbers above the axes."""
    for number, span in enumerate(spans, start=1):
        left, right = span.first_epoch - 0.5, span.last_epoch + 0.5
        if number > 1:
            ax.axvline(left, color="0.4", linestyle=":", linewidth=1)
        if number % 2 == 0:
            ax.axvspan(left, right, color="0.95", zorder=0)
        if len(spans) <= MAX_STAGES_EXPLAINED:
            ax.annotate(
                str(number),
                ((left + right) / 2, 1),
                xycoords=ax.get_xaxis_transform(),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                fontsize=7,
                color="0.35",
            )


# --- Scale and table ---------------------------------------------------------------------


def _scale_losses(ax: Axes, values: np.ndarray) -> str:
    """A logarithmic axis where the losses span decades. Returns the scale's name."""
    lowest, highest = values.min(), values.max()
    if lowest <= 0 or highest / lowest <= LOG_SCALE_RATIO:
        return "linear"
    use_log_scale(ax, lowest, highest)
    return "log"


def use_log_scale(ax: Axes, lowest: float, highest: float) -> None:
    """A logarithmic axis for values above 0, with plain numbers; others are not drawn."""
    ax.set_yscale("log", nonpositive="mask")
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
