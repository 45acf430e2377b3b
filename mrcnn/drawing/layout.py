"""Pages laid out in inches from their upper left corner: axes, texts, pictures, color bars."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D

from mrcnn.drawing.pages import DPI

BAR = 0.1  # inches, the thickness of a color bar
FONT = 8  # points
SMALL_FONT = 7
TICKS = (0.0, 0.5, 1.0)  # of a color bar, in parts of its length


def new_figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place in inches from the page's upper left corner."""
    page = figure.get_size_inches()
    bottom = page[1] - top - height
    return figure.add_axes((left / page[0], bottom / page[1], width / page[0], height / page[1]))


def text(
    figure: Figure, x: float, y: float, text: str, size: float = FONT, ha: str = "left"
) -> None:
    """Text at a place in inches from the upper left corner, centered on its height."""
    page = figure.get_size_inches()
    figure.text(x / page[0], 1 - y / page[1], text, fontsize=size, ha=ha, va="center")


def picture(
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


def bar(
    figure: Figure,
    drawn: AxesImage,
    left: float,
    top: float,
    length: float,
    horizontal: bool = False,
) -> None:
    """A color bar: upright, or lying with its numbers below.

    It has three numbers, at its ends and in its middle, so that they are clear of each other
    whatever power the colors run with.
    """
    size = (length, BAR) if horizontal else (BAR, length)
    ax = axes(figure, left, top, *size)
    bar = figure.colorbar(drawn, cax=ax, orientation="horizontal" if horizontal else "vertical")
    scale = drawn.norm
    assert isinstance(scale, Normalize)  # by `picture`
    values = [float(scale.inverse(tick)) for tick in TICKS]
    bar.set_ticks(values, labels=[_short(value) for value in values])
    bar.minorticks_off()
    bar.ax.tick_params(labelsize=SMALL_FONT, length=2, pad=1)
    bar.outline.set_linewidth(0.5)
    # The outer numbers end where the bar does: the next one is near.
    labels = bar.ax.get_xticklabels() if horizontal else bar.ax.get_yticklabels()
    for label, sideways, upright in zip(
        labels, ("left", "center", "right"), ("bottom", "center", "top"), strict=True
    ):
        label.set(ha=sideways) if horizontal else label.set(va=upright)


def _short(value: float) -> str:
    """A number in three digits, without an exponent where it is of common size."""
    size = abs(value)
    if 1000 <= size < 100_000:
        return f"{value:.0f}"
    return f"{value:.3g}" if size == 0 or 0.001 <= size < 1000 else f"{value:.1e}"


def outline_legend(figure: Figure, left: float, middle: float, outlines: Mapping[str, str]) -> None:
    """Explain the colors of outlines in one line, from a place in inches from the upper left.

    Args:
        figure: the page.
        left, middle: where the line begins, and its middle.
        outlines: text -> color.
    """
    page = figure.get_size_inches()
    handles = [Line2D([], [], color=color, linewidth=1.5) for color in outlines.values()]
    figure.legend(
        handles,
        list(outlines),
        loc="center left",
        bbox_to_anchor=(left / page[0], 1 - middle / page[1]),
        ncols=len(outlines),
        fontsize=SMALL_FONT,
        frameon=False,
        borderpad=0,
        borderaxespad=0,
        handlelength=1.2,
        handletextpad=0.5,
        columnspacing=1.2,
    )
