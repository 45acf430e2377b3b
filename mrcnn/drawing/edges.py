"""Pictures of edge agreement: edges of a predicted mask, of the true one, and where they differ.

In the kind of figures 1, 3 and 7 of Zimmermann & Siems (arXiv 1809.07069). Every number comes
from `mrcnn.ops.edges`, so the mean of a drawn error map is the loss that training would see.

Shape letters: N pairs of masks, H, W height and width of a mask, D edge channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from keras import ops
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from mrcnn.drawing.instances import mask_outlines, to_rgb
from mrcnn.drawing.pages import DPI
from mrcnn.ops import edges
from mrcnn.ops.edge_filters import FILTERS, parse_norm, resolve_filters
from mrcnn.ops.edge_settings import EdgeSettings

# The filter sets of the paper's comparison.
FILTER_SETS = ("sobel", "prewitt", "roberts", "kayyali", "laplace", "sobel+laplace")
# What is smoothed with the Gaussian before the filters: (ground truth, prediction).
SMOOTHING = {
    "none": (False, False),
    "groundtruth": (True, False),
    "predictions": (False, True),
    "both": (True, True),
}
SIGNED, STRENGTH, ERROR = "RdBu_r", "viridis", "magma"  # color maps
PREDICTION_COLOR, TRUTH_COLOR = "red", "lime"  # outlines on an image

# Inches.
CELL = 1.5
GAP = 0.12
LABEL = 1.35
BAR = 0.1
BAR_NUMBERS = 0.42  # room beside an upright bar
BAR_TICKS = 0.2  # room below a lying one
TITLE = 0.24
FONT = 8  # points
SMALL_FONT = 7


class EdgeComparison(NamedTuple):
    """The edges of N pairs of masks, and their disagreement."""

    predicted: np.ndarray  # [N, H, W, D] responses of the filters
    target: np.ndarray  # [N, H, W, D]
    error: np.ndarray  # [N, H, W], the mean over the channels of |predicted - target|**p
    loss: np.ndarray  # [N], as `mrcnn.ops.edges.roi_edge_agreement` computes it


# --- Numbers -----------------------------------------------------------------------------


def compare_edges(
    predicted: np.ndarray,
    target: np.ndarray,
    filters: str | Sequence[str] = "sobel",
    norm: str | float = "l2",
    smoothing: str = "none",
    magnitude: bool = False,
) -> EdgeComparison:
    """Compute the edges of predicted and true masks and the error of each pixel.

    Args:
        predicted: [N, H, W], probabilities.
        target: [N, H, W], {0, 1} or probabilities.
        filters: see `mrcnn.ops.edge_filters.resolve_filters`.
        norm: the exponent p, see `mrcnn.ops.edge_filters.parse_norm`.
        smoothing: a key of SMOOTHING.
        magnitude: compare the gradient magnitude of each x/y pair too.

    Raises:
        ValueError: the shapes differ, or an argument is not valid.
    """
    predicted, target = _check_masks(predicted, target)
    smoothing_gt, smoothing_predictions = SMOOTHING[_check_smoothing(smoothing)]
    settings = EdgeSettings(
        filters,
        norm,
        smoothing_gt=smoothing_gt,
        smoothing_predictions=smoothing_predictions,
        magnitude=magnitude,
    )
    loss = edges.roi_edge_agreement(predicted, target, settings)
    predicted = edges.smooth(predicted) if smoothing_predictions else predicted
    target = edges.smooth(target) if smoothing_gt else target
    predicted_edges = edges.edge_maps(predicted, filters, magnitude)
    target_edges = edges.edge_maps(target, filters, magnitude)
    distance = edges.lp_distance(predicted_edges, target_edges, settings.exponent)
    error = ops.mean(distance, axis=-1)
    return EdgeComparison(*map(ops.convert_to_numpy, (predicted_edges, target_edges, error, loss)))


def _check_masks(
    predicted: np.ndarray, target: np.ndarray, dimensions: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    predicted, target = np.asarray(predicted, np.float32), np.asarray(target, np.float32)
    if predicted.shape != target.shape or predicted.ndim != dimensions or not predicted.size:
        expected = "[N, height, width]" if dimensions == 3 else "[height, width]"
        raise ValueError(
            f"Predicted and true masks: expected two arrays {expected} of one shape, with at least "
            f"one pixel; received {predicted.shape} and {target.shape}."
        )
    return predicted, target


def _check_smoothing(smoothing: str) -> str:
    if smoothing not in SMOOTHING:
        raise ValueError(
            f"smoothing: expected one of {', '.join(SMOOTHING)}; received {smoothing!r}."
        )
    return smoothing


# --- One pair of masks -------------------------------------------------------------------


def pair_figure(
    predicted: np.ndarray,
    target: np.ndarray,
    filters: Sequence[str] = FILTER_SETS,
    *,
    norm: str | float = "l2",
    smoothing: Sequence[str] = ("none",),
    magnitude: bool = False,
    image: np.ndarray | None = None,
    title: str = "",
) -> Figure:
    """Draw one prediction against its ground truth, filter by filter.

    Above, the image with the outlines of prediction (red) and truth (green), both masks and
    their difference. Below, a row for each filter and kind
    of smoothing: the edges of both masks and the error of each pixel, titled with its mean,
    the loss. The rows of a filter share their color scales. A single filter shows its signed
    response, several filters the root of the sum of their squares.

    Args:
        predicted: [H, W], probabilities.
        target: [H, W].
        filters: names of filters or of sets of filters; a loss each.
        norm: see `compare_edges`.
        smoothing: keys of SMOOTHING.
        magnitude: see `compare_edges`.
        image: what the masks lie on, stretched to their square; see `to_rgb`.
        title: of the page.
    """
    predicted, target = _check_masks(predicted, target, dimensions=2)
    left = GAP + CELL + GAP + np.array([0, CELL + GAP, 2 * (CELL + GAP) + BAR + BAR_NUMBERS])
    width = left[2] + CELL + GAP + BAR + BAR_NUMBERS
    row_height = CELL + TITLE + GAP
    head = TITLE + GAP if title else GAP
    rows = 1 + len(filters) * len(smoothing)
    figure = _new_figure(width, head + rows * row_height)
    if title:
        _text(figure, width / 2, head / 2 + GAP / 4, title, size=FONT + 1, ha="center")

    top = head + TITLE
    first = _axes(figure, GAP, top, CELL, CELL)
    if image is None:
        first.set_axis_off()
        first.text(0.5, 0.5, f"masks\n{_size(predicted)}", ha="center", va="center", fontsize=FONT)
    else:
        _photograph(first, image, predicted, target, f"image, masks {_size(predicted)}")
    _mask(_axes(figure, left[0], top, CELL, CELL), predicted, "prediction")
    _mask(_axes(figure, left[1], top, CELL, CELL), target, "ground truth")
    ax = _axes(figure, left[2], top, CELL, CELL)
    difference = _picture(ax, predicted - target, "prediction − truth", SIGNED, (-1, 1))
    _bar(figure, difference, left[2] + CELL + GAP / 2, top, CELL)

    formula = _formula(norm)
    for name in filters:
        signed = len(resolve_filters(name)) == 1
        compared = {
            kind: compare_edges(predicted[None], target[None], name, norm, kind, magnitude)
            for kind in smoothing
        }
        maps = {
            kind: (_response(both.predicted[0], name), _response(both.target[0], name))
            for kind, both in compared.items()
        }
        strongest = _largest(maps.values())
        worst = _largest(both.error for both in compared.values())
        limits = (-strongest if signed else 0, strongest)
        for kind, both in compared.items():
            top += row_height
            label = f"{name}\n\n{_smoothing_text(kind)}"
            if magnitude:
                label += "\nwith magnitude"
            _text(figure, GAP, top + CELL / 2, label)
            for at, edge_map, title in zip(
                left, maps[kind], ("edges of prediction", "edges of truth"), strict=False
            ):
                ax = _axes(figure, at, top, CELL, CELL)
                drawn = _picture(ax, edge_map, title, SIGNED if signed else STRENGTH, limits)
            _bar(figure, drawn, left[1] + CELL + GAP / 2, top, CELL)
            ax = _axes(figure, left[2], top, CELL, CELL)
            title = f"{formula}, loss {both.loss[0]:.4g}"
            drawn = _error(ax, both.error[0], title, worst, norm)
            ax.set_gid(f"error {name} {kind}")
            _bar(figure, drawn, left[2] + CELL + GAP / 2, top, CELL)
    return figure


def _response(edge_map: np.ndarray, name: str) -> np.ndarray:
    """One picture [H, W] of a filter set's responses [H, W, D], magnitudes aside."""
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
    norm: str | float = "l2",
    smoothing: str = "none",
    magnitude: bool = False,
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
        norm, magnitude: see `compare_edges`.
        smoothing: a key of SMOOTHING.
        images: N images under the masks, of any size.
        titles: N texts.
    """
    predicted, target = _check_masks(predicted, target)
    for name, given in (("images", images), ("titles", titles)):
        if given is not None and len(given) != len(predicted):
            raise ValueError(
                f"{name}: expected one for each of the {len(predicted)} pairs of masks; received "
                f"{len(given)}."
            )
    compared = {
        name: compare_edges(predicted, target, name, norm, smoothing, magnitude) for name in filters
    }
    left_of_first = GAP + (LABEL + GAP if titles is not None else 0)
    columns = (3 if images is not None else 2) + len(filters)
    width = left_of_first + columns * (CELL + GAP)
    row_height = CELL + TITLE
    head = 2 * TITLE + GAP
    height = head + len(predicted) * row_height + BAR + BAR_TICKS + GAP
    figure = _new_figure(width, height)
    heading = f"error {_formula(norm)} of each pixel, {_smoothing_text(smoothing)}"
    if magnitude:
        heading += ", with magnitude"
    _text(figure, width / 2, TITLE / 2 + GAP / 2, heading, size=FONT + 1, ha="center")

    for i in range(len(predicted)):
        top, left = head + i * row_height, left_of_first
        if titles is not None:
            _text(figure, GAP, top + CELL / 2, titles[i])
        if images is not None:
            ax = _axes(figure, left, top, CELL, CELL)
            _photograph(ax, images[i], predicted[i], target[i], "image" if i == 0 else "")
            left += CELL + GAP
        for masks, title in ((predicted, "prediction"), (target, "ground truth")):
            _mask(_axes(figure, left, top, CELL, CELL), masks[i], title if i == 0 else "")
            left += CELL + GAP
        for name, both in compared.items():
            ax = _axes(figure, left, top, CELL, CELL)
            title = f"{both.loss[i]:.4g}" if i else f"{name}: {both.loss[i]:.4g}"
            drawn = _error(ax, both.error[i], title, _largest([both.error]), norm)
            ax.set_gid(f"error {name} {i}")
            if i == len(predicted) - 1:
                _bar(figure, drawn, left + GAP / 2, top + CELL + GAP, CELL - GAP, horizontal=True)
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
    figure = _new_figure(GAP + columns * pitch, rows * (pitch + TITLE))
    for i, (name, kernel) in enumerate(kernels.items()):
        row, column = divmod(i, columns)
        left, top = GAP + column * pitch, TITLE + GAP + row * (pitch + TITLE)
        ax = _axes(figure, left, top, CELL, CELL)
        # Twice the largest weight keeps the cells pale enough for black numbers.
        limit = 2 * float(np.abs(kernel).max())
        _picture(ax, kernel, name, SIGNED, (-limit, limit))
        for (y, x), weight in np.ndenumerate(kernel):
            text = f"{weight:g}" if weight == int(weight) else f"{weight:.4f}"
            size = FONT + 4 if weight == int(weight) else FONT
            ax.text(x, y, text, ha="center", va="center", fontsize=size)
    return figure


def save(figure: Figure, path: str | PathLike[str]) -> Path:
    """Write a figure as a PNG; missing folders are made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Unlike savefig, print_png ignores the user's savefig settings, which may crop.
    FigureCanvasAgg(figure).print_png(path)
    return path


# --- Parts -------------------------------------------------------------------------------


def _new_figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place in inches from the page's upper left corner."""
    page = figure.get_size_inches()
    bottom = page[1] - top - height
    return figure.add_axes((left / page[0], bottom / page[1], width / page[0], height / page[1]))


def _text(
    figure: Figure, x: float, y: float, text: str, size: float = FONT, ha: str = "left"
) -> None:
    """Text at a place in inches from the upper left corner, centered on its height."""
    page = figure.get_size_inches()
    figure.text(x / page[0], 1 - y / page[1], text, fontsize=size, ha=ha, va="center")


def _picture(
    ax: Axes,
    values: np.ndarray,
    title: str = "",
    colors: str | None = None,
    limits: tuple[float, float] = (0, 1),
    gamma: float = 1,
) -> AxesImage:
    """Draw values [H, W] in a color map, or an image [H, W, 3], as a square of sharp pixels.

    Colors run with the power `gamma` of the values.
    """
    ax.set_title(title, fontsize=FONT, pad=3)
    ax.set_xticks([])
    ax.set_yticks([])
    scale = Normalize(*limits) if gamma == 1 else PowerNorm(gamma, *limits)
    return ax.imshow(values, cmap=colors, norm=scale, interpolation="nearest", aspect="auto")


def _mask(ax: Axes, mask: np.ndarray, title: str) -> None:
    _picture(ax, mask, title, "gray")


def _error(ax: Axes, error: np.ndarray, title: str, worst: float, norm: str | float) -> AxesImage:
    """An error map; its colors run with the distance itself, so that small errors show too."""
    return _picture(ax, error, title, ERROR, (0, worst), gamma=1 / parse_norm(norm))


def _photograph(
    ax: Axes, image: np.ndarray, predicted: np.ndarray, target: np.ndarray, title: str
) -> None:
    """An image, stretched to the masks' square, with the outlines of both masks."""
    picture = to_rgb(image)
    _picture(ax, picture, title)
    scale = np.array(picture.shape[1::-1]) / target.shape[::-1]
    for mask, color in ((target, TRUTH_COLOR), (predicted, PREDICTION_COLOR)):
        # matplotlib puts the center of pixel 0 at 0.
        curves = [(curve + 0.5) * scale - 0.5 for curve in mask_outlines(mask)]
        ax.add_collection(
            PolyCollection(curves, facecolors="none", edgecolors=color, linewidths=0.8),
            autolim=False,
        )


def _bar(
    figure: Figure,
    drawn: AxesImage,
    left: float,
    top: float,
    length: float,
    horizontal: bool = False,
) -> None:
    """A color bar: upright, or lying with its numbers below."""
    size = (length, BAR) if horizontal else (BAR, length)
    ax = _axes(figure, left, top, *size)
    bar = figure.colorbar(drawn, cax=ax, orientation="horizontal" if horizontal else "vertical")
    bar.ax.tick_params(labelsize=SMALL_FONT, length=2, pad=1)
    bar.ax.locator_params(nbins=4)
    bar.outline.set_linewidth(0.5)


def _size(mask: np.ndarray) -> str:
    return f"{mask.shape[0]}×{mask.shape[1]}"
