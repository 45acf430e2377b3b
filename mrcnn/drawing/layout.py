"""Pages laid out in inches from their upper left corner: axes, texts, pictures, color bars."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from mrcnn.drawing.pages import DPI

BAR = 0.1  # inches, the thickness of a color bar
FONT = 8  # points
SMALL_FONT = 7


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
    """A color bar: upright, or lying with its numbers below."""
    size = (length, BAR) if horizontal else (BAR, length)
    ax = axes(figure, left, top, *size)
    bar = figure.colorbar(drawn, cax=ax, orientation="horizontal" if horizontal else "vertical")
    bar.ax.tick_params(labelsize=SMALL_FONT, length=2, pad=1)
    bar.ax.locator_params(nbins=4)
    bar.outline.set_linewidth(0.5)
