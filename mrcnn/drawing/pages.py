"""The pictures of this package's own commands: loss curves, and pages of detections.

The figures are built on matplotlib's object-oriented API and drawn by Agg, so they work
without a display and in any thread, and leave pyplot's state and backend alone.

Shape letters: H, W image height and width, N instances, P points of an outline.
Boxes are pixel boxes (y1, x1, y2, x2), y2 and x2 exclusive. Colors are RGB triples in [0, 1].
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from mrcnn.data.boxes import compute_overlaps
from mrcnn.drawing.instances import Color, distinct_colors, draw_instances

DPI = 120
CELL_INCHES = 4.0  # width of one picture on a page of detections
# A picture taller than this times its width is drawn narrower instead.
MAX_CELL_ASPECT = 1.5
PANEL_INCHES = (4.2, 3.0)  # one panel of the loss curves
# Below this ratio of largest to smallest loss, a linear axis shows the curve better.
LOG_SCALE_RATIO = 10.0
# Below this ratio, a logarithmic axis has room for labels at 2 and 5 too.
MANY_DECADES = 1000.0
# A detection takes the color of the object that it overlaps at least this much (IoU).
SAME_COLOR_IOU = 0.5


def detections_page(
    images: Sequence[np.ndarray],
    ground_truths: Sequence[Mapping[str, Any]],
    detections: Sequence[Mapping[str, Any]],
    class_names: Sequence[str],
    path: str | PathLike[str],
    columns: int = 2,
    titles: Sequence[str] | None = None,
) -> Path:
    """Save one PNG that shows, image by image, the ground truth beside the detections.

    A detection has the color of the object of its class that it covers, if there is one.

    Args:
        images: images of any sizes; see `to_rgb`.
        ground_truths: one dict an image: `rois` [N, 4] pixel boxes, `class_ids` [N], and
            optionally `masks` [H, W, N] bool and `scores` [N].
        detections: the same, as `MaskRCNN.detect` returns it.
        class_names: names by class id, the background's first.
        path: the PNG; missing folders are made.
        columns: pairs side by side; `2 * columns` pictures in a row.
        titles: one text an image, written over its ground truth (an id, a file name).

    Returns:
        `path`.
    """
    counts = (len(images), len(ground_truths), len(detections))
    if counts[0] == 0 or len(set(counts)) > 1 or (titles is not None and len(titles) != counts[0]):
        raise ValueError(
            "A page needs at least one image, and one ground truth, one dict of detections and (if "
            f"any) one title for each; received {counts[0]} images, {counts[1]} ground truths, "
            f"{counts[2]} detections, {'no' if titles is None else len(titles)} titles."
        )
    if columns < 1:
        raise ValueError(f"columns must be at least 1; received {columns}.")
    columns = min(columns, len(images))
    margin, title_height = 0.08, 0.24  # inches
    pair_width = 2 * CELL_INCHES + 3 * margin
    rows = [range(i, min(i + columns, len(images))) for i in range(0, len(images), columns)]
    aspects = [min(image.shape[0] / image.shape[1], MAX_CELL_ASPECT) for image in images]
    cell_heights = [CELL_INCHES * max(aspects[i] for i in row) for row in rows]
    height = sum(cell_heights) + len(rows) * (title_height + margin)
    figure = Figure(figsize=(columns * pair_width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    size = np.array([columns * pair_width, height] * 2)

    bottom = height
    for row, cell_height in zip(rows, cell_heights, strict=True):
        bottom -= cell_height + title_height
        for column, i in enumerate(row):
            truth, detection = ground_truths[i], detections[i]
            truth_colors, detection_colors = _pair_colors(truth, detection)
            name = "" if titles is None else f"{titles[i]} · "
            left = column * pair_width + margin
            for instances, colors, title in (
                (truth, truth_colors, f"{name}ground truth: {len(truth['class_ids'])}"),
                (detection, detection_colors, f"detections: {len(detection['class_ids'])}"),
            ):
                ax = figure.add_axes(np.array([left, bottom, CELL_INCHES, cell_height]) / size)
                ax.set_anchor("N")  # the picture hangs from its title
                ax.set_title(title, fontsize=8, pad=3)
                draw_instances(
                    ax,
                    images[i],
                    instances["rois"],
                    instances.get("masks"),
                    instances["class_ids"],
                    class_names,
                    instances.get("scores"),
                    colors=colors,
                    alpha=0.4,
                )
                left += CELL_INCHES + margin
        bottom -= margin
    return _save(figure, path)


def _pair_colors(
    truth: Mapping[str, Any], detection: Mapping[str, Any]
) -> tuple[list[Color], list[Color]]:
    """Colors of the objects, and of the detections: those of the objects that they found."""
    objects = np.asarray(truth["rois"]).reshape(-1, 4)
    found = np.asarray(detection["rois"]).reshape(-1, 4)
    colors = distinct_colors(len(objects) + len(found))
    truth_colors, found_colors = colors[: len(objects)], colors[len(objects) :]
    if len(objects) and len(found):
        overlaps = compute_overlaps(found, objects)
        same_class = np.not_equal.outer(detection["class_ids"], truth["class_ids"])
        overlaps = np.where(same_class, 0, overlaps)
        for i, best in enumerate(overlaps.argmax(axis=1)):
            if overlaps[i, best] >= SAME_COLOR_IOU:
                found_colors[i] = truth_colors[best]
    return truth_colors, found_colors


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
        ValueError: when there is no loss or no epoch to draw.
    """
    source = "The history" if isinstance(history, Mapping) else f"The log {history}"
    table = _clean_table(history if isinstance(history, Mapping) else _read_csv(history))
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
    return _save(figure, path)


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
    ax.set_title("loss (total)" if name == "loss" else name, fontsize=10)
    ax.set_xlabel("epoch", fontsize=8)
    ax.tick_params(which="both", labelsize=8)
    ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    ax.grid(True, which="both", color="0.9", linewidth=0.6)
    ax.set_axisbelow(True)
    if drawn:
        lowest, highest = np.concatenate(drawn).min(), np.concatenate(drawn).max()
        if lowest > 0 and highest / lowest > LOG_SCALE_RATIO:
            ax.set_yscale("log")
            ax.yaxis.set_major_formatter("{x:g}")
            if highest / lowest < MANY_DECADES:
                ax.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
                ax.yaxis.set_minor_formatter("{x:g}")
            else:
                ax.yaxis.set_minor_formatter(NullFormatter())
        ax.legend(fontsize=8, framealpha=0.8)
    else:
        ax.text(0.5, 0.5, "no finite value", transform=ax.transAxes, ha="center", color="0.4")


def _read_csv(path: str | PathLike[str]) -> dict[str, list[str]]:
    """The columns of a CSV file with a header; cells of short rows are empty."""
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, restval="")
        rows = list(reader)
    return {name: [row[name] for row in rows] for name in reader.fieldnames or ()}


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


def _save(figure: Figure, path: str | PathLike[str]) -> Path:
    """Write the figure as a PNG of exactly figsize × dpi pixels."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Unlike savefig, print_png ignores the user's savefig settings, which may crop.
    FigureCanvasAgg(figure).print_png(path)
    return path
