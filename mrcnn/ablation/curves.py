"""Loss curves of a comparison, with the relative improvement over the baseline.

In the form of the paper's Figures 4 and 6 (arXiv 1809.07069): above, each arm's loss, the mean
over its seeds with their spread; below, by how much it is lower than the baseline's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from mrcnn.checkpoints.losses_file import read_losses_file

# The losses that every arm has; an arm's edge loss is no part of its total here.
COMMON_LOSSES = (
    *("rpn_class_loss", "rpn_bbox_loss"),
    *("mrcnn_class_loss", "mrcnn_bbox_loss", "mrcnn_mask_loss"),
)
TOTAL, MASK = "total", "mrcnn_mask_loss"
TITLES = {TOTAL: "sum of the five losses of plain Mask R-CNN", MASK: "mask loss"}
PANEL_INCHES = (6.0, 5.5)
# A column whose losses spread by more than this factor gets logarithmic axes: a network from a
# random start can be far off on validation images for a while, which would flatten the rest.
LARGEST_LINEAR_SPREAD = 8.0
# Below it the axis of the relative improvement stays linear then.
LINEAR_GAIN = 0.1
DPI = 110

# {arm: {seed: {loss: values by epoch}}}
Curves = Mapping[str, Mapping[int, Mapping[str, np.ndarray]]]


def read_losses(path: str | Path) -> dict[str, np.ndarray]:
    """The losses of a run's CSV by epoch, with `total` and `val_total`; NaN for an empty cell.

    Raises:
        ValueError: a cell is no number; the message names the file and the line.
    """
    table = {
        name: np.array(values)
        for name, values in read_losses_file(path).items()
        if name.endswith("loss")
    }
    for prefix in ("", "val_"):
        parts = [table[prefix + name] for name in COMMON_LOSSES if prefix + name in table]
        if parts:
            table[prefix + TOTAL] = np.sum(parts, axis=0)
    return table


def plot_curves(
    curves: Curves,
    baseline: str,
    path: str | Path,
    steps_per_epoch: int,
    losses: Sequence[str] = (TOTAL, MASK),
    validation: bool = False,
) -> Path:
    """Save a PNG with a column of two panels for each loss.

    Args:
        curves: of finished runs, see `read_losses`.
        baseline: the arm that the others are compared with.
        path: the PNG.
        steps_per_epoch: turns epochs into steps.
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
    for column, loss in enumerate(losses):
        name = f"val_{loss}" if validation else loss
        above, below = axes[:, column]
        reference = _stack(curves, baseline, name)
        means = []
        for number, arm in enumerate(curves):
            values = _stack(curves, arm, name)
            if values is None:
                continue
            steps = steps_per_epoch * np.arange(1, values.shape[1] + 1)
            color = "0.2" if arm == baseline else f"C{number % 10}"
            mean = values.mean(axis=0)
            means.append(mean)
            above.plot(steps, mean, color=color, lw=1.5, label=arm)
            if len(values) > 1:
                spread = values.std(axis=0, ddof=1)
                above.fill_between(
                    steps, mean - spread, mean + spread, color=color, alpha=0.15, lw=0
                )
            if reference is not None and arm != baseline:
                length = min(values.shape[1], reference.shape[1])
                known = reference.mean(axis=0)[:length]
                gain = 1 - mean[:length] / np.where(known > 0, known, np.nan)
                below.plot(steps[:length], gain, color=color, lw=1.5)
        if _is_wide(means):
            above.set_yscale("log", nonpositive="mask")
            below.set_yscale("symlog", linthresh=LINEAR_GAIN)
        above.set_title(f"{TITLES.get(loss, loss)}, {images} images", fontsize=10)
        above.set_ylabel("loss, mean ± deviation of the seeds", fontsize=9)
        if above.lines:
            above.legend(fontsize=8)
        below.axhline(0, color="0.2", lw=1)
        below.set_ylabel(f"lower than {baseline} by", fontsize=9)
        below.yaxis.set_major_formatter(PercentFormatter(1.0))
        below.set_xlabel("step", fontsize=9)
        for ax in (above, below):
            ax.grid(True, color="0.9", lw=0.6)
            ax.set_axisbelow(True)
            ax.tick_params(labelsize=8)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(path)
    return path


def _is_wide(means: Sequence[np.ndarray]) -> bool:
    """Whether the finite values above 0 of some curves spread too much for a linear axis."""
    values = np.concatenate([np.zeros(0), *means])
    values = values[np.isfinite(values) & (values > 0)]
    return bool(values.size) and values.max() > LARGEST_LINEAR_SPREAD * values.min()


def _stack(curves: Curves, arm: str, name: str) -> np.ndarray | None:
    """A loss of all seeds of an arm, [seeds, epochs]; None when no run has it."""
    runs = [run[name] for run in curves.get(arm, {}).values() if name in run]
    if not runs:
        return None
    length = min(len(run) for run in runs)
    return np.stack([run[:length] for run in runs])
