"""Pictures of edge agreement: edges of a predicted mask, of the true one, and where they differ.

In the kind of figures 1, 3 and 7 of Zimmermann & Siems (arXiv 1809.07069); the numbers are those
of `mrcnn.drawing.edge_comparison`.

Shape letters: N pairs of masks, H, W height and width of a mask.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from mrcnn.drawing import layout
from mrcnn.drawing.edge_comparison import (
    PLAIN_ERROR,
    EdgeComparison,
    ErrorMeasure,
    check_masks,
    compare_edges,
)
from mrcnn.drawing.instances import mask_outlines, to_rgb
from mrcnn.drawing.pages import save_figure
from mrcnn.ops import edges
from mrcnn.ops.edge_filters import FILTERS, parse_norm, resolve_filters

# The filter sets of the paper's comparison.
FILTER_SETS = ("sobel", "prewitt", "roberts", "kayyali", "laplace", "sobel+laplace")
SIGNED, STRENGTH, ERROR = "RdBu_r", "viridis", "magma"  # color maps
PREDICTION_COLOR, TRUTH_COLOR = "red", "lime"  # outlines on an image
OUTLINES = {"prediction": PREDICTION_COLOR, "ground truth": TRUTH_COLOR}

# Inches.
CELL = 1.5
GAP = 0.12
LABEL = 1.35
BAR_NUMBERS = 0.46  # room beside an upright bar
BAR_TICKS = 0.2  # room below a lying one
TITLE = 0.24
PAIR_ROW = CELL + TITLE + GAP
# Where the masks and edges of prediction and truth begin, and the differences.
COLUMNS = (
    GAP + CELL + GAP,
    GAP + CELL + GAP + (CELL + GAP),
    GAP + CELL + GAP + (2 * (CELL + GAP) + layout.BAR + BAR_NUMBERS),
)


# --- One pair of masks -------------------------------------------------------------------


def pair_figure(
    predicted: np.ndarray,
    target: np.ndarray,
    filters: Sequence[str] = FILTER_SETS,
    *,
    measure: ErrorMeasure = PLAIN_ERROR,
    smoothing: Sequence[str] = ("none",),
    image: np.ndarray | None = None,
    title: str = "",
) -> Figure:
    """Draw one prediction against its ground truth, filter by filter.

    Above, the image with the outlines of prediction and truth and a legend of them, both masks
    and their difference. Below, a row for each filter and kind
    of smoothing: the edges of both masks and the error of each pixel, titled with its mean,
    the loss. The rows of a filter share their color scales. A single filter shows its signed
    response, several filters the root of the sum of their squares.

    Args:
        predicted: [H, W], probabilities.
        target: [H, W].
        filters: names of filters or of sets of filters; a loss each.
        measure: what the error of a pixel is.
        smoothing: keys of SMOOTHING.
        image: what the masks lie on, stretched to their square; see `to_rgb`.
        title: of the page.
    """
    predicted, target = check_masks(predicted, target, dimensions=2)
    width = COLUMNS[2] + CELL + GAP + layout.BAR + BAR_NUMBERS
    head = TITLE + GAP if title else GAP
    rows = 1 + len(filters) * len(smoothing)
    figure = layout.new_figure(width, head + rows * PAIR_ROW)
    if title:
        size = layout.FONT + 1
        layout.text(figure, width / 2, head / 2 + GAP / 4, title, size=size, ha="center")
    top = head + TITLE
    _masks_row(figure, top, predicted, target, image)
    for name in filters:
        compared = {
            kind: compare_edges(predicted[None], target[None], name, measure, kind)
            for kind in smoothing
        }
        # The rows of a filter share their color scales.
        strongest = _largest(
            _response(edge_map[0], name)
            for both in compared.values()
            for edge_map in (both.predicted, both.target)
        )
        worst = _largest(both.error for both in compared.values())
        for kind, both in compared.items():
            top += PAIR_ROW
            label = f"{name}\n\n{_smoothing_text(kind)}"
            if measure.magnitude:
                label += f"\n{_magnitude_text(measure)}"
            layout.text(figure, GAP, top + CELL / 2, label)
            _edges_of_both(figure, top, both, name, strongest)
            ax = layout.axes(figure, COLUMNS[2], top, CELL, CELL)
            loss_title = f"{_formula(measure.norm)}, loss {both.loss[0]:.4g}"
            drawn = _error(ax, both.error[0], loss_title, worst, measure.norm)
            ax.set_gid(f"error {name} {kind}")
            layout.bar(figure, drawn, COLUMNS[2] + CELL + GAP / 2, top, CELL)
    return figure


def _masks_row(
    figure: Figure,
    top: float,
    predicted: np.ndarray,
    target: np.ndarray,
    image: np.ndarray | None,
) -> None:
    """The image with both outlines, both masks, and their difference."""
    first = layout.axes(figure, GAP, top, CELL, CELL)
    if image is None:
        text = f"masks\n{_size(predicted)}"
        first.set_axis_off()
        first.text(0.5, 0.5, text, ha="center", va="center", fontsize=layout.FONT)
    else:
        _photograph(first, image, predicted, target, f"image, masks {_size(predicted)}")
        layout.outline_legend(figure, GAP, top + CELL + GAP, OUTLINES)
    _mask(layout.axes(figure, COLUMNS[0], top, CELL, CELL), predicted, "prediction")
    _mask(layout.axes(figure, COLUMNS[1], top, CELL, CELL), target, "ground truth")
    ax = layout.axes(figure, COLUMNS[2], top, CELL, CELL)
    difference = layout.picture(ax, predicted - target, "prediction − truth", SIGNED, (-1, 1))
    layout.bar(figure, difference, COLUMNS[2] + CELL + GAP / 2, top, CELL)


def _edges_of_both(
    figure: Figure, top: float, both: EdgeComparison, name: str, strongest: float
) -> None:
    """The edges of prediction and truth; those of a single filter have a sign."""
    signed = len(resolve_filters(name)) == 1
    colors, limits = (SIGNED, (-strongest, strongest)) if signed else (STRENGTH, (0, strongest))
    ax = layout.axes(figure, COLUMNS[0], top, CELL, CELL)
    layout.picture(ax, _response(both.predicted[0], name), "edges of prediction", colors, limits)
    ax = layout.axes(figure, COLUMNS[1], top, CELL, CELL)
    drawn = layout.picture(ax, _response(both.target[0], name), "edges of truth", colors, limits)
    layout.bar(figure, drawn, COLUMNS[1] + CELL + GAP / 2, top, CELL)


def _magnitude_text(measure: ErrorMeasure) -> str:
    return "magnitude alone" if measure.magnitude == "only" else "with magnitude"


def _response(edge_map: np.ndarray, name: str) -> np.ndarray:
    """One picture [H, W] of a filter set's responses [H, W, D], magnitudes aside.

    Where there are magnitudes alone, of them.
    """
    responses = edge_map[..., : len(resolve_filters(name))]
    if responses.shape[-1] == 1:
        return responses[..., 0]
    return np.sqrt(np.square(responses).sum(axis=-1))


def _largest(arrays: Iterable[Any]) -> float:
    """The largest absolute value; 1 where all are 0, because a color scale needs a length."""
    return max(float(np.abs(array).max()) for array in arrays) or 1.0


def _smoothing_text(kind: str) -> str:
    return {
        "none": "not smoothed",
        "groundtruth": "truth smoothed",
        "predictions": "prediction smoothed",
        "both": "both smoothed",
    }[kind]


def _formula(norm: str | float) -> str:
    p = parse_norm(norm)
    return r"$|e_p - e_g|$" if p == 1 else rf"$|e_p - e_g|^{{{p:g}}}$"


# --- Several pairs -----------------------------------------------------------------------


def instances_figure(
    predicted: np.ndarray,
    target: np.ndarray,
    filters: Sequence[str] = FILTER_SETS,
    *,
    measure: ErrorMeasure = PLAIN_ERROR,
    smoothing: str = "none",
    images: Sequence[np.ndarray] | None = None,
    titles: Sequence[str] | None = None,
) -> Figure:
    """Draw several predictions, a row each: the masks, and the error of each filter.

    Every error map is titled with its mean, the loss. The maps of a column share their color
    scale, so that instances can be compared; filters differ too much in scale for that.

    Args:
        predicted: [N, H, W], probabilities.
        target: [N, H, W].
        filters: names of filters or of sets of filters, a column each.
        measure: what the error of a pixel is.
        smoothing: a key of SMOOTHING.
        images: N images under the masks, of any size.
        titles: N texts.
    """
    predicted, target = check_masks(predicted, target)
    for name, given in (("images", images), ("titles", titles)):
        if given is not None and len(given) != len(predicted):
            raise ValueError(
                f"{name}: expected one for each of the {len(predicted)} pairs of masks; received "
                f"{len(given)}."
            )
    compared = {
        name: compare_edges(predicted, target, name, measure, smoothing) for name in filters
    }
    left_of_first = GAP + (LABEL + GAP if titles is not None else 0)
    columns = (3 if images is not None else 2) + len(filters)
    width = left_of_first + columns * (CELL + GAP)
    row_height = CELL + TITLE
    head = 2 * TITLE + (1 if images is None else 2) * GAP
    height = head + len(predicted) * row_height + layout.BAR + BAR_TICKS + GAP
    figure = layout.new_figure(width, height)
    heading = f"error {_formula(measure.norm)} of each pixel, {_smoothing_text(smoothing)}"
    if measure.magnitude:
        heading += f", {_magnitude_text(measure)}"
    layout.text(figure, width / 2, TITLE / 2 + GAP / 2, heading, size=layout.FONT + 1, ha="center")
    if images is not None:
        layout.outline_legend(figure, left_of_first, TITLE + GAP, OUTLINES)

    for i in range(len(predicted)):
        top, left = head + i * row_height, left_of_first
        if titles is not None:
            layout.text(figure, GAP, top + CELL / 2, titles[i])
        if images is not None:
            ax = layout.axes(figure, left, top, CELL, CELL)
            _photograph(ax, images[i], predicted[i], target[i], "image" if i == 0 else "")
            left += CELL + GAP
        for masks, title in ((predicted, "prediction"), (target, "ground truth")):
            _mask(layout.axes(figure, left, top, CELL, CELL), masks[i], title if i == 0 else "")
            left += CELL + GAP
        for name, both in compared.items():
            ax = layout.axes(figure, left, top, CELL, CELL)
            title = f"{both.loss[i]:.4g}" if i else f"{name}: {both.loss[i]:.4g}"
            drawn = _error(ax, both.error[i], title, _largest([both.error]), measure.norm)
            ax.set_gid(f"error {name} {i}")
            if i == len(predicted) - 1:
                layout.bar(
                    figure, drawn, left + GAP / 2, top + CELL + GAP, CELL - GAP, horizontal=True
                )
            left += CELL + GAP
    return figure


# --- The filters -------------------------------------------------------------------------


def kernels_figure(names: Sequence[str] = tuple(FILTERS), columns: int = 5) -> Figure:
    """Draw the filters as matrices of numbers, and the Gaussian of the smoothing after them."""
    names = resolve_filters(names)
    kernels = dict(zip(names, np.moveaxis(edges.edge_kernel(names)[:, :, 0], -1, 0), strict=True))
    kernels["Gaussian (smoothing)"] = edges.gaussian_kernel()
    columns = min(columns, len(kernels))
    rows = -(-len(kernels) // columns)
    pitch = CELL + 2 * GAP
    figure = layout.new_figure(GAP + columns * pitch, rows * (pitch + TITLE))
    for i, (name, kernel) in enumerate(kernels.items()):
        row, column = divmod(i, columns)
        left, top = GAP + column * pitch, TITLE + GAP + row * (pitch + TITLE)
        ax = layout.axes(figure, left, top, CELL, CELL)
        # Twice the largest weight keeps the cells pale enough for black numbers.
        limit = 2 * float(np.abs(kernel).max())
        layout.picture(ax, kernel, name, SIGNED, (-limit, limit))
        for (y, x), weight in np.ndenumerate(kernel):
            text = f"{weight:g}" if weight == int(weight) else f"{weight:.4f}"
            size = layout.FONT + 4 if weight == int(weight) else layout.FONT
            ax.text(x, y, text, ha="center", va="center", fontsize=size)
    return figure


def save(figure: Figure, path: str | PathLike[str], software: str = "mrcnn") -> Path:
    """Write a figure as a PNG whose metadata name `software`; missing folders are made."""
    return save_figure(figure, path, software)


# --- Parts -------------------------------------------------------------------------------


def _mask(ax: Axes, mask: np.ndarray, title: str) -> None:
    layout.picture(ax, mask, title, "gray")


def _error(ax: Axes, error: np.ndarray, title: str, worst: float, norm: str | float) -> AxesImage:
    """An error map; its colors run with the distance itself, so that small errors show too."""
    return layout.picture(ax, error, title, ERROR, (0, worst), gamma=1 / parse_norm(norm))


def _photograph(
    ax: Axes, image: np.ndarray, predicted: np.ndarray, target: np.ndarray, title: str
) -> None:
    """An image, stretched to the masks' square, with the outlines of both masks."""
    picture = to_rgb(image)
    layout.picture(ax, picture, title)
    scale = np.array(picture.shape[1::-1]) / target.shape[::-1]
    for mask, color in ((target, TRUTH_COLOR), (predicted, PREDICTION_COLOR)):
        # matplotlib puts the center of pixel 0 at 0.
        curves = [(curve + 0.5) * scale - 0.5 for curve in mask_outlines(mask)]
        ax.add_collection(
            PolyCollection(curves, facecolors="none", edgecolors=color, linewidths=0.8),
            autolim=False,
        )


def _size(mask: np.ndarray) -> str:
    return f"{mask.shape[0]}×{mask.shape[1]}"
