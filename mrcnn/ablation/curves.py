"""Loss curves of a comparison, with the relative improvement over the baseline.

In the form of the paper's Figures 4 and 6 (arXiv 1809.07069): above, each arm's loss, the mean
over its seeds with their spread; below, by how much it is lower than the baseline's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from mrcnn.checkpoints.losses_file import read_losses_file
from mrcnn.drawing.loss_curves import use_log_scale

# The losses that every arm has; an arm's edge loss is no part of its total here.
COMMON_LOSSES = (
    *("rpn_class_loss", "rpn_bbox_loss"),
    *("mrcnn_class_loss", "mrcnn_bbox_loss", "mrcnn_mask_loss"),
)
TOTAL, MASK = "total", "mrcnn_mask_loss"
TITLES = {TOTAL: "sum of the five losses of plain Mask R-CNN", MASK: "mask loss"}
PANEL_INCHES = (6.0, 5.5)
# Losses that spread by more than this factor get a logarithmic axis: a network from a random
# start can be far off on validation images for a while, which would flatten the rest.
LARGEST_LINEAR_SPREAD = 8.0
# Likewise a relative improvement (or the contrary) beyond this, linear up to the other.
LARGEST_LINEAR_GAIN = 1.0
LINEAR_GAIN = 0.1
DPI = 110
LEGEND_COLUMNS = 4

# {arm: {seed: {loss: values by epoch}}}
Curves = Mapping[str, Mapping[int, Mapping[str, np.ndarray]]]


def read_losses(
    path: str | Path, weights: Mapping[str, float] | None = None
) -> dict[str, np.ndarray]:
    """The losses of a run's CSV by epoch, with `total` and `val_total`; NaN for an empty cell.

    Args:
        path: the file; its losses have their weights in them.
        weights: LOSS_WEIGHTS of the run, which are taken out, so that runs of different weights
            can be compared. NaN for a loss whose weight is 0. None: all are 1.

    Raises:
        ValueError: a cell is no number; the message names the file and the line.
    """
    table = {
        name: np.array(values)
        for name, values in read_losses_file(path).items()
        if name.endswith("loss")
    }
    for prefix in ("", "val_"):
        for name, weight in (weights or {}).items():
            if prefix + name in table:
                table[prefix + name] = table[prefix + name] / (weight or np.nan)
        parts = [table[prefix + name] for name in COMMON_LOSSES if prefix + name in table]
        if parts:
            table[prefix + TOTAL] = np.sum(parts, axis=0)
    return table


def plot_curves(
    curves: Curves,
    baseline: str,
    path: str | Path,
    epoch_ends: Sequence[int],
    losses: Sequence[str] = (TOTAL, MASK),
    validation: bool = False,
) -> Path:
    """Save a PNG with a column of two panels for each loss.

    Args:
        curves: of finished runs, see `read_losses`.
        baseline: the arm that the others are compared with.
        path: the PNG.
        epoch_ends: the steps done at the end of each epoch.
        losses: the columns.
        validation: the losses of the validation images instead of the training's.
    """
    figure = Figure(
        figsize=(PANEL_INCHES[0] * len(losses), PANEL_INCHES[1]),
        dpi=DPI,
        facecolor="white",
        layout="constrained",
    )
    axes = figure.subplots(2, len(losses), squeeze=False, height_ratios=(3, 2), sharex="col")
    images = "validation" if validation else "training"
    drawn: dict[str, Line2D] = {}
    for column, loss in enumerate(losses):
        name = f"val_{loss}" if validation else loss
        above, below = axes[:, column]
        lines = _plot_arms(above, below, curves, baseline, name, epoch_ends)
        drawn |= lines
        scale = gain_scale = ""
        if spread := _wide_spread([np.asarray(line.get_ydata()) for line in lines.values()]):
            use_log_scale(above, *spread)
            scale = ", log scale"
        if _largest(below) > LARGEST_LINEAR_GAIN:
            below.set_yscale("symlog", linthresh=LINEAR_GAIN)
            gain_scale = f"\n(log scale beyond {LINEAR_GAIN:.0%})"
        above.set_title(f"{TITLES.get(loss, loss)}, {images} images", fontsize=10)
        seeds = ", mean ± deviation of the seeds" if _has_seeds(curves) else ""
        above.set_ylabel(f"loss{seeds}{scale}", fontsize=9)
        below.axhline(0, color="0.2", lw=1)
        below.set_ylabel(f"lower than {baseline} by{gain_scale}", fontsize=9)
        below.yaxis.set_major_formatter(PercentFormatter(1.0))
        below.set_xlabel("training step", fontsize=9)
        for ax in (above, below):
            ax.grid(True, color="0.9", lw=0.6)
            ax.set_axisbelow(True)
            ax.tick_params(which="both", labelsize=8)
    if drawn:  # below the panels, where it hides no curve
        figure.legend(
            list(drawn.values()),
            list(drawn),
            loc="outside lower center",
            ncols=LEGEND_COLUMNS,
            fontsize=8,
            frameon=False,
        )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(path)
    return path


def _plot_arms(
    above: Axes, below: Axes, curves: Curves, baseline: str, name: str, epoch_ends: Sequence[int]
) -> dict[str, Line2D]:
    """Draw a loss of all arms, and below it their gain. Returns the upper lines by arm."""
    reference = _stack(curves, baseline, name)
    lines = {}
    for number, arm in enumerate(curves):
        values = _stack(curves, arm, name)
        if values is None:
            continue
        steps = np.asarray(epoch_ends[: values.shape[1]])
        color = "0.2" if arm == baseline else f"C{number % 10}"
        mean = values.mean(axis=0)
        marker = "o" if len(steps) == 1 else None  # a single epoch is a dot, not a line
        (lines[arm],) = above.plot(steps, mean, color=color, lw=1.5, marker=marker)
        if len(values) > 1:
            spread = values.std(axis=0, ddof=1)
            above.fill_between(steps, mean - spread, mean + spread, color=color, alpha=0.15, lw=0)
        if reference is not None and arm != baseline:
            length = min(values.shape[1], reference.shape[1])
            known = reference.mean(axis=0)[:length]
            gain = 1 - mean[:length] / np.where(known > 0, known, np.nan)
            below.plot(steps[:length], gain, color=color, lw=1.5, marker=marker)
    return lines


def _has_seeds(curves: Curves) -> bool:
    """Whether an arm was run with more than one seed."""
    return any(len(runs) > 1 for runs in curves.values())


def _wide_spread(means: Sequence[np.ndarray]) -> tuple[float, float] | None:
    """The lowest and highest value above 0 of some curves, if a linear axis cannot show both."""
    values = np.concatenate([np.zeros(0), *means])
    values = values[np.isfinite(values) & (values > 0)]
    if not values.size or values.max() <= LARGEST_LINEAR_SPREAD * values.min():
        return None
    return float(values.min()), float(values.max())


def _largest(ax: Axes) -> float:
    """The largest absolute value of the lines of some axes; 0 where there is none."""
    values = np.abs(np.concatenate([np.zeros(1), *(line.get_ydata() for line in ax.lines)]))
    return float(values[np.isfinite(values)].max())


def _stack(curves: Curves, arm: str, name: str) -> np.ndarray | None:
    """A loss of all seeds of an arm, [seeds, epochs]; None when no run has it."""
    runs = [run[name] for run in curves.get(arm, {}).values() if name in run]
    if not runs:
        return None
    length = min(len(run) for run in runs)
    return np.stack([run[:length] for run in runs])
